import type { MoqClient } from "./client.ts";

/** Nothing for so long is an encoder that is away, or a relay that is gone: which, it says when it is asked. */
const SILENT_MS = 800;
const ANSWER_MS = 1_000;
/** Another session that cannot be had is tried again after this. */
const AGAIN_MS = 1_000;

/** Gets another session with the right to the playback that there is now: at the address of a relay that was named, or where it was. */
export type Reconnect = (address?: string) => Promise<MoqClient>;

/** Why a session is no more. */
export interface Loss {
  readonly reason: string;
  /** The relay had asked to leave before it went. */
  readonly asked: boolean;
}

export interface LineEvents {
  /** What is subscribed to is to be had over this session from now on; it goes on over the one before until `settle` is called. */
  readonly moved: (client: MoqClient) => void;
  /** Once. */
  readonly lost: (loss: Loss) => void;
}

/** The session that a broadcast is played over: another one follows when its right ends or its relay leaves. */
export class Line {
  readonly #reconnect: Reconnect;
  readonly #on: LineEvents;
  #client: MoqClient;
  /** The one before it while something still comes over that. */
  #former: MoqClient | undefined;
  #heardMs = performance.now();
  /** When the relay last said that it is there. */
  #answeredMs = 0;
  /** Looks for the answer to a ping. */
  #asking: ReturnType<typeof setInterval> | undefined;
  #again: ReturnType<typeof setTimeout> | undefined;
  #moving = false;
  /** Why the session was lost while another is sought. */
  #gone: string | undefined;
  #asked = false;
  #over = false;

  constructor(client: MoqClient, reconnect: Reconnect, on: LineEvents) {
    this.#reconnect = reconnect;
    this.#on = on;
    this.#client = client;
    this.#listen(client);
  }

  get client(): MoqClient {
    return this.#client;
  }

  /** Milliseconds since something came. */
  get silentMs(): number {
    return performance.now() - this.#heardMs;
  }

  /** Something has come. */
  heard(): void {
    this.#heardMs = performance.now();
  }

  /** Asks the relay whether it is there when nothing has come for a while; called as time goes by. */
  check(): void {
    const unheardMs = Math.min(this.silentMs, performance.now() - this.#answeredMs);
    if (unheardMs > SILENT_MS && this.#asking === undefined && !this.#over) void this.#ask();
  }

  /** Gets another session, again and again for as long as this one lasts. */
  renew(address?: string): void {
    clearTimeout(this.#again);
    void this.#move(address);
  }

  /** Nothing comes over the session before any more. */
  settle(): void {
    this.#former?.close();
    this.#former = undefined;
  }

  close(): void {
    this.#over = true;
    clearInterval(this.#asking);
    clearTimeout(this.#again);
    this.#client.close();
    this.settle();
  }

  #listen(client: MoqClient): void {
    client.onLost = (reason) => this.#lose(reason);
    client.onLeave = (address) => {
      this.#asked = true;
      if (!this.#moving) this.renew(address);
    };
  }

  #lose(reason: string): void {
    if (this.#over) return;
    // Another may be here in a moment.
    if (this.#moving) {
      this.#gone = reason;
      return;
    }
    this.close();
    this.#on.lost({ reason, asked: this.#asked });
  }

  async #move(address: string | undefined): Promise<void> {
    this.#moving = true;
    let client: MoqClient;
    try {
      client = await this.#reconnect(address);
    } catch {
      this.#moving = false;
      if (this.#gone !== undefined) this.#lose(this.#gone);
      else if (!this.#over) this.#again = setTimeout(() => this.renew(address), AGAIN_MS);
      return;
    }
    this.#moving = false;
    if (this.#over) return client.close();
    // Of two in a row the older is given up: what still came over it is taken over at the next group as well.
    this.settle();
    this.#former = this.#client;
    this.#former.onLost = this.#former.onLeave = undefined;
    this.#client = client;
    this.#asked = false;
    this.#gone = undefined;
    this.#listen(client);
    this.#on.moved(client);
  }

  async #ask(): Promise<void> {
    const client = this.#client;
    // On a slow line the answer waits behind what is under way: while that comes, nobody is gone.
    const asking = setInterval(() => {
      if (client !== this.#client) settle();
      else if (this.silentMs > ANSWER_MS) this.#lose("the relay does not answer");
    }, ANSWER_MS);
    const settle = () => {
      clearInterval(asking);
      if (this.#asking === asking) this.#asking = undefined;
    };
    this.#asking = asking;
    await client.ping();
    settle();
    // Not again for as long.
    this.#answeredMs = performance.now();
  }
}
