import type { Broadcast } from "./broadcast.ts";

/** Which broadcast a uid means on this origin: by the live input's uid the current one, by the video's uid that one. */
export class Directory {
  readonly #byInput = new Map<string, Broadcast>();
  readonly #byVideo = new Map<string, Broadcast>();
  readonly #listeners = new Map<string, Set<() => void>>();
  readonly #everyone = new Set<(broadcast: Broadcast) => void>();

  /** The broadcast of a live input, ended or not, until another takes its place or it is removed. */
  current(input: string): Broadcast | undefined {
    return this.#byInput.get(input);
  }

  video(uid: string): Broadcast | undefined {
    return this.#byVideo.get(uid);
  }

  /** What a viewer means by a uid: by that of a video its broadcast, by that of a live input the current one. */
  named(uid: string): Broadcast | undefined {
    return this.#byVideo.get(uid) ?? this.#byInput.get(uid);
  }

  all(): IterableIterator<Broadcast> {
    return this.#byVideo.values();
  }

  add(broadcast: Broadcast): void {
    this.#byInput.set(broadcast.input, broadcast);
    this.#byVideo.set(broadcast.video, broadcast);
    this.notify(broadcast);
  }

  remove(broadcast: Broadcast): void {
    this.#byVideo.delete(broadcast.video);
    if (this.#byInput.get(broadcast.input) === broadcast) this.#byInput.delete(broadcast.input);
    this.notify(broadcast);
  }

  /** Tells whoever waits for a change of this broadcast's input or video. */
  notify(broadcast: Broadcast): void {
    for (const uid of [broadcast.input, broadcast.video])
      for (const listener of [...(this.#listeners.get(uid) ?? [])]) listener();
    for (const listener of [...this.#everyone]) listener(broadcast);
  }

  /** Calls `listener` on each change of any broadcast, its coming and going included. Returns its end. */
  onAny(listener: (broadcast: Broadcast) => void): () => void {
    this.#everyone.add(listener);
    return () => this.#everyone.delete(listener);
  }

  /** Calls `listener` on each change of `uid`. Returns its end. */
  onChange(uid: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(uid) ?? new Set();
    this.#listeners.set(uid, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(uid) === listeners) this.#listeners.delete(uid);
    };
  }
}
