import { BadMedia } from "./bad-media.ts";
import { fromBase64 } from "./base64.ts";
import { shownSize, type Track } from "./track.ts";

/** One track of a catalog. */
export interface CatalogTrack {
  /** As it is subscribed to. */
  readonly name: string;
  /** What a person may choose by; the rendition's name. */
  readonly label: string;
  readonly track: Track;
  /** The init segment in base64. */
  readonly init: string;
  readonly bitsPerSecond: number;
  readonly frameRate: number | undefined;
}

export interface CatalogOptions {
  readonly nowMs: number;
  readonly tracks: readonly CatalogTrack[];
  /** What a player should keep between the newest object and the screen. */
  readonly targetLatencyMs: number;
  /** Milliseconds since 1970 at broadcast time 0: what a player needs to say how late it is. */
  readonly epochMs: number;
  /** Name of the track that says where groups begin in time, where the past can be fetched. */
  readonly timeline?: string | undefined;
  /** What it has besides these tracks, which only playlists carry; empty or absent: nothing. */
  readonly lacks?: readonly string[] | undefined;
  /** Of a broadcast that is over and can be fetched: its milliseconds. Undefined while it is live. */
  readonly durationMs?: number | undefined;
}

/** An MSF catalog with CMSF packaging (draft-ietf-moq-msf-01 5, draft-ietf-moq-cmsf-01 3) as JSON. */
export function renderCatalog(options: CatalogOptions): string {
  const { nowMs, tracks, epochMs, timeline, lacks = [] } = options;
  return JSON.stringify({
    version: "draft-01",
    generatedAt: nowMs,
    tracks: [...tracksOf(options), ...(timeline === undefined ? [] : [timelineTrack(timeline, options)])],
    initDataList: tracks.map(({ name, init }) => ({ id: name, type: "inline", data: init })),
    // Unknown fields are passed over (MSF 5.1); a moment of the encoder's clock is ours alone, and so is what goes without tracks.
    sluiceEpoch: epochMs,
    ...(lacks.length > 0 && { sluiceLacks: lacks }),
  });
}

/** The same in the shape of the drafts before (draft-ietf-moq-warp-01, draft-ietf-moq-msf-00): init segments stand in their tracks. */
export function renderWarpCatalog(options: CatalogOptions): string {
  const { tracks } = options;
  return JSON.stringify({
    version: 1,
    tracks: tracksOf(options).map(({ initRef, ...track }, i) => ({ ...track, initData: tracks[i]!.init })),
  });
}

function timelineTrack(name: string, { tracks, durationMs }: CatalogOptions) {
  return {
    ...{ name, packaging: "mediatimeline", mimeType: "application/json", isLive: durationMs === undefined },
    depends: tracks.map((track) => track.name),
  };
}

function tracksOf({ tracks, targetLatencyMs, durationMs }: CatalogOptions) {
  return tracks.map(({ name, label, track, bitsPerSecond, frameRate }) => ({
    name,
    packaging: "cmaf",
    isLive: durationMs === undefined,
    ...(durationMs !== undefined && { trackDuration: durationMs }),
    role: track.kind,
    label,
    codec: track.codec,
    mimeType: `${track.kind}/mp4`,
    bitrate: bitsPerSecond,
    timescale: track.timescale,
    ...(durationMs === undefined && { targetLatency: targetLatencyMs }),
    renderGroup: 1,
    ...(track.kind === "video"
      ? {
          // Groups of equal number begin at the same time in all of these.
          altGroup: 1,
          ...shownSize(track),
          ...(frameRate !== undefined && { framerate: frameRate }),
        }
      : {
          samplerate: track.sampleRate,
          channelConfig: String(track.channels),
          ...(track.language !== undefined && { lang: track.language }),
        }),
    initRef: name,
  }));
}

/** The catalog of a broadcast that is over and of which nothing is kept (MSF 5.1.4): nothing is live and nothing comes. */
export function renderEndedCatalog(nowMs: number): string {
  return JSON.stringify({ version: "draft-01", generatedAt: nowMs, isComplete: true, tracks: [] });
}

/** What a publisher's catalog offers that can be taken apart: whole CMAF, with its init segment. */
export interface OfferedTrack {
  readonly name: string;
  readonly role: "video" | "audio";
  readonly bitsPerSecond: number;
  readonly init: Uint8Array;
}

const maxCatalogTracks = 64;

/**
 * Reads the tracks of a publisher's whole catalog (MSF 5.1, CMSF 3), init segments in either place that the drafts have had. Throws
 * BadMedia with what the publisher must change.
 */
export function readCatalog(text: string): OfferedTrack[] {
  const root = objectOf(parsed(text));
  const tracks = Array.isArray(root.tracks) ? root.tracks.slice(0, maxCatalogTracks).map(objectOf) : [];
  const inits = new Map<unknown, unknown>();
  if (Array.isArray(root.initDataList))
    for (const one of root.initDataList.slice(0, maxCatalogTracks).map(objectOf)) inits.set(one.id, one.data);
  const found: OfferedTrack[] = [];
  for (const { name, packaging, role, mimeType, bitrate, initRef, initData } of tracks) {
    if (typeof name !== "string" || packaging !== "cmaf") continue;
    const kind = typeof role === "string" ? role : typeof mimeType === "string" ? mimeType.split("/")[0] : "";
    const said = typeof initData === "string" ? initData : inits.get(initRef);
    const init = typeof said === "string" ? fromBase64(said) : undefined;
    if ((kind !== "video" && kind !== "audio") || !init) continue;
    const bitsPerSecond = typeof bitrate === "number" && Number.isFinite(bitrate) ? bitrate : 0;
    found.push({ name, role: kind, bitsPerSecond, init });
  }
  if (found.length === 0)
    throw new BadMedia(
      "bad_config",
      "The catalog has no track with packaging cmaf and its init segment; publish CMAF (CMSF), not LOC",
    );
  return found;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new BadMedia("bad_config", "The catalog is not JSON");
  }
}

const objectOf = (value: unknown): Readonly<Record<string, unknown>> =>
  value !== null && typeof value === "object" ? (value as Record<string, unknown>) : {};
