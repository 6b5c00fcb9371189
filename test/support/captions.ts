import { captionsUnit } from "../../services/packager/codec/a53.ts";
import { type FlvTag, readVideo } from "../../services/packager/flv.ts";
import { writeVideo } from "../../services/packager/tags.ts";
import { concat } from "./bytes.ts";

type Pair = readonly [number, number];

/** ANSI/CTA-608-E control codes of channel 1 of a field, each sent twice. */
const resumeLoading: Pair = [0x14, 0x20];
const clearLoaded: Pair = [0x14, 0x2e];
const show: Pair = [0x14, 0x2f];
const clearShown: Pair = [0x14, 0x2c];
/** Row 15 from the left, in white. */
const row15: Pair = [0x14, 0x70];

/** One field of CEA-608, pair by pair, that shows `text` (ASCII, up to 32 letters) as a whole once it has come, and takes it away. */
export function popOn(text: string): Pair[] {
  const twice = (pair: Pair): Pair[] => [pair, pair];
  const letters: Pair[] = [];
  for (let i = 0; i < text.length; i += 2)
    letters.push([text.charCodeAt(i), i + 1 < text.length ? text.charCodeAt(i + 1) : 0]);
  return [
    ...twice(resumeLoading),
    ...twice(clearLoaded),
    ...twice(row15),
    ...letters,
    ...twice(show),
    ...Array.from({ length: 30 }, (): Pair => [0, 0]),
    ...twice(clearShown),
  ];
}

/** The triplet of a pair in field 1 or 2, with the parity of its bytes. */
export function triplet([a, b]: Pair, field: 1 | 2 = 1): number[] {
  return [0xfb + field, odd(a), odd(b)];
}

function odd(byte: number): number {
  let ones = 0;
  for (let bit = 0; bit < 7; bit++) ones += (byte >> bit) & 1;
  return ones % 2 === 0 ? byte | 0x80 : byte;
}

/** The tags with one pair of `pairs` (over and over) in each picture of H.264, in the order in which they are shown. */
export function withCaptions(tags: readonly FlvTag[], pairs: readonly Pair[]): FlvTag[] {
  const frames = tags.flatMap((tag, index) => {
    const message = tag.type === "video" ? readVideo(tag.payload) : undefined;
    return message?.type === "frame" ? [{ tag, index, message }] : [];
  });
  const shown = frames.toSorted(
    (a, b) => a.tag.timestampMs + a.message.compositionMs - b.tag.timestampMs - b.message.compositionMs,
  );
  const out = [...tags];
  for (const [i, { tag, index, message }] of shown.entries()) {
    const { entry, key, compositionMs, data } = message;
    const unit = captionsUnit(Uint8Array.from(triplet(pairs[i % pairs.length]!)));
    const payload = writeVideo({ entry, type: "frame", key, compositionMs, data: concat([unit, data]) });
    out[index] = { ...tag, payload };
  }
  return out;
}
