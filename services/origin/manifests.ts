import { gzipSync } from "node:zlib";
import type { Broadcast } from "../live/broadcast.ts";
import type { Programme } from "../live/programme.ts";
import { manifest, type Representation } from "../packager/dash.ts";
import { type Listed, Schedule } from "../packager/periods.ts";
import type { Track } from "../packager/track.ts";
import { textBits, textTrack } from "../packager/webvtt.ts";
import { acceptsGzip, cacheControl } from "./caching.ts";
import type { Exchange } from "./exchange.ts";
import type { Mode } from "./playlists.ts";

/** What a playlist shows at the least, so also what can be played back to without a DVR. */
const windowSeconds = 12;

interface Rendered {
  /** Of all renditions when it was last looked at. */
  readonly revision: number;
  readonly publishMs: number;
  readonly plain: Buffer;
  gzip: Buffer | undefined;
}

/** Renders the manifest of DASH once per change, for the first who asks; all others share its bytes. */
export class Manifests {
  readonly #rendered = new WeakMap<Broadcast, { live?: Rendered; dvr?: Rendered }>();
  readonly #recorded = new WeakMap<Programme, Rendered>();

  /** With a DVR it goes back as far as lists of HLS do. */
  answer(exchange: Exchange, broadcast: Broadcast, { dvr }: Pick<Mode, "dvr">): void {
    this.#send(exchange, this.#render(broadcast, dvr), cacheControl("manifest", broadcast.targetDuration));
  }

  #send(exchange: Exchange, rendered: Rendered, cache: string): void {
    const headers = {
      "content-type": "application/dash+xml",
      "cache-control": cache,
      vary: "accept-encoding",
      priority: "u=1",
    };
    if (!acceptsGzip(exchange.headers["accept-encoding"]))
      return exchange.reply(200, headers, [rendered.plain]);
    rendered.gzip ??= gzipSync(rendered.plain, { level: 4 });
    exchange.reply(200, { ...headers, "content-encoding": "gzip" }, [rendered.gzip]);
  }

  /** Of a recording: the same rows, read from the first to the last. */
  async recorded(exchange: Exchange, programme: Programme): Promise<void> {
    let rendered = this.#recorded.get(programme);
    if (!rendered) {
      rendered = { revision: 0, publishMs: 0, plain: await recordedText(programme), gzip: undefined };
      this.#recorded.set(programme, rendered);
    }
    this.#send(exchange, rendered, cacheControl("ended playlist", programme.targetDuration));
  }

  #render(broadcast: Broadcast, dvr: boolean): Rendered {
    let revision = 0;
    for (const rendition of broadcast.renditions.values()) revision += rendition.revision;
    const both = this.#rendered.get(broadcast) ?? {};
    const known = dvr ? both.dvr : both.live;
    if (known?.revision === revision) return known;
    let rendered: Rendered | undefined;
    if (known) {
      // Most changes of a window are none of the manifest.
      const same = known.plain.equals(textOf(broadcast, { publishMs: known.publishMs, dvr }));
      if (same) rendered = { ...known, revision };
    }
    if (!rendered) {
      // 5.4: @publishTime tells versions apart, so it moves on with each of them.
      const publishMs = Math.max(Date.now(), (known?.publishMs ?? 0) + 1);
      rendered = { revision, publishMs, plain: textOf(broadcast, { publishMs, dvr }), gzip: undefined };
    }
    this.#rendered.set(broadcast, { ...both, [dvr ? "dvr" : "live"]: rendered });
    return rendered;
  }
}

function textOf(
  broadcast: Broadcast,
  { publishMs, dvr }: { readonly publishMs: number; readonly dvr: boolean },
): Buffer {
  const { reference, renditions, schedule, video } = broadcast;
  const others = [...renditions.values()].filter((one) => one !== reference);
  const text = manifest({
    periods: schedule?.periods ?? [],
    renditions: withText(
      broadcast,
      [reference!, ...others].map((rendition) => ({
        name: rendition.name,
        window: rendition.shown,
        past: dvr ? rendition.past : undefined,
        track: (version) => rendition.init(version)?.track,
        captions: rendition.captions,
      })),
    ),
    media: video,
    clock: "../../time",
    depthSeconds: windowSeconds + (dvr ? (broadcast.dvrSeconds ?? Number.POSITIVE_INFINITY) : 0),
    type: "dynamic",
    publishMs,
  });
  return Buffer.from(text);
}

/** The words have the numbers and times of the reference, which comes first. */
function withText({ texts }: Pick<Programme, "texts">, list: readonly Representation[]): Representation[] {
  const [reference] = list;
  if (!reference) return [];
  const { window, past } = reference;
  const words = [...texts].map(([name, subtitles]): Representation => {
    const track = textTrack(subtitles, window.timescale);
    return { name, window, past, track: () => track };
  });
  return [...list, ...words];
}

async function recordedText(programme: Programme): Promise<Buffer> {
  const { renditions, video, texts } = programme;
  const reference = renditions.get("source") ?? [...renditions.values()][0];
  if (!reference) return Buffer.alloc(0);
  const listed: Listed[] = [reference, ...[...renditions.values()].filter((one) => one !== reference)].map(
    ({ name, shown: window, track, bandwidth }) => {
      const version = window.segments.at(-1)?.version ?? 0;
      return { name, window, version, kind: track.kind, bits: bandwidth.peak || 1 };
    },
  );
  for (const name of texts.keys()) listed.push({ ...listed[0]!, name, kind: "text", bits: textBits });
  const schedule = new Schedule(listed[0]!.window.timescale);
  schedule.follow(listed);
  const tracks = new Map<string, Track>();
  for (const { name, version } of schedule.periods.flatMap(({ members }) => members)) {
    const track = (await renditions.get(name)?.init(version))?.track;
    if (track) tracks.set(`${name} ${version}`, track);
  }
  const text = manifest({
    periods: schedule.periods,
    renditions: withText(
      programme,
      listed
        .filter(({ kind }) => kind !== "text")
        .map(({ name, window }) => ({
          name,
          window,
          track: (version) => tracks.get(`${name} ${version}`),
          captions: renditions.get(name)?.captions,
        })),
    ),
    media: video,
    clock: "../../time",
    depthSeconds: Number.POSITIVE_INFINITY,
    type: "static",
    publishMs: 0,
  });
  return Buffer.from(text);
}
