import { firstOf } from "./search.ts";

/** Words for a stretch of a broadcast, in whole milliseconds of its clock. */
export interface Line {
  readonly startMs: number;
  readonly endMs: number;
  readonly text: string;
  /** Nobody knew at its beginning how long it lasts: it is told in pieces, each within a part. */
  readonly pieces?: boolean | undefined;
  /** Where it stands on the picture, as a cue has it (WebVTT 4.4). Its text is that of a cue, too: with spans, and escaped. */
  readonly settings?: string | undefined;
}

/** Where the words of a broadcast go in: from its publisher, from speech recognition, from a person at a keyboard. */
export interface Writer {
  /** Words with their time. Those that come too late for it stand at the earliest time that is not listed yet. */
  add(line: Line): void;
  /** What is shown from `startMs` until this is called again, at most `mostMs`; empty text shows nothing. */
  show(words: { readonly text: string; readonly startMs: number; readonly mostMs: number }): void;
}

/** About as much as one shows on a picture. */
const maxLetters = 400;
/** Of one broadcast: ten hours of a line a second. */
export const maxLines = 36_000;
/** Longer than anybody reads on. */
const maxLineMs = 60_000;
/** In a second; more are of no use to anybody. */
const maxEachSecond = 8;

interface Kept extends Line {
  endMs: number;
  readonly pieces: boolean;
}

/**
 * The words of one broadcast, for whoever lists, serves and records them. What is listed never changes, so that every copy of it
 * in a cache is right.
 */
export class Subtitles implements Writer {
  /** RFC 5646, where it is known. */
  readonly language: string | undefined;
  /** What a person may call it. */
  readonly label: string | undefined;
  readonly #edgeMs: () => number;
  readonly #over: (line: Line) => void;
  /** By the time at which they begin. */
  #lines: Kept[] = [];
  #open: Kept | undefined;

  /** Before `edgeMs` everything is listed; `over` is told of each line that stays as it is. */
  constructor(options: {
    readonly language?: string | undefined;
    readonly label?: string | undefined;
    readonly edgeMs: () => number;
    readonly over?: ((line: Line) => void) | undefined;
  }) {
    this.language = options.language;
    this.label = options.label;
    this.#edgeMs = options.edgeMs;
    this.#over = options.over ?? (() => {});
  }

  /** Whether there were any words. */
  get said(): boolean {
    return this.#lines.length > 0;
  }

  add({ startMs, endMs, text }: Line): void {
    const clean = cleanText(text);
    if (clean === "") return;
    const start = this.#free(startMs);
    // Late words take as long to read as they would have.
    const lasting = Math.min(Math.max(Math.round(endMs - startMs), 1), maxLineMs);
    this.#over(this.#insert({ startMs: start, endMs: start + lasting, text: clean, pieces: false }));
  }

  show({ text, startMs, mostMs }: Parameters<Writer["show"]>[0]): void {
    const at = this.#free(startMs);
    this.#end(at);
    const clean = cleanText(text);
    if (clean === "") return;
    const endMs = at + Math.min(Math.max(Math.round(mostMs), 1), maxLineMs);
    this.#open = this.#insert({ startMs: at, endMs, text: clean, pieces: true });
  }

  /** Nothing follows. */
  end(): void {
    this.#end(this.#free(0));
  }

  /** Takes what an earlier run has kept. */
  restore(lines: readonly Line[]): void {
    for (const { pieces = false, ...line } of lines) this.#insert({ ...line, pieces });
  }

  /** What is shown at any time from `fromMs` up to `toMs`, by its beginning. */
  between(fromMs: number, toMs: number): Line[] {
    const found: Line[] = [];
    for (let i = this.#first(fromMs - maxLineMs); i < this.#lines.length; i++) {
      const { startMs, endMs, text, pieces, settings } = this.#lines[i]!;
      if (startMs >= toMs) break;
      if (endMs <= fromMs) continue;
      found.push(
        pieces
          ? { startMs: Math.max(startMs, fromMs), endMs: Math.min(endMs, toMs), text, pieces }
          : { startMs, endMs, text, ...(settings !== undefined && { settings }) },
      );
    }
    return found.slice(0, maxEachSecond * Math.ceil((toMs - fromMs) / 1000));
  }

  #free(ms: number): number {
    return Math.max(Math.round(ms), Math.ceil(this.#edgeMs()), 0);
  }

  #end(at: number): void {
    const line = this.#open;
    this.#open = undefined;
    if (!line) return;
    line.endMs = Math.max(line.startMs + 1, Math.min(line.endMs, at));
    this.#over(line);
  }

  /** Index of the first line that does not begin before `ms`. */
  #first(ms: number): number {
    return firstOf(this.#lines.length, (i) => this.#lines[i]!.startMs >= ms);
  }

  #insert(line: Kept): Kept {
    let at = this.#lines.length;
    while (at > 0 && this.#lines[at - 1]!.startMs > line.startMs) at--;
    this.#lines.splice(at, 0, line);
    if (this.#lines.length > maxLines) this.#lines.shift();
    return line;
  }
}

/** Without control characters, and without empty lines, which would end a cue. */
function cleanText(text: string): string {
  return text
    .slice(0, maxLetters)
    .replace(/\r\n?/g, "\n")
    .replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]|\p{Surrogate}/gu, "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .join("\n");
}
