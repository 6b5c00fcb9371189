import type { Triplets } from "./codec/a53.ts";

/** ANSI/CTA-608-E 6.4.2: where the basic letters are not those of ASCII. */
const basic: Readonly<Record<number, string>> = {
  ...{ 42: "á", 92: "é", 94: "í", 95: "ó", 96: "ú", 123: "ç", 124: "÷", 125: "Ñ", 126: "ñ", 127: "█" },
};
/** Behind 0x11, from 0x30 on. */
const special = "®°½¿™¢£♪à èâêîôû";
/** Behind 0x12 and 0x13, from 0x20 on; each stands in place of the letter before it, which is for decoders that do not know it. */
const extended = ["ÁÉÓÚÜü‘¡*’—©℠•“”ÀÂÇÈÊËëÎÏïÔÙùÛ«»", "ÃãÍÌìÒòÕõ{}\\^_|~ÄäÖöß¥¤│ÅåØø┌┐└┘"] as const;
/** Rows by the first byte of a preamble, low and high half of the second one. */
const rows = [11, 11, 1, 2, 3, 4, 12, 13, 14, 15, 5, 6, 7, 8, 9, 10] as const;

/** What is written letter by letter is told this often. */
const everyMs = 500;
/** As wide as a screen is. */
const maxColumns = 32;

/**
 * The words of channel CC1 of CEA-608. Places, colours and the other channels are not read. Reads anything without a
 * complaint: what is no code is no letter.
 */
export class Line21 {
  #mode: "pop" | "roll" | "paint" | "text" = "pop";
  #shown = new Map<number, string>();
  #loaded = new Map<number, string>();
  #row = 15;
  #depth = 2;
  /** A code that came last: sent twice it counts once. */
  #before: number | undefined;
  #told = "";
  #toldMs = Number.NEGATIVE_INFINITY;

  /** Takes what came at `atMs`. What is shown by then, where that is something else than before; empty for nothing. */
  push(triplets: Triplets, atMs: number): string | undefined {
    let whole = false;
    for (let at = 0; at + 2 < triplets.length; at += 3)
      if ((triplets[at]! & 3) === 0 && this.#pair(triplets[at + 1]! & 0x7f, triplets[at + 2]! & 0x7f))
        whole = true;
    const text = textOf(this.#shown);
    if (text === this.#told || (!whole && atMs - this.#toldMs < everyMs)) return undefined;
    this.#told = text;
    this.#toldMs = atMs;
    return text;
  }

  /** True for what changes the screen as a whole. */
  #pair(a: number, b: number): boolean {
    if (a < 0x10 || a > 0x1f) {
      if (a >= 0x20) this.#before = undefined;
      this.#write(letterOf(a));
      this.#write(letterOf(b));
      return false;
    }
    const code = a * 128 + b;
    const again = code === this.#before;
    this.#before = again ? undefined : code;
    // Bit 3 is the other channel.
    if (again || (a & 8) !== 0 || b < 0x20) return false;
    if (b >= 0x40) this.#preamble(a, b);
    else if (a === 0x14) return this.#control(b);
    else if (a === 0x11) this.#write(b < 0x30 ? " " : special[b - 0x30]!);
    else if (a === 0x12 || a === 0x13) {
      this.#erase();
      this.#write(extended[a - 0x12]![b - 0x20]!);
    }
    return false;
  }

  #control(b: number): boolean {
    switch (b) {
      case 0x20: // resume caption loading
        this.#mode = "pop";
        return false;
      case 0x21: // backspace
        this.#erase();
        return false;
      case 0x25: // roll-up of two, three or four rows
      case 0x26:
      case 0x27:
        if (this.#mode !== "roll") this.#shown.clear();
        this.#mode = "roll";
        this.#depth = b - 0x23;
        this.#row = 15;
        return false;
      case 0x29: // resume direct captioning
        this.#mode = "paint";
        return false;
      case 0x2a: // text restart and resume: not captions
      case 0x2b:
        this.#mode = "text";
        return false;
      case 0x2c: // erase displayed memory
        this.#shown.clear();
        return true;
      case 0x2d: // carriage return
        if (this.#mode === "roll") this.#roll();
        return this.#mode === "roll";
      case 0x2e: // erase non-displayed memory
        this.#loaded.clear();
        return false;
      case 0x2f: // end of caption: what was loaded is shown
        [this.#shown, this.#loaded] = [this.#loaded, this.#shown];
        this.#mode = "pop";
        return true;
      default:
        return false;
    }
  }

  #preamble(a: number, b: number): void {
    const row = rows[(a & 7) * 2 + (b & 0x20 ? 1 : 0)]!;
    if (this.#mode !== "roll") {
      this.#row = row;
      // A second place in one row: what was written there stays in front.
      if (this.#memory.get(row)) this.#write(" ");
    }
  }

  get #memory(): Map<number, string> {
    return this.#mode === "pop" ? this.#loaded : this.#shown;
  }

  #write(letter: string): void {
    if (letter === "" || this.#mode === "text") return;
    const line = this.#memory.get(this.#row) ?? "";
    if (line.length < maxColumns) this.#memory.set(this.#row, line + letter);
  }

  #erase(): void {
    const line = this.#memory.get(this.#row);
    if (line && this.#mode !== "text") this.#memory.set(this.#row, line.slice(0, -1));
  }

  #roll(): void {
    const moved = new Map<number, string>();
    for (const [row, line] of this.#shown) if (row - 1 > 15 - this.#depth) moved.set(row - 1, line);
    this.#shown = moved;
  }
}

function letterOf(byte: number): string {
  return byte < 0x20 ? "" : (basic[byte] ?? String.fromCharCode(byte));
}

function textOf(memory: ReadonlyMap<number, string>): string {
  const lines = [...memory].sort(([a], [b]) => a - b).map(([, line]) => line.trim());
  return lines.filter((line) => line !== "").join("\n");
}
