import { configOf } from "./codec/codec.ts";
import { type AudioMessage, type FlvTag, readAudio, readVideo, type VideoMessage } from "./flv.ts";

/** How long tracks that nobody promised may take to appear, and those that onMetaData promised. */
const unpromisedMs = 300;
const promisedMs = 2_000;

type Kind = "video" | "audio";

export interface Pending {
  readonly tag: FlvTag;
  readonly nowMs: number;
}

/** The messages of a tag, each of one track. Throws BadMedia. */
export function messagesOf(tag: FlvTag): readonly Exclude<VideoMessage | AudioMessage, { type: "many" }>[] {
  if (tag.type === "script") return [];
  const message = tag.type === "video" ? readVideo(tag.payload) : readAudio(tag.payload);
  return (message.type === "many" ? message.messages : [message]) as ReturnType<typeof messagesOf>;
}

/** Holds what a publish sends until its tracks are known, and two frames that tell how long a frame is. */
export class Opening {
  /** Ids of tracks that onMetaData promises; undefined while it has promised nothing. */
  promised: Readonly<Record<Kind, readonly number[]>> | undefined;
  readonly #pending: Pending[] = [];
  readonly #known = { video: new Set<number>(), audio: new Set<number>() };
  readonly #frames = { video: 0, audio: 0 };
  #first: Pending | undefined;

  get empty(): boolean {
    return this.#pending.length === 0;
  }

  /** Keeps a copy of the tag. Throws BadMedia. */
  add(tag: FlvTag, nowMs: number): void {
    const pending = { tag: { ...tag, payload: tag.payload.slice() }, nowMs };
    this.#first ??= pending;
    this.#pending.push(pending);
    if (tag.type === "script") return;
    const known = this.#known[tag.type];
    for (const message of messagesOf(tag)) {
      if (message.type === "config" && message.config.length > 0) known.add(message.track);
      if (message.type !== "frame") continue;
      if (!known.has(message.track) && configOf(message.entry, message.data, undefined))
        known.add(message.track);
      if (known.has(message.track)) this.#frames[tag.type]++;
    }
  }

  /** Whether the broadcast can begin with what there is. */
  complete(nowMs: number): boolean {
    const first = this.#first;
    const last = this.#pending.at(-1);
    if (!first || !last) return false;
    const waited = Math.max(nowMs - first.nowMs, last.tag.timestampMs - first.tag.timestampMs);
    const { video, audio } = this.#known;
    const { promised } = this;
    const missing = promised
      ? promised.video.some((id) => !video.has(id)) || promised.audio.some((id) => !audio.has(id))
      : video.size === 0 || audio.size === 0;
    if (missing && waited < (promised ? promisedMs : unpromisedMs)) return false;
    return video.size > 0 ? this.#frames.video >= 2 * video.size : audio.size > 0 && this.#frames.audio >= 2;
  }

  take(): readonly Pending[] {
    return this.#pending.splice(0);
  }
}
