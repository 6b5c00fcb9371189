/** Room for a part that turns out somewhat larger than the last one of its kind. */
const spare = 1.1;

/**
 * Memory for the chunks of one rendition: a block a part, sized after the last part of its kind, so that payloads are copied
 * once and thousands of small blocks of uneven age do not tear the heap.
 */
export class Arena {
  #block = new Uint8Array();
  #used = 0;
  #kind: "key" | "delta" = "delta";
  readonly #expected = { key: 0, delta: 0 };

  /**
   * The next `size` bytes of the open part; `begins` opens another part. The block of a part's last chunk holds all of them
   * from its start: where it has to grow, earlier chunks are copied there, and what was handed out stays as it is.
   */
  allocate(size: number, begins: boolean, key: boolean): Uint8Array {
    if (begins) {
      this.#expected[this.#kind] = this.#used;
      this.#kind = key ? "key" : "delta";
      this.#block = new Uint8Array(Math.max(size, Math.ceil(this.#expected[this.#kind] * spare)));
      this.#used = 0;
    } else if (this.#used + size > this.#block.length) {
      const grown = new Uint8Array(Math.ceil((this.#used + size) * 1.25));
      grown.set(this.#block.subarray(0, this.#used));
      this.#block = grown;
    }
    const from = this.#used;
    this.#used += size;
    return this.#block.subarray(from, this.#used);
  }
}
