import { all, attribute, integer, read } from "./hls-text.ts";

/** A segment as it was sent. */
export interface Sent {
  readonly number: number;
  readonly seconds: number;
  readonly bytes: number;
}

/** rfc8216bis 4.4.6.2 lets an average differ by nothing; a few seconds of a live one stand for all of it with this much play. */
const play = 1.1;

/**
 * The peak segment bit rate of a rendition (rfc8216bis 4.1): the most bits per second of any run of segments without a hole whose
 * duration is between 0.5 and 1.5 target durations. 0 where there is no such run.
 */
export function peakBits(sent: readonly Sent[], targetDuration: number): number {
  const segments = sent.toSorted((a, b) => a.number - b.number);
  let peak = 0;
  segments.forEach((_, first) => {
    let [seconds, bytes] = [0, 0];
    for (let at = first; at < segments.length; at++) {
      const one = segments[at]!;
      if (at > first && one.number !== segments[at - 1]!.number + 1) break;
      seconds += one.seconds;
      bytes += one.bytes;
      if (seconds > 1.5 * targetDuration) break;
      if (seconds >= 0.5 * targetDuration) peak = Math.max(peak, (bytes * 8) / seconds);
    }
  });
  return peak;
}

/** The average segment bit rate (rfc8216bis 4.1); 0 for nothing. */
export function averageBits(sent: readonly Sent[]): number {
  const seconds = sent.reduce((sum, one) => sum + one.seconds, 0);
  return seconds > 0 ? (sent.reduce((sum, one) => sum + one.bytes, 0) * 8) / seconds : 0;
}

/**
 * What a multivariant playlist declares and its renditions, by their names, exceed. Renditions of which nothing was sent are not
 * judged.
 */
export function exceeded(
  text: string,
  sent: ReadonlyMap<string, readonly Sent[]>,
  targetDuration: number,
): string[] {
  const reading = read(text);
  const nameOf = (uri: string | undefined) => /([^/]+)\.m3u8$/.exec(uri ?? "")?.[1] ?? "";
  const wrong: string[] = [];
  for (const { tag, uri } of reading.variants) {
    const group = attribute(tag, "AUDIO");
    const beside = all(reading, "EXT-X-MEDIA").find(
      (one) => group !== undefined && attribute(one, "GROUP-ID") === group,
    );
    const names = new Set([nameOf(uri), ...(beside ? [nameOf(attribute(beside, "URI"))] : [])]);
    const media = [...names].map((name) => sent.get(name) ?? []);
    if (media.some((segments) => segments.length === 0)) continue;
    const sum = (of: (segments: readonly Sent[]) => number) => media.reduce((all, one) => all + of(one), 0);
    const peak = sum((segments) => peakBits(segments, targetDuration));
    const average = sum(averageBits);
    const declared = {
      peak: integer(attribute(tag, "BANDWIDTH")),
      average: integer(attribute(tag, "AVERAGE-BANDWIDTH")),
    };
    const say = (what: string, was: number, said: number) =>
      wrong.push(`${nameOf(uri)}: ${what} ${Math.round(was)} bits/s, declared ${said}`);
    if (!(peak <= declared.peak)) say("peak", peak, declared.peak);
    if (!(average <= declared.average * play)) say("average", average, declared.average);
  }
  return wrong;
}
