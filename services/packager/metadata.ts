import type { AmfObject, AmfValue } from "./amf.ts";
import { statedKbps } from "./declared.ts";
import { quotable } from "./quoted.ts";

/** What `onMetaData` says, as far as anything here believes it. */
export interface Metadata {
  readonly frameRate?: number | undefined;
  /** Of the video. */
  readonly kbps?: number | undefined;
  readonly isObs?: boolean | undefined;
  /** Numbers of the tracks that will come. */
  readonly promised?: { readonly video: readonly number[]; readonly audio: readonly number[] } | undefined;
  /** By number of the audio track. */
  readonly labels?: Readonly<Record<number, Label>> | undefined;
}

interface Label {
  readonly language?: string | undefined;
  readonly label?: string | undefined;
}

const maxTracks = 16;

/** The metadata in force after another `onMetaData`. */
export function readMetadata(value: AmfValue, before: Metadata): Metadata {
  const data = objectOf(value);
  if (!data) return before;
  const rate = numberOf(data.framerate) ?? numberOf(data.fps);
  const frameRate = rate !== undefined && rate >= 1 && rate <= 240 ? rate : before.frameRate;
  const video = idsOf(data.videocodecid, data.videoTrackIdInfoMap);
  const audio = idsOf(data.audiocodecid, data.audioTrackIdInfoMap);
  const promised = video.length > 0 || audio.length > 0 ? { video, audio } : undefined;
  const labels: Record<number, Label> = {};
  for (const [id, info] of tracksOf(data.audioTrackIdInfoMap)) labels[id] = readLabel(info);
  const kbps = statedKbps(data.videodatarate) ?? before.kbps;
  const isObs = typeof data.encoder === "string" ? data.encoder.startsWith("obs-output") : before.isObs;
  return { frameRate, kbps, isObs, promised, labels };
}

/** What a person may call this audio track. */
export function labelOf(metadata: Metadata, id: number): Label {
  return metadata.labels?.[id] ?? {};
}

/** Track 0 is named by its codec, further ones (enhanced-rtmp-v2, "Enhancing onMetaData") by their number. */
function idsOf(codec: AmfValue | undefined, map: AmfValue | undefined): number[] {
  const ids = codec !== undefined && codec !== 0 && codec !== "" ? [0] : [];
  for (const [id] of tracksOf(map)) if (!ids.includes(id)) ids.push(id);
  return ids;
}

function tracksOf(map: AmfValue | undefined): [number, AmfObject][] {
  const object = objectOf(map);
  if (!object) return [];
  return Object.entries(object).flatMap(([key, value]) => {
    const info = objectOf(value);
    return info && /^\d{1,2}$/.test(key) && Number(key) < maxTracks ? [[Number(key), info]] : [];
  });
}

/** RFC 5646 as far as playlists need it; the text may stand between quotation marks there. */
function readLabel(info: AmfObject): Label {
  const { language, lang, name, title, label } = info;
  const tag = [language, lang].find(
    (one) => typeof one === "string" && /^[a-z]{2,3}(-[a-z0-9]{1,8}){0,3}$/i.test(one),
  );
  const text = [name, title, label].find((one) => typeof one === "string" && one.trim() !== "");
  return {
    ...(typeof tag === "string" && { language: tag }),
    ...(typeof text === "string" && { label: quotable(text).slice(0, 64) }),
  };
}

function objectOf(value: AmfValue | undefined): AmfObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as AmfObject)
    : undefined;
}

function numberOf(value: AmfValue | undefined): number | undefined {
  return typeof value === "number" ? value : undefined;
}
