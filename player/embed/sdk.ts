import {
  type CallName,
  type Command,
  type Notice,
  type Ranges,
  readMessage,
  type Snapshot,
  versions,
} from "./protocol.ts";
import type { StreamOptions, StreamPlayer, TokenSource } from "./stream.ts";

/** Before the player has said anything: what an empty media element says. */
const nothing: Snapshot = {
  currentTime: 0,
  duration: Number.NaN,
  paused: true,
  ended: false,
  seeking: false,
  readyState: 0,
  volume: 1,
  muted: false,
  playbackRate: 1,
  videoWidth: 0,
  videoHeight: 0,
  buffered: [],
  played: [],
  seekable: [],
  autoplay: false,
  controls: true,
  loop: false,
  preload: "auto",
  poster: undefined,
  primaryColor: undefined,
  letterboxColor: undefined,
  defaultTextTrack: undefined,
  state: "connecting",
  latency: undefined,
};

/** What a viewer changes too: after a reload of the iframe it is as the player had it last. */
const viewers: ReadonlySet<string> = new Set(["volume", "muted"]);

interface Call {
  readonly seq: number;
  readonly name: CallName;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** The far end of one iframe's player. Properties read as they were set at once, and as the player says from then on. */
class Remote extends EventTarget {
  readonly #iframe: HTMLIFrameElement;
  #port: MessagePort | undefined;
  /** Which load of the player's page the port leads to. */
  #page: string | undefined;
  #seq = 0;
  #state: Snapshot = nothing;
  /** What was set and the player has not heard yet. */
  readonly #unheard = new Map<string, { readonly value: unknown; readonly seq: number }>();
  /** What was set, for when the iframe loads anew. */
  readonly #kept = new Map<string, unknown>();
  #calls: Call[] = [];
  #seek: number | undefined;
  #adUrl: string | undefined;
  onTokenNeeded: TokenSource | undefined;

