import type { Present } from "../live/audience.ts";
import type { Directory } from "../live/directory.ts";
import { clockMs, type Viewers, type Watched } from "./viewers.ts";

/** Those who watch broadcasts of this origin at relays: they are with the broadcast that their live input has on air. */
export class Relayed {
  readonly #viewers: Viewers;
  readonly #directory: Directory;
  readonly #present = new Map<Present, Watched | undefined>();
  readonly #byName = new Map<string, Present[]>();

  constructor(viewers: Viewers, directory: Directory) {
    this.#viewers = viewers;
    this.#directory = directory;
  }

  came(one: Present): void {
    const { key, uid } = one;
    const name = `${uid} ${key}`;
    this.#byName.set(name, [...(this.#byName.get(name) ?? []), one]);
    this.#place(one, undefined);
  }

  left({ key, uid }: Present): void {
    const name = `${uid} ${key}`;
    const all = this.#byName.get(name);
    const one = all?.pop();
    if (!one) return;
    if (all?.length === 0) this.#byName.delete(name);
    const watched = this.#present.get(one);
    this.#present.delete(one);
    if (watched) this.#viewers.leave(watched, one, clockMs());
  }

  /** Once a second: a relay may have said it before the broadcast was known here, and sessions outlast broadcasts. */
  tick(): void {
    for (const [one, watched] of this.#present) this.#place(one, watched);
  }

  #place(one: Present, before: Watched | undefined): void {
    const now = this.#directory.current(one.uid);
    const live = now && now.state !== "ended" ? { video: now.video, input: now.input } : undefined;
    if (live?.video === before?.video) {
      if (!this.#present.has(one)) this.#present.set(one, before);
      return;
    }
    if (before) this.#viewers.leave(before, one, clockMs());
    if (live) this.#viewers.enter(live, one, clockMs());
    this.#present.set(one, live);
  }
}
