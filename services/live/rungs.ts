import type { Rung } from "./ladder.ts";

/** How long a rung that was given up is a gap, for players to leave it, before its playlist is gone. */
const leaveMs = 8_000;

/** The names of what a broadcast has renditions of. */
export interface Made {
  has(name: string): boolean;
  keys(): Iterable<string>;
}

export interface RungsOptions {
  readonly made: Made;
  /** Whether a rendition is the publisher's own, not a rung. */
  readonly isOwn: (name: string) => boolean;
  /** Takes a rung's rendition away, where there is one. */
  readonly remove: (name: string) => void;
}

/** Which rungs a broadcast is to have, which of them were given up, and what the owner is told of that. Makes none itself. */
export class Rungs {
  readonly #options: RungsOptions;
  #planned: readonly Rung[] = [];
  #revision = 0;
  /** Rungs that are not made any more, and when that was; `undefined` once they are gone. */
  readonly #dropped = new Map<string, number | undefined>();
  /** Rungs that another source had, among the dropped. */
  readonly #outgrown = new Set<string>();
  #advice: string | undefined;
  /** Why rungs that nobody has begun are not promised. */
  #withheld: string | undefined;

  constructor(options: RungsOptions) {
    this.#options = options;
  }

  /** All that the source is to have, largest first, given up or not. */
  get planned(): readonly Rung[] {
    return this.#planned;
  }

  /** Counts plans: encodes of an earlier one are of no use. */
  get revision(): number {
    return this.#revision;
  }

  /** What an encoder makes of the source, or is to make. */
  get wanted(): readonly Rung[] {
    return this.#planned.filter(({ name }) => !this.#dropped.has(name));
  }

  /** What is promised of that: all of it, unless nobody is there to make what is not begun. */
  get promised(): readonly Rung[] {
    return this.#withheld === undefined ? this.wanted : this.begun;
  }

  /** What of it somebody has begun. */
  get begun(): readonly Rung[] {
    return this.wanted.filter(({ name }) => this.#options.made.has(name));
  }

  /** The names of rungs that are not made any more. */
  get dropped(): readonly string[] {
    return [...this.#dropped.keys()];
  }

  /** True for a rung that was given up and whose players still have to leave it. */
  isLeaving(name: string): boolean {
    return this.#dropped.get(name) !== undefined;
  }

  /** What the owner should know: why rungs were given up, and why some are not promised. */
  get advice(): readonly (string | undefined)[] {
    return [this.#advice, this.#withheld];
  }

  /** Nobody makes these any more; `advice` says why. Returns those that were not given up before. */
  drop(names: readonly string[], advice: string, nowMs: number): readonly string[] {
    this.#advice = advice;
    const news = names.filter((name) => !this.#dropped.has(name));
    for (const name of news) this.#leave(name, nowMs);
    return news;
  }

  /** Somebody tries again to make rungs that were dropped. */
  restore(names: readonly string[], advice: string | undefined): void {
    this.#advice = advice;
    for (const name of names) this.#wantAgain(name);
  }

  /** Nobody is there to make what is not begun; undefined when somebody is. False where that is no news. */
  withhold(advice: string | undefined): boolean {
    const isNews = this.#withheld !== advice;
    this.#withheld = advice;
    return isNews;
  }

  /** These are wanted from now on; other rungs are given up, those of an earlier run too, until they are wanted again. */
  adopt(planned: readonly Rung[], nowMs: number): void {
    const before = new Set([...this.#options.made.keys()].filter((name) => !this.#options.isOwn(name)));
    if (JSON.stringify(planned) !== JSON.stringify(this.#planned)) {
      for (const { name } of this.#planned) before.add(name);
      this.#planned = planned;
      this.#revision++;
    }
    for (const name of before)
      if (planned.every((rung) => rung.name !== name) && !this.#dropped.has(name)) {
        this.#outgrown.add(name);
        this.#leave(name, nowMs);
      }
    for (const { name } of planned) if (this.#outgrown.delete(name)) this.#wantAgain(name);
  }

  /** The wall clock: what players had time to leave is gone. */
  clock(nowMs: number): void {
    for (const [name, sinceMs] of this.#dropped)
      if (sinceMs !== undefined && nowMs - sinceMs > leaveMs) {
        this.#dropped.set(name, undefined);
        this.#options.remove(name);
      }
  }

  #leave(name: string, nowMs: number): void {
    this.#dropped.set(name, this.#options.made.has(name) ? nowMs : undefined);
  }

  /** Begins anew: what is left of it would have a hole. */
  #wantAgain(name: string): void {
    if (this.isLeaving(name)) this.#options.remove(name);
    this.#dropped.delete(name);
  }
}
