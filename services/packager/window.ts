import type { Step } from "./segmenter.ts";
import type { Chunk, Part, Segment } from "./track.ts";

/** What a playlist shows of one rendition at one moment. Ticks are of `timescale`. */
export interface Window {
  readonly timescale: number;
  /** Whole seconds; EXT-X-TARGETDURATION. Constant for the broadcast (rfc8216bis 6.2.1). */
  readonly targetDuration: number;
  /** Seconds; PART-TARGET. Constant for the broadcast. */
  readonly partTarget: number;
  /** Whether the window is long enough for delta updates to pay. Constant for the broadcast. */
  readonly deltas: boolean;
  /** Milliseconds since 1970 at dts 0. */
  readonly epochMs: number;
  /** The discontinuity count of the last segment that left: EXT-X-DISCONTINUITY-SEQUENCE (rfc8216bis 4.4.3.3, 6.2.2). */
  readonly discontinuitySequence: number;
  /** Complete segments, oldest first, without a hole in their numbers (rfc8216bis 4.4.3.2, 6.2.2). */
  readonly segments: readonly Segment[];
  /** The segment under construction with its complete parts (rfc8216bis 4.4.4.9); absent when none has begun or the rendition ended. */
  readonly open: Segment | undefined;
  /** Where the next part will appear; its URI is hinted (rfc8216bis 4.4.5.3). Absent when ended or when the next thing is a gap. */
  readonly next: { readonly number: number; readonly part: number; readonly version: number } | undefined;
  readonly ended: boolean;
}

export interface WindowLimits {
  readonly timescale: number;
  readonly targetDuration: number;
  readonly partTarget: number;
  readonly epochMs: number;
  /** Seconds that the playlist shows at the least. */
  readonly windowSeconds: number;
  readonly windowSegments: number;
  /** The discontinuity count before the first segment. */
  readonly discontinuity: number;
}

interface Growing {
  number: number;
  discontinuity: number;
  version: number;
  dts: number;
  lead: number | undefined;
  duration: number;
  independent: boolean;
  gap: boolean;
  parts: Part[];
  byteLength: number;
  keyBytes?: number;
}

/** A segment that left the playlist. */
export interface Evicted {
  readonly segment: Segment;
  /** Ticks of broadcast time after which nobody may ask for it any more. */
  readonly until: number;
}