  constructor(iframe: HTMLIFrameElement) {
    super();
    this.#iframe = iframe;
    iframe.addEventListener("load", () => this.#ask());
    this.#ask();
  }

  /** True when this window is the one in the iframe, and what it shows is from where the iframe's address is. */
  owns({ source, origin }: MessageEvent): boolean {
    return source !== null && source === this.#iframe.contentWindow && origin === this.#address().origin;
  }

  /** The player's page is there: a channel to it is opened, unless there is one. */
  meet(page: string, spoken: readonly number[]): void {
    if (page === this.#page) return;
    const version = versions.find((one) => spoken.includes(one));
    if (version === undefined) {
      console.error(
        `This page's copy of sdk.latest.js and the player do not understand each other: load ${this.#address().origin}/embed/sdk.latest.js`,
      );
      return;
    }
    this.#port?.close();
    this.#page = page;
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.onmessage = ({ data }) => this.#take(data as Notice);
    const { origin } = this.#address();
    this.#iframe.contentWindow?.postMessage({ sluice: "hello", version }, origin, [port2]);
    for (const [name, value] of this.#kept)
      this.#send({ type: "set", seq: this.#mark(name, value), name, value });
    if (this.#seek !== undefined)
      this.#send({ type: "set", seq: ++this.#seq, name: "currentTime", value: this.#seek });
    this.#seek = undefined;
    const calls = this.#calls;
    this.#calls = [];
    for (const call of calls) this.#call(call.name, call);
  }

  get src(): string {
    return this.#address().pathname.split("/")[1] ?? "";
  }
  /** The player's page itself is loaded anew: whether it may be shown here is said by that page. */
  set src(value: string) {
    const address = this.#address();
    const next = /^https?:\/\//i.test(value)
      ? new URL(value)
      : new URL(`/${value.replace(/^\/+/, "")}/iframe${address.search}`, address);
    if (next.href !== address.href) this.#iframe.src = next.href;
  }

  get adUrl(): string | undefined {
    return this.#adUrl;
  }
  set adUrl(value: string | undefined) {
    this.#adUrl = value;
    this.assign("adUrl", value);
  }

  play(): Promise<void> {
    return new Promise((resolve, reject) => this.#call("play", { resolve, reject }));
  }
  pause(): void {
    this.#call("pause", { resolve() {}, reject() {} });
  }
  goLive(): void {
    this.#call("goLive", { resolve() {}, reject() {} });
  }

  /** What a property says now. */
  read<K extends keyof Snapshot>(name: K): Snapshot[K] {
    const unheard = this.#unheard.get(name);
    return unheard ? (unheard.value as Snapshot[K]) : this.#state[name];
  }

  assign(name: string, value: unknown): void {
    if (name === "currentTime") {
      if (!this.#port) this.#seek = Number(value);
    } else this.#kept.set(name, value);
    const seq = this.#mark(name, value);
    if (this.#port) this.#send({ type: "set", seq, name, value });
  }

  #mark(name: string, value: unknown): number {
    const seq = ++this.#seq;
    this.#unheard.set(name, { value, seq });
    return seq;
  }

  #address(): URL {
    return new URL(this.#iframe.src, document.baseURI);
  }

  /** Asks whether a player is there. The question holds nothing, so anybody may hear it. */
  #ask(): void {
    this.#iframe.contentWindow?.postMessage({ sluice: "who" }, "*");
  }

  #send(command: Command): void {
    this.#port?.postMessage(command);
  }

  #call(name: CallName, { resolve, reject }: Pick<Call, "resolve" | "reject">): void {
    const seq = ++this.#seq;
    this.#calls.push({ seq, name, resolve, reject });
    this.#send({ type: "call", seq, name });
  }

  #take(notice: Notice): void {
    switch (notice.type) {
      case "token-needed":
        return void this.#giveToken();
      case "done": {
        const call = this.#calls.find(({ seq }) => seq === notice.call);
        this.#calls = this.#calls.filter((one) => one !== call);
        if (notice.error) call?.reject(new DOMException(notice.error.message, notice.error.name));
        else call?.resolve();
        return;
      }
      case "state":
        this.#state = notice.state;
        for (const [name, { seq }] of this.#unheard) if (seq <= notice.seq) this.#unheard.delete(name);
        for (const name of this.#kept.keys())
          if (viewers.has(name) && !this.#unheard.has(name))
            this.#kept.set(name, notice.state[name as keyof Snapshot]);
        if (notice.event) this.dispatchEvent(new Event(notice.event));
    }
  }

  async #giveToken(): Promise<void> {
    let token: string | undefined;
    try {
      token = await this.onTokenNeeded?.();
    } catch (error) {
      console.error("onTokenNeeded gave no token:", error);
    }
    this.#send({ type: "token", seq: ++this.#seq, token });
  }
}

const settable = [
  ...["autoplay", "controls", "loop", "muted", "volume", "preload", "playbackRate", "currentTime"],
  ...["poster", "primaryColor", "letterboxColor", "defaultTextTrack"],
] as (keyof Snapshot)[];
const ranges: readonly (keyof Snapshot)[] = ["buffered", "played", "seekable"];

for (const name of Object.keys(nothing) as (keyof Snapshot)[])
  Object.defineProperty(Remote.prototype, name, {
    enumerable: true,
    configurable: true,
    get(this: Remote) {
      return ranges.includes(name) ? timeRanges(this.read(name) as Ranges) : this.read(name);
    },
    ...(settable.includes(name) && {
      set(this: Remote, value: unknown) {
        this.assign(name, value);
      },
    }),
  });

function timeRanges(list: Ranges): TimeRanges {
  const at = (index: number) => {
    const range = list[index];
    if (!range) throw new DOMException(`There is no range ${index} of ${list.length}`, "IndexSizeError");
    return range;
  };
  return { length: list.length, start: (index) => at(index)[0], end: (index) => at(index)[1] };
}

/** For as long as their iframes live. */
const remotes = new WeakMap<HTMLIFrameElement, Remote>();
const all = new Set<WeakRef<Remote>>();

addEventListener("message", (event) => {
  const message = readMessage(event.data);
  if (message?.sluice !== "here") return;
  for (const reference of all) {
    const remote = reference.deref();
    if (!remote) all.delete(reference);
    else if (remote.owns(event)) remote.meet(message.page, message.versions);
  }
});

globalThis.Stream = (iframe: HTMLIFrameElement, { onTokenNeeded }: StreamOptions = {}): StreamPlayer => {
  if (!(iframe instanceof HTMLIFrameElement))
    throw new TypeError("Stream needs the iframe that shows the player");
  let remote = remotes.get(iframe);
  if (!remote) {
    remote = new Remote(iframe);
    remotes.set(iframe, remote);
    all.add(new WeakRef(remote));
  }
  if (onTokenNeeded) remote.onTokenNeeded = onTokenNeeded;
  return remote as unknown as StreamPlayer;
};
