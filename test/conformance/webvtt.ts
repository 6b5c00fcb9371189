export interface Cue {
  readonly startMs: number;
  readonly endMs: number;
  readonly text: string;
}

/** A segment or part of WebVTT as its text shows it, and what breaks a rule in it. */
export interface VttReading {
  readonly cues: readonly Cue[];
  readonly faults: readonly string[];
}

const timing = /^(?:(\d{2,}):)?([0-5]\d):([0-5]\d)\.(\d{3}) --> (?:(\d{2,}):)?([0-5]\d):([0-5]\d)\.(\d{3})$/;

/**
 * Reads a segment of the stretch from `fromMs` to `toMs`. Rules are of rfc8216bis 3.1.4 and of the WebVTT specification (W3C, 4.1:
 * header, blocks between empty lines, times that go forward).
 */
export function readVtt(text: string, { fromMs, toMs }: { fromMs: number; toMs: number }): VttReading {
  const faults: string[] = [];
  const [header = "", ...blocks] = text.replace(/\n$/, "").split("\n\n");
  const [magic, ...fields] = header.split("\n");
  if (magic !== "WEBVTT") faults.push("the first line is not WEBVTT");
  if (!text.endsWith("\n")) faults.push("the last line is not ended");
  const map = fields.filter((line) => line.startsWith("X-TIMESTAMP-MAP="));
  if (map.length !== 1 || map[0] !== "X-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000")
    faults.push("no X-TIMESTAMP-MAP in the header, or another one than the media have");
  const cues: Cue[] = [];
  for (const block of blocks) {
    const [line = "", ...words] = block.split("\n");
    const found = timing
      .exec(line)
      ?.slice(1)
      .map((digits) => Number(digits ?? 0));
    if (!found) {
      faults.push(`no timing: ${line}`);
      continue;
    }
    const ms = (at: number): number =>
      ((found[at]! * 60 + found[at + 1]!) * 60 + found[at + 2]!) * 1000 + found[at + 3]!;
    const cue = { startMs: ms(0), endMs: ms(4), text: words.join("\n") };
    if (!(cue.endMs > cue.startMs)) faults.push(`${line} ends before it begins`);
    if (cue.startMs >= toMs || cue.endMs <= fromMs)
      faults.push(`${line} is not shown from ${fromMs} to ${toMs}`);
    if (cue.startMs < (cues.at(-1)?.startMs ?? 0)) faults.push(`${line} stands behind a later one`);
    if (words.length === 0 || words.some((one) => one.trim() === "")) faults.push(`${line} has no words`);
    if (/[<>]|&(?!amp;|lt;|gt;)/.test(cue.text)) faults.push(`markup in ${cue.text}`);
    cues.push(cue);
  }
  return { cues, faults };
}
