import { gzipSync } from "node:zlib";
import type { Broadcast } from "../live/broadcast.ts";
import { manifest } from "../packager/dash.ts";
import { cacheControl } from "./caching.ts";
import type { Exchange } from "./exchange.ts";

/** What a playlist shows at the least, so also what can be played back to. */
const depthSeconds = 12;

interface Rendered {
  /** Of all renditions when it was last looked at. */
  readonly revision: number;
  readonly publishMs: number;
  readonly plain: Buffer;
  gzip: Buffer | undefined;
}

/** Renders the manifest of DASH once per change, for the first who asks; all others share its bytes. */
export class Manifests {
  readonly #rendered = new WeakMap<Broadcast, Rendered>();

  answer(exchange: Exchange, broadcast: Broadcast): void {
    const rendered = this.#render(broadcast);
    const headers = {
      "content-type": "application/dash+xml",
      "cache-control": cacheControl("manifest", broadcast.targetDuration),
      vary: "accept-encoding",
      priority: "u=1",
    };
    if (!/\bgzip\b/.test(exchange.headers["accept-encoding"] ?? ""))
      return exchange.reply(200, headers, [rendered.plain]);
    rendered.gzip ??= gzipSync(rendered.plain, { level: 4 });
    exchange.reply(200, { ...headers, "content-encoding": "gzip" }, [rendered.gzip]);
  }

  #render(broadcast: Broadcast): Rendered {
    let revision = 0;
    for (const rendition of broadcast.renditions.values()) revision += rendition.revision;
    const known = this.#rendered.get(broadcast);
    if (known?.revision === revision) return known;
    let rendered: Rendered | undefined;
    if (known) {
      // Most changes of a window are none of the manifest.
      const same = known.plain.equals(textOf(broadcast, known.publishMs));
      if (same) rendered = { ...known, revision };
    }
    if (!rendered) {
      // 5.4: @publishTime tells versions apart, so it moves on with each of them.
      const publishMs = Math.max(Date.now(), (known?.publishMs ?? 0) + 1);
      rendered = { revision, publishMs, plain: textOf(broadcast, publishMs), gzip: undefined };
    }
    this.#rendered.set(broadcast, rendered);
    return rendered;
  }
}

function textOf(broadcast: Broadcast, publishMs: number): Buffer {
  const { reference, renditions, schedule, video } = broadcast;
  const others = [...renditions.values()].filter((one) => one !== reference);
  const text = manifest({
    periods: schedule?.periods ?? [],
    renditions: [reference!, ...others].map((rendition) => ({
      name: rendition.name,
      window: rendition.window,
      track: (version) => rendition.init(version)?.track,
    })),
    media: video,
    clock: "../../time",
    depthSeconds,
    type: "dynamic",
    publishMs,
  });
  return Buffer.from(text);
}
