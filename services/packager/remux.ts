import { makeChunk, movieHeader } from "./cmaf.ts";
import type { FlvTag } from "./flv.ts";
import { type Fmp4Event, Fmp4Reader, type Fmp4Sample } from "./fmp4.ts";
import { Lane } from "./lane.ts";
import { messagesOf } from "./opening.ts";
import { writeAudio, writeVideo } from "./tags.ts";
import type { AudioTrack, Sample, VideoTrack } from "./track.ts";

/** Tags that wait for another track: a few seconds of picture and sound. */
const mostHeld = 500;
/** What the first frame is taken to last, until a second one tells. */
const guessSeconds = 0.033;

/**
 * A publish's first tracks as one fragmented MP4, for readers whose FLV knows H.264 and AAC alone (ffmpeg before 6.1): a
 * fragment a frame, none held back. Times are the tags' own milliseconds.
 */
export class CmafFeed {
  readonly #wants: { readonly video: boolean; readonly audio: boolean };
  readonly #lanes = { video: new Lane(), audio: new Lane() };
  readonly #last = { video: -1, audio: -1 };
  readonly #lasts = { video: 0, audio: 0 };
  #sequence = 0;
  #begun = false;
  #stale = false;
  /** What came since the first keyframe, while the other track is not known. */
  #held: { readonly tag: FlvTag; readonly ms: number }[] = [];

  /** Nothing comes before all that is wanted is there: the picture from a keyframe on. */
  constructor(wants: { readonly video: boolean; readonly audio: boolean }) {
    this.#wants = wants;
  }

  /** A track has changed since the header was written: a reader of MP4 has to begin again, with another feed. */
  get stale(): boolean {
    return this.#stale;
  }

  /** What is wanted has not come within so many seconds of the rest that nothing can be expected of it any more. */
  get starved(): boolean {
    return !this.#begun && this.#held.length >= mostHeld;
  }

  /** The bytes that this tag adds, in order; `timestampMs` replaces the tag's and never runs back. Throws BadMedia. */
  push(tag: FlvTag, timestampMs: number = tag.timestampMs): Uint8Array[] {
    if (tag.type === "script" || !this.#wants[tag.type]) return [];
    if (this.#begun || !this.#wants.video || !this.#wants.audio) return this.#take(tag, timestampMs);
    if (this.#held.length < mostHeld) this.#held.push({ tag, ms: timestampMs });
    this.#look(tag.type, tag);
    if (!this.#lanes.video.track || !this.#lanes.audio.track) return [];
    const held = this.#held;
    this.#held = [];
    return held.flatMap(({ tag: one, ms }) => this.#take(one, ms));
  }

  /** Learns of a track, from a configuration or from a frame that says it all. */
  #look(kind: "video" | "audio", tag: FlvTag): void {
    const lane = this.#lanes[kind];
    for (const message of messagesOf(tag)) {
      if ((message.type !== "config" && message.type !== "frame") || message.track !== 0) continue;
      if (message.type === "config") lane.configure(message.entry, message.config, {});
      else lane.read(message.entry, message.data, {});
    }
  }

  #take(tag: FlvTag, timestampMs: number): Uint8Array[] {
    const out: Uint8Array[] = [];
    if (tag.type === "script" || !this.#wants[tag.type]) return out;
    const lane = this.#lanes[tag.type];
    for (const message of messagesOf(tag)) {
      if ((message.type !== "config" && message.type !== "frame") || message.track !== 0) continue;
      const { generation } = lane;
      const frame = message.type === "frame" ? lane.read(message.entry, message.data, {}) : undefined;
      if (message.type === "config") lane.configure(message.entry, message.config, {});
      if (this.#begun && lane.generation !== generation) this.#stale = true;
      if (this.#stale || !frame || message.type !== "frame") continue;
      const lead = "compositionMs" in message ? message.compositionMs : 0;
      const sample = { at: timestampMs + message.offsetMs, lead, key: frame.key, data: frame.data };
      if (!this.#begun && !this.#begin(tag.type, frame.key, out)) continue;
      const chunk = this.#write(tag.type, sample);
      if (chunk) out.push(chunk);
    }
    return out;
  }

  #begin(kind: "video" | "audio", key: boolean, out: Uint8Array[]): boolean {
    const { video, audio } = this.#lanes;
    if ((this.#wants.video && !video.track) || (this.#wants.audio && !audio.track)) return false;
    if (this.#wants.video && !(kind === "video" && key)) return false;
    const tracks = [this.#wants.video && video.track, this.#wants.audio && audio.track];
    out.push(movieHeader(tracks.filter((track) => typeof track === "object")));
    this.#begun = true;
    return true;
  }

  #write(
    kind: "video" | "audio",
    { at, lead, key, data }: { at: number; lead: number; key: boolean; data: Sample["data"] },
  ): Uint8Array | undefined {
    const track = this.#lanes[kind].track as VideoTrack | AudioTrack;
    const ticks = (ms: number): number => Math.round((ms * track.timescale) / 1000);
    const dts = ticks(at);
    if (dts <= this.#last[kind]) return undefined;
    // Frames of audio all last alike; those of video as long as the one before, for which no reader needs the true figure.
    if (track.kind === "audio") this.#lasts.audio = track.frameTicks;
    else if (this.#last.video >= 0) this.#lasts.video = dts - this.#last.video;
    this.#last[kind] = dts;
    const duration = this.#lasts[kind] || Math.round(guessSeconds * track.timescale);
    const pts = ticks(at + lead);
    return makeChunk(track, [{ dts, pts, duration, key, data }], ++this.#sequence).bytes;
  }
}

/** Takes what an encoder writes as fragmented MP4 and gives it on as the tags of a rung. After it has thrown it is of no more use. */
export class RungTags {
  readonly #reader = new Fmp4Reader();

  /** The tags that `bytes` complete, each with whether a reader can begin with it. Throws BadMedia. */
  push(bytes: Uint8Array): { readonly tag: FlvTag; readonly kind: "config" | "key" | "other" }[] {
    return this.#reader.push(bytes).flatMap(tagsOf);
  }
}

type Made = ReturnType<RungTags["push"]>;

function tagsOf(event: Fmp4Event): Made {
  if (event.type === "sample") return [sampleTag(event.sample)];
  return event.tracks
    .filter(({ config }) => config.length > 0)
    .map(({ kind: type, entry, config }) => {
      const write = type === "video" ? writeVideo : writeAudio;
      return {
        tag: { type, timestampMs: 0, payload: write({ entry, type: "config", data: config }) },
        kind: "config",
      };
    });
}

function sampleTag({ track, dts, pts, key, data }: Fmp4Sample): Made[number] {
  const ms = (ticks: number): number => Math.round((ticks * 1000) / track.timescale);
  const timestampMs = ms(dts);
  const message = {
    entry: track.entry,
    type: "frame",
    key,
    compositionMs: ms(pts) - timestampMs,
    data,
  } as const;
  const payload = track.kind === "video" ? writeVideo(message) : writeAudio(message);
  return { tag: { type: track.kind, timestampMs, payload }, kind: key ? "key" : "other" };
}
