import { type Quality, qualitiesOf } from "../quality.ts";

/** One track of an MSF catalog with CMSF packaging, as far as it is played here. */
export interface MoqTrack {
  readonly name: string;
  readonly role: "video" | "audio";
  /** `mimeType; codecs="..."`. */
  readonly type: string;
  readonly codec: string;
  readonly bitsPerSecond: number;
  readonly width: number;
  readonly height: number;
  readonly init: Uint8Array<ArrayBuffer>;
}

export interface Catalog {
  /** Best first. */
  readonly video: readonly MoqTrack[];
  /** The first is the main one. */
  readonly audio: readonly MoqTrack[];
  /** Names of `video`, in its order. */
  readonly qualities: readonly Quality[];
  /** There are pictures, of which this browser can play none. */
  readonly unshown: boolean;
  /** Nothing is live and nothing comes. */
  readonly complete: boolean;
  /** Milliseconds since 1970 at media time 0, where it is said. */
  readonly epochMs: number | undefined;
  /** What it has besides, which only playlists carry: captions, languages. */
  readonly lacks: readonly string[];
  /** Name of the track that says where groups of the past begin. */
  readonly timeline: string | undefined;
}

interface Json {
  readonly isComplete?: boolean;
  readonly sluiceEpoch?: number;
  readonly sluiceLacks?: readonly string[];
  readonly tracks?: readonly {
    readonly name: string;
    readonly packaging?: string;
    readonly isLive?: boolean;
    readonly role?: string;
    readonly mimeType?: string;
    readonly codec?: string;
    readonly bitrate?: number;
    readonly width?: number;
    readonly height?: number;
    readonly framerate?: number;
    readonly initRef?: string;
  }[];
  readonly initDataList?: readonly { readonly id: string; readonly data: string }[];
}

/** Reads a catalog's text; tracks that `playable` does not take are left out. Throws what is not JSON. */
export function readCatalog(text: string, playable: (type: string) => boolean): Catalog {
  const json = JSON.parse(text) as Json;
  const tracks: (MoqTrack & { readonly frameRate: number })[] = [];
  for (const track of json.tracks ?? []) {
    const { name, role, codec, bitrate = 0, width = 0, height = 0, framerate = 0 } = track;
    if (track.packaging !== "cmaf" || (role !== "video" && role !== "audio") || !codec) continue;
    const data = json.initDataList?.find(({ id }) => id === track.initRef)?.data;
    const type = `${track.mimeType ?? `${role}/mp4`}; codecs="${codec}"`;
    if (data === undefined || !playable(type)) continue;
    const init = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    tracks.push({
      ...{ name, role, type, codec, init, width, height },
      ...{ bitsPerSecond: bitrate, frameRate: framerate },
    });
  }
  const video = tracks
    .filter(({ role }) => role === "video")
    .sort((a, b) => b.height - a.height || b.bitsPerSecond - a.bitsPerSecond);
  return {
    video,
    audio: tracks.filter(({ role }) => role === "audio"),
    qualities: qualitiesOf(video.map((track) => ({ ...track, bitrate: track.bitsPerSecond }))),
    unshown: video.length === 0 && (json.tracks ?? []).some(({ role }) => role === "video"),
    // Nothing live is left: what there is can be fetched, as a video.
    complete:
      json.isComplete === true ||
      (tracks.length > 0 && (json.tracks ?? []).every(({ isLive }) => isLive === false)),
    epochMs: json.sluiceEpoch,
    lacks: json.sluiceLacks ?? [],
    timeline: json.tracks?.find(({ packaging }) => packaging === "mediatimeline")?.name,
  };
}
