/** Milliseconds that a later group waits for the end of the one before it, unless it says otherwise. */
const PATIENCE_MS = 300;

interface Group {
  readonly id: number;
  readonly give: (bytes: Uint8Array) => void;
  readonly waiting: Uint8Array[];
  readonly patienceMs: number;
  ended: boolean;
  since: number;
}

/**
 * Puts groups in order: each comes on a stream of its own, and the next may be here before the last object of the one before it.
 * They may be of different tracks whose groups go together, and from different sessions.
 */
export class InOrder {
  readonly #now: () => number;
  #groups: Group[] = [];
  #newest = -1;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A group begins; `give` gets its objects in turn. One that comes too late is not taken. */
  begin(
    id: number,
    give: (bytes: Uint8Array) => void,
    patienceMs = PATIENCE_MS,
  ): { object(bytes: Uint8Array): void; end(): void } {
    if (id <= this.#newest) return { object() {}, end() {} };
    const group: Group = { id, give, patienceMs, waiting: [], ended: false, since: this.#now() };
    this.#groups.push(group);
    this.#groups.sort((a, b) => a.id - b.id);
    return {
      object: (bytes) => {
        group.waiting.push(bytes);
        this.#flow();
      },
      end: () => {
        group.ended = true;
        this.#flow();
      },
    };
  }

  /** Gives what can be given; called also as time goes by. */
  check(): void {
    this.#flow();
  }

  #flow(): void {
    for (let first = this.#groups[0]; first; first = this.#groups[0]) {
      this.#newest = Math.max(this.#newest, first.id);
      for (const bytes of first.waiting.splice(0)) first.give(bytes);
      const next = this.#groups[1];
      const over = first.ended || (next !== undefined && this.#now() - next.since > next.patienceMs);
      if (!over) return;
      this.#groups.shift();
      if (first.ended && !next) return;
    }
  }
}
