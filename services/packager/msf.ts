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
}

/** An MSF catalog with CMSF packaging (draft-ietf-moq-msf-01 5, draft-ietf-moq-cmsf-01 3) as JSON. */
export function renderCatalog({ nowMs, tracks, targetLatencyMs, epochMs }: CatalogOptions): string {
  return JSON.stringify({
    version: "draft-01",
    generatedAt: nowMs,
    tracks: tracks.map(({ name, label, track, bitsPerSecond, frameRate }) => ({
      name,
      packaging: "cmaf",
      isLive: true,
      role: track.kind,
      label,
      codec: track.codec,
      mimeType: `${track.kind}/mp4`,
      bitrate: bitsPerSecond,
      timescale: track.timescale,
      targetLatency: targetLatencyMs,
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
    })),
    initDataList: tracks.map(({ name, init }) => ({ id: name, type: "inline", data: init })),
    // Unknown fields are passed over (MSF 5.1); a moment of the encoder's clock is ours alone.
    sluiceEpoch: epochMs,
  });
}

/** The catalog of a broadcast that is over (MSF 5.1.4): nothing is live and nothing comes. */
export function renderEndedCatalog(nowMs: number): string {
  return JSON.stringify({ version: "draft-01", generatedAt: nowMs, isComplete: true, tracks: [] });
}