/** One rendition's segments as long as a playlist shows them: applies steps, evicts, finds. */
export class RenditionWindow implements Window {
  readonly timescale: number;
  readonly targetDuration: number;
  readonly partTarget: number;
  readonly deltas: boolean;
  readonly epochMs: number;
  readonly #limits: WindowLimits;
  #segments: Segment[] = [];
  #evicted: Evicted[] = [];
  #open: Growing | undefined;
  #chunks: Chunk[] = [];
  #discontinuitySequence: number;
  #ended = false;
  #edge = 0;
  #version: number | undefined;
  #bytes = 0;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
    this.timescale = limits.timescale;
    this.targetDuration = limits.targetDuration;
    this.partTarget = limits.partTarget;
    this.epochMs = limits.epochMs;
    this.deltas = limits.windowSeconds >= 9 * limits.targetDuration;
    this.#discontinuitySequence = limits.discontinuity;
  }

  get segments(): readonly Segment[] {
    return this.#segments;
  }

  get open(): Segment | undefined {
    return this.#open;
  }

  /** Chunks of the open segment that are not in a part yet. */
  get loose(): readonly Chunk[] {
    return this.#chunks;
  }

  get discontinuitySequence(): number {
    return this.#discontinuitySequence;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Of the init segment in force; undefined before the first segment. */
  get version(): number | undefined {
    return this.#version;
  }

  /** Media bytes held for readers. */
  get bytes(): number {
    return this.#bytes;
  }

  /** End of the last complete part in ticks. */
  get edge(): number {
    return this.#edge;
  }

  get next(): Window["next"] {
    const open = this.#open;
    if (this.#ended || open?.gap) return undefined;
    if (open) return { number: open.number, part: open.parts.length, version: open.version };
    const last = this.#segments.at(-1);
    return last && !last.gap
      ? { number: last.number + 1, part: 0, version: this.#version ?? last.version }
      : undefined;
  }

  /** Applies one step. True when a playlist would read differently now. */
  apply(step: Step): boolean {
    switch (step.type) {
      case "open":
        this.#open = {
          number: step.row.number,
          discontinuity: step.row.discontinuity,
          version: step.version,
          dts: step.dts,
          lead: undefined,
          duration: 0,
          independent: step.independent,
          gap: step.row.gap,
          parts: [],
          byteLength: 0,
        };
        this.#version = step.version;
        return false;
      case "chunk":
        this.#chunks.push(step.chunk);
        if (this.#open) this.#open.lead ??= step.chunk.pts - step.chunk.dts;
        return false;
      case "part": {
        const open = this.#open;
        if (!open) return false;
        const { chunks, bytes } = together(this.#chunks);
        // A chunk of video is one picture.
        if (open.parts.length === 0 && open.independent && chunks[0]?.samples === 1)
          open.keyBytes = chunks[0].bytes.length;
        open.parts.push({
          duration: step.duration,
          independent: step.independent,
          gap: step.gap,
          chunks,
          bytes,
        });
        // rfc8216bis 4.4.4.7: a segment that lacks a part cannot be had whole.
        open.gap ||= step.gap;
        open.duration += step.duration;
        open.byteLength += bytes.length;
        this.#bytes += bytes.length;
        this.#chunks = [];
        this.#edge = open.dts + open.duration;
        return true;
      }
      case "close": {
        const open = this.#open;
        this.#open = undefined;
        if (!open || open.parts.length === 0) return false;
        this.#segments.push(open);
        this.#evict();
        return true;
      }
    }
  }

  /** ENDLIST (rfc8216bis 4.4.3.4): nothing follows. */
  end(): void {
    this.#open = undefined;
    this.#ended = true;
  }

  /** What left the playlist since this was last asked. */
  takeEvicted(): Evicted[] {
    return this.#evicted.length > 0 ? this.#evicted.splice(0) : this.#evicted;
  }

  /** The segment if it is complete and in the playlist. */
  segment(number: number): Segment | undefined {
    return find(this.#segments, number);
  }

  #evict(): void {
    const { windowSeconds, windowSegments, targetDuration } = this.#limits;
    let shown = this.#segments.reduce((sum, segment) => sum + segment.duration, 0);
    for (;;) {
      const oldest = this.#segments[0];
      // rfc8216bis 6.2.2: never shorter than three target durations.
      const least = Math.max(windowSeconds, 3 * targetDuration) * this.timescale;
      if (!oldest || this.#segments.length <= windowSegments || shown - oldest.duration < least) break;
      this.#segments.shift();
      this.#discontinuitySequence = oldest.discontinuity;
      // rfc8216bis 6.2.2: fetchable for its own duration and that of the longest playlist that listed it.
      this.#evicted.push({ segment: oldest, until: this.#edge + shown + oldest.duration });
      this.#bytes -= oldest.byteLength;
      shown -= oldest.duration;
    }
  }
}

/**
 * A part's bytes in one piece: as they lie where the block of its last chunk has all of them, else copied. Half a minute is
 * long for a block that is mostly empty.
 */
function together(chunks: readonly Chunk[]): { chunks: readonly Chunk[]; bytes: Uint8Array } {
  let size = 0;
  for (const chunk of chunks) size += chunk.bytes.length;
  const last = chunks.at(-1)?.bytes;
  const whole = last && last.byteOffset + last.length === size && last.buffer.byteLength < 1.25 * size + 1024;
  const bytes = whole ? new Uint8Array(last.buffer, 0, size) : new Uint8Array(size);
  let at = 0;
  const placed = chunks.map((chunk) => {
    const start = at;
    at += chunk.bytes.length;
    if (whole && chunk.bytes.buffer === last.buffer) return chunk;
    if (!whole) bytes.set(chunk.bytes, start);
    return { ...chunk, bytes: bytes.subarray(start, at) };
  });
  return { chunks: placed, bytes };
}

/** The segment of this number among some that follow each other without a hole. */
export function find(segments: readonly Segment[], number: number): Segment | undefined {
  const first = segments[0];
  if (!first) return undefined;
  const segment = segments[number - first.number];
  return segment?.number === number ? segment : undefined;
}
