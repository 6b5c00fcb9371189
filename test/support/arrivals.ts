/** What arrives, one after another, for a test to wait for: each `next` takes the oldest that was not taken yet. */
export class Arrivals<T> {
  readonly #arrived: T[] = [];
  readonly #waiting: ((value: T) => void)[] = [];

  add(value: T): void {
    const taker = this.#waiting.shift();
    if (taker) taker(value);
    else this.#arrived.push(value);
  }

  next(): Promise<T> {
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift() as T);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** How many wait to be taken. */
  get size(): number {
    return this.#arrived.length;
  }
}
