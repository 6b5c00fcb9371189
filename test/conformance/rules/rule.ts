import { all, attribute, type Entry, find, type Reading } from "../hls-text.ts";

/** One rule of rfc8216bis (draft 22), or of Apple's authoring specification where the section starts with A. */
export interface Rule<Input> {
  readonly section: string;
  readonly name: string;
  /** What is wrong, once per fault. */
  readonly check: (input: Input) => Iterable<string>;
}

/** Makes a rule. */
export function rule<Input>(
  section: string,
  name: string,
  check: (input: Input) => Iterable<string>,
): Rule<Input> {
  return { section, name, check };
}

/** Whether a text is a multivariant playlist. */
export function isMultivariant(reading: Reading): boolean {
  return reading.variants.length > 0;
}

/** Complete segments and the open one. */
export function entriesOf(reading: Reading): Entry[] {
  return reading.open ? [...reading.complete, reading.open] : [...reading.complete];
}

/** The EXT-X-SERVER-CONTROL tag. */
export function control(reading: Reading): ReturnType<typeof find> {
  return find(reading, "EXT-X-SERVER-CONTROL");
}

/** The address in the part hint. */
export function partHint(reading: Reading): string | undefined {
  return attribute(
    all(reading, "EXT-X-PRELOAD-HINT").find((tag) => attribute(tag, "TYPE") === "PART"),
    "URI",
  );
}
