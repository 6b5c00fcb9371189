import { joined } from "../../../services/moq/codec/wire.ts";
import type { MoqTrack } from "./catalog.ts";

/** Seconds behind the playhead that are kept. */
const KEPT_SECONDS = 20;

/** One SourceBuffer: what is to be appended waits here, in order, while it is busy. */
export class Feed {
  #buffer: SourceBuffer | undefined;
  readonly #opening: string;
  readonly #failed: (message: string) => void;
  readonly #stepped: () => void;
  #queue: (Uint8Array<ArrayBuffer> | { readonly type: string } | "clear")[] = [];
  #init: MoqTrack | undefined;
  /** Of what was queued last. */
  #type: string;
  #over = false;
  #isStale = false;

  /** `first` is what is probably played first: the decoder is made ready for it. `stepped` is told of all that is buffered. */
  constructor(
    first: MoqTrack,
    { failed, stepped }: { readonly failed: (message: string) => void; readonly stepped: () => void },
  ) {
    this.#opening = this.#type = first.type;
    this.#failed = failed;
    this.#stepped = stepped;
    this.#queue.push(first.init);
    this.#init = first;
  }

  /** Takes a buffer of `source`, which is open: all of them do before the first one begins. */
  open(source: MediaSource): void {
    const buffer = source.addSourceBuffer(this.#opening);
    buffer.addEventListener("updateend", () => {
      this.#next();
      this.#stepped();
    });
    buffer.addEventListener("error", () => this.#failed("the decoder refused what came"));
    this.#buffer = buffer;
  }

  /** Appends what has come meanwhile. */
  begin(): void {
    this.#next();
  }

  /** Seconds of the last range; undefined while nothing is buffered. */
  get range(): { readonly start: number; readonly end: number } | undefined {
    if (this.#isStale) return undefined;
    const { buffered } = this;
    const last = buffered ? buffered.length - 1 : -1;
    return !buffered || last < 0 ? undefined : { start: buffered.start(last), end: buffered.end(last) };
  }

  /** Undefined while there is no buffer. */
  get buffered(): TimeRanges | undefined {
    return this.#buffer?.buffered;
  }

  /** What is buffered is to go, and has not gone yet. */
  get isStale(): boolean {
    return this.#isStale;
  }

  get busy(): boolean {
    return this.#buffer?.updating === true || this.#queue.length > 0;
  }

  /** An object of `track`; its init segment goes before it when another track's was there. */
  append(track: MoqTrack, bytes: Uint8Array): void {
    if (this.#init !== track) {
      if (this.#type !== track.type) this.#queue.push({ type: track.type });
      this.#type = track.type;
      this.#init = track;
      this.#queue.push(track.init);
    }
    this.#queue.push(bytes as Uint8Array<ArrayBuffer>);
    this.#next();
  }

  /** Forgets everything, what waits included; what comes next is another stretch. */
  clear(): void {
    const types = this.#queue.filter((one) => one !== "clear" && !(one instanceof Uint8Array));
    this.#queue = ["clear", ...types];
    this.#init = undefined;
    this.#isStale = true;
    this.#next();
  }

  /** Forgets what has been played long ago. */
  trim(at: number): void {
    const { buffered } = this;
    if (this.busy || this.#over || !buffered || buffered.length === 0) return;
    const until = at - KEPT_SECONDS;
    if (buffered.start(0) < until - 5) this.#buffer?.remove(0, until);
  }

  close(): void {
    this.#over = true;
    this.#queue = [];
  }

  #next(): void {
    const buffer = this.#buffer;
    while (buffer && !this.#over && !buffer.updating) {
      const next = this.#queue.shift();
      if (!next) return;
      try {
        if (next === "clear") this.#clear(buffer);
        else if (next instanceof Uint8Array) buffer.appendBuffer(this.#together(next));
        else buffer.changeType(next.type);
      } catch (error) {
        return this.#failed(String(error));
      }
    }
  }

  #clear(buffer: SourceBuffer): void {
    // Appends are of whole objects: nothing is left in the parser.
    if (buffer.buffered.length === 0) {
      this.#isStale = false;
      return;
    }
    const fresh = () => {
      this.#isStale = false;
    };
    buffer.addEventListener("updateend", fresh, { once: true });
    buffer.remove(0, Number.POSITIVE_INFINITY);
  }

  /** All objects that wait, in one append. */
  #together(first: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const parts = [first];
    while (this.#queue[0] instanceof Uint8Array) parts.push(this.#queue.shift() as Uint8Array<ArrayBuffer>);
    return parts.length === 1 ? first : joined(...parts);
  }
}
