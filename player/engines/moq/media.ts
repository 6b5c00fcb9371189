import { Feed } from "./buffer.ts";
import type { MoqTrack } from "./catalog.ts";
import type { Stretches } from "./pace.ts";

type Role = MoqTrack["role"];

const nothing: Stretches = { length: 0, start: () => Number.NaN, end: () => Number.NaN };

/** The element's media: a source with a buffer for the picture and one for the sound. */
export class Media {
  readonly #video: HTMLVideoElement;
  readonly #source = new MediaSource();
  readonly #url = URL.createObjectURL(this.#source);
  #feeds: { readonly [role in Role]?: Feed } = {};
  #failure: string | undefined;
  #failed: ((message: string) => void) | undefined;
  /** Something was buffered, or taken away. */
  onStep: (() => void) | undefined;

  /** Takes the element at once: the browser opens its source meanwhile. */
  constructor(video: HTMLVideoElement) {
    this.#video = video;
    this.#source.addEventListener("sourceopen", () => this.#openFeeds(), { once: true });
    video.src = this.#url;
  }

  /** Told what cannot be decoded, also if that was before. */
  set onFailed(failed: (message: string) => void) {
    this.#failed = failed;
    if (this.#failure !== undefined) failed(this.#failure);
  }

  /** Makes a buffer for each of what is probably played first; a second time nothing is done. */
  open(tracks: readonly MoqTrack[]): void {
    if (this.feeds.length > 0) return;
    const on = {
      failed: (message: string) => {
        this.#failure ??= message;
        this.#failed?.(message);
      },
      stepped: () => this.onStep?.(),
    };
    this.#feeds = Object.fromEntries(tracks.map((track) => [track.role, new Feed(track, on)]));
    if (this.#source.readyState === "open") this.#openFeeds();
  }

  feed(role: Role): Feed | undefined {
    return this.#feeds[role];
  }

  get feeds(): readonly Feed[] {
    return Object.values(this.#feeds);
  }

  /** The newest stretch of which there is both picture and sound, in media seconds. */
  get stretch(): { readonly begin: number; readonly edge: number } | undefined {
    const ranges = this.feeds.flatMap(({ range }) => range ?? []);
    if (ranges.length === 0 || ranges.length < this.feeds.length) return undefined;
    return {
      begin: Math.max(...ranges.map(({ start }) => start)),
      edge: Math.min(...ranges.map(({ end }) => end)),
    };
  }

  /** What there is of both picture and sound; nothing while what was there before has not gone. */
  get buffered(): Stretches {
    return this.feeds.some(({ isStale }) => isStale) ? nothing : this.#video.buffered;
  }

  holds(at: number): boolean {
    const { buffered } = this;
    for (let i = 0; i < buffered.length; i++)
      if (at >= buffered.start(i) && at < buffered.end(i)) return true;
    return false;
  }

  /** Forgets what was played long before `at`. */
  trim(at: number): void {
    for (const feed of this.feeds) feed.trim(at);
  }

  /** Forgets everything. */
  clear(): void {
    for (const feed of this.feeds) feed.clear();
  }

  /** Nothing follows what was appended, once that is done. */
  end(): void {
    if (this.#source.readyState === "open" && !this.feeds.some(({ busy }) => busy))
      this.#source.endOfStream();
  }

  /** Gives the element back, unless somebody else has it. */
  close(): void {
    this.#failed = this.onStep = undefined;
    for (const feed of this.feeds) feed.close();
    if (this.#video.src === this.#url) {
      this.#video.removeAttribute("src");
      this.#video.load();
    }
    URL.revokeObjectURL(this.#url);
  }

  #openFeeds(): void {
    // All of them before the first one begins.
    for (const feed of this.feeds) feed.open(this.#source);
    for (const feed of this.feeds) feed.begin();
  }
}
