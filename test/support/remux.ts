import { initSegment, makeChunk } from "../../services/packager/cmaf.ts";
import { type Cleaner, cleanerOf, trackOf } from "../../services/packager/codec/codec.ts";
import { FlvReader, readAudio, readVideo } from "../../services/packager/flv.ts";
import type { Chunk, CodedFrame, Entry, Sample, Track } from "../../services/packager/track.ts";

export interface Remuxed {
  readonly track: Track;
  readonly init: Uint8Array;
  readonly samples: readonly Sample[];
  readonly chunks: readonly Chunk[];
}

/** A whole FLV as CMAF, with nothing of the timeline's care: video in milliseconds x 90, audio on its own grid. */
export function remux(
  flv: Uint8Array,
  perChunk: { video: number; audio: number },
): { video?: Remuxed; audio?: Remuxed } {
  const video = new Collector();
  const audio = new Collector();
  const reader = new FlvReader();
  for (let at = 0; at < flv.length; at += 10_000) {
    for (const tag of reader.push(flv.subarray(at, at + 10_000))) {
      if (tag.type === "video") {
        const message = readVideo(tag.payload);
        if (message.type === "config") video.begin(message.entry, message.config);
        if (message.type === "frame") video.add(tag.timestampMs, message.compositionMs, message.data);
      } else if (tag.type === "audio") {
        const message = readAudio(tag.payload);
        if (message.type === "config") audio.begin(message.entry, message.config);
        if (message.type === "frame") audio.add(tag.timestampMs, 0, message.data);
      }
    }
  }
  const done: { video?: Remuxed; audio?: Remuxed } = {};
  if (video.track) done.video = video.end(perChunk.video);
  if (audio.track) done.audio = audio.end(perChunk.audio);
  return done;
}

class Collector {
  track: Track | undefined;
  #clean: Cleaner | undefined;
  readonly #frames: { dts: number; pts: number; frame: CodedFrame }[] = [];

  begin(entry: Entry, config: Uint8Array): void {
    this.track ??= trackOf(entry, config, {});
    this.#clean ??= cleanerOf(entry, config);
  }

  add(timestampMs: number, compositionMs: number, data: Uint8Array): void {
    const frame = this.#clean?.(data);
    if (!frame || !this.track) return;
    const { track } = this;
    const first = this.#frames[0]?.dts ?? Math.round((timestampMs * track.timescale) / 1000);
    const dts = track.kind === "audio" ? first + this.#frames.length * track.frameTicks : timestampMs * 90;
    this.#frames.push({ dts, pts: dts + compositionMs * 90, frame });
  }

  end(perChunk: number): Remuxed {
    const track = this.track!;
    let duration = track.kind === "audio" ? track.frameTicks : 3000;
    const samples = this.#frames.map(({ dts, pts, frame }, i): Sample => {
      const next = this.#frames[i + 1];
      if (next) duration = next.dts - dts;
      return { dts, pts, duration, key: frame.key, data: frame.data };
    });
    const chunks: Chunk[] = [];
    for (let at = 0; at < samples.length; at += perChunk) {
      chunks.push(makeChunk(track, samples.slice(at, at + perChunk), chunks.length + 1));
    }
    return { track, init: initSegment(track), samples, chunks };
  }
}
