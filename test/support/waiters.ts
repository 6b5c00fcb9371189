/** Whoever waits until something holds, and is told to look again. */
export class Waiters {
  readonly #waiting = new Set<() => void>();

  /** Something has come. */
  wake(): void {
    for (const check of [...this.#waiting]) check();
  }

  /** Settles once `met` holds after something came, or at once. */
  until(met: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (!met()) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }
}
