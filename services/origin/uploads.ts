import type { Programme } from "../live/programme.ts";
import type { Recordings } from "../live/recordings.ts";
import type { GateRecord } from "../live/snapshot.ts";
import { type Line, Subtitles } from "../packager/subtitles.ts";
import { readWebvtt, textName } from "../packager/webvtt.ts";
import { beginningOf, reelsOf } from "./clips.ts";

type Captions = Extract<GateRecord, { kind: "captions" }>;

export interface UploadsOptions {
  readonly recordings: Pick<Recordings, "find" | "ownerOf">;
  /** Which captions there are of a video. */
  readonly captionsOf: (video: string) => Captions | undefined;
  /** The WebVTT file of one of them, from whoever keeps it; rejects while it cannot be had. */
  readonly load: (id: string) => Promise<string | undefined>;
  readonly failed: (error: unknown, video: string) => void;
}

/** Keeper of the files does not answer: not asked again for this long, and the video plays without them. */
const pauseMs = 3_000;

/** Recordings with the captions that were uploaded for them. */
export class Uploads implements Pick<Recordings, "find" | "ownerOf"> {
  readonly #options: UploadsOptions;
  /** By the recording as it is without: gone when that is. */
  readonly #with = new WeakMap<
    Programme,
    { readonly of: Captions; readonly programme: Promise<Programme> }
  >();
  #askAgainAt = 0;

  constructor(options: UploadsOptions) {
    this.#options = options;
  }

  ownerOf(video: string): string | undefined {
    return this.#options.recordings.ownerOf(video);
  }

  /** Whether there are any for this video. */
  has(video: string): boolean {
    return this.#options.captionsOf(video) !== undefined;
  }

  async find(video: string): Promise<Programme | undefined> {
    const { recordings, captionsOf, failed } = this.#options;
    const plain = await recordings.find(video);
    const captions = captionsOf(video);
    if (!plain || !captions) return plain;
    const known = this.#with.get(plain);
    if (known?.of === captions) return known.programme;
    if (performance.now() < this.#askAgainAt) return plain;
    const programme = this.#add(plain, captions).catch((error) => {
      this.#with.delete(plain);
      this.#askAgainAt = performance.now() + pauseMs;
      failed(error, video);
      return plain;
    });
    this.#with.set(plain, { of: captions, programme });
    return programme;
  }

  async #add(plain: Programme, { captions }: Captions): Promise<Programme> {
    const beginningMs = Math.round((beginningOf(reelsOf(plain)) ?? 0) * 1000);
    const onItsClock = (line: Line): Line => ({
      ...line,
      startMs: line.startMs + beginningMs,
      endMs: line.endMs + beginningMs,
    });
    const texts = new Map(plain.texts);
    const files = await Promise.all(captions.map(({ id }) => this.#options.load(id)));
    for (const [i, { id, language, label }] of captions.entries()) {
      const lines = readWebvtt(files[i] ?? "");
      if (typeof lines === "string") continue;
      const subtitles = new Subtitles({ language, label, edgeMs: () => 0 });
      subtitles.restore(lines.map(onItsClock));
      texts.set(`${textName}${id}`, subtitles);
    }
    return { ...plain, texts };
  }
}
