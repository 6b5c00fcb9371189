/** A player asks for a playlist at least once in three target durations. */
const forgetMs = 15_000;

/** Counts who watches: clients that asked for a playlist of a broadcast lately, told apart by address and program. */
export class Viewers {
  readonly #seen = new Map<string, Map<string, number>>();

  saw(video: string, client: string, nowMs: number): void {
    const clients = this.#seen.get(video) ?? new Map<string, number>();
    this.#seen.set(video, clients.set(client, nowMs));
  }

  count(video: string, nowMs: number): number {
    const clients = this.#seen.get(video);
    if (!clients) return 0;
    for (const [client, at] of clients) if (nowMs - at > forgetMs) clients.delete(client);
    return clients.size;
  }

  forget(video: string): void {
    this.#seen.delete(video);
  }
}
