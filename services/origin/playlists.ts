import { gzipSync } from "node:zlib";
import type { Programme, Readable } from "../live/programme.ts";
import {
  type AudioRendition,
  mediaPlaylist,
  multivariant,
  type Report,
  type VideoRendition,
} from "../packager/hls.ts";
import { answerFor, type Directives } from "../packager/reload.ts";
import { shownSize } from "../packager/track.ts";
import { acceptsGzip, cacheControl } from "./caching.ts";
import type { Exchange } from "./exchange.ts";
import { refuse } from "./refusal.ts";

const type = "application/vnd.apple.mpegurl";

interface Rendered {
  readonly revision: number;
  readonly texts: Map<Directives["skip"], { readonly plain: Buffer; gzip: Buffer | undefined }>;
}

/** Renders each playlist once per change, for the first who asks; all others share its bytes. */
export class Playlists {
  readonly #rendered = new WeakMap<Readable, Rendered>();

  /** rfc8216bis 6.2.5.2: answers now, holds until the part or segment asked for is there, or refuses. */
  async media(
    exchange: Exchange,
    broadcast: Programme,
    rendition: Readable,
    directives: Directives,
  ): Promise<void> {
    let verdict = answerFor(rendition.shown, directives);
    if (verdict === "wait") {
      const ready = (): boolean => answerFor(rendition.shown, directives) !== "wait";
      const waited = await rendition.wait(ready, 3 * broadcast.targetDuration * 1000, (gone) =>
        exchange.onGone(gone),
      );
      if (waited === "gone") return;
      if (rendition.removed)
        return refuse(exchange, 404, "This rendition is not made any more", {}, "missing media");
      if (waited === "late")
        return refuse(exchange, 503, "No new media within three target durations", { "retry-after": "1" });
      verdict = answerFor(rendition.shown, directives);
    }
    if (typeof verdict === "object") return refuse(exchange, verdict.refuse, verdict.message);
    const kind = rendition.shown.ended
      ? "ended playlist"
      : directives.number === undefined
        ? "playlist"
        : "held playlist";
    this.#send(
      exchange,
      this.#render(broadcast, rendition, directives.skip),
      cacheControl(kind, broadcast.targetDuration),
    );
  }

  multivariant(exchange: Exchange, broadcast: Programme): void {
    const video: VideoRendition[] = [];
    const sounds: AudioRendition[] = [];
    for (const rendition of broadcast.renditions.values()) {
      const { track, name } = rendition;
      if (name === "source" && !broadcast.offersSource) continue;
      if (broadcast.isLeaving(name) || broadcast.rungs.some((rung) => rung.name === name)) continue;
      const shared = {
        name,
        uri: `${broadcast.video}/${name}.m3u8`,
        codec: track.codec,
        ...broadcast.bandwidthOf(rendition),
      };
      if (track.kind === "video") video.push({ ...shared, ...shownSize(track), frameRate: track.frameRate });
      else
        sounds.push({
          ...shared,
          channels: track.channels,
          language: track.language,
          label: track.label,
        });
    }
    const [audio, ...voices] = sounds;
    const rate = broadcast.source?.frameRate;
    // The reference's frame rate, unless the encoder is told another one.
    for (const rung of broadcast.rungs)
      video.push({
        ...rung,
        ...rung.bandwidth,
        codec: rung.codecs,
        frameRate: rung.frameRate ?? rate,
        uri: `${broadcast.video}/${rung.name}.m3u8`,
      });
    const text = Buffer.from(multivariant({ video, audio, voices }));
    this.#send(
      exchange,
      { plain: text, gzip: undefined },
      cacheControl("multivariant", broadcast.targetDuration),
    );
  }

  #render(
    broadcast: Programme,
    rendition: Readable,
    skip: Directives["skip"],
  ): { plain: Buffer; gzip: Buffer | undefined } {
    let rendered = this.#rendered.get(rendition);
    if (rendered?.revision !== rendition.revision) {
      rendered = { revision: rendition.revision, texts: new Map() };
      this.#rendered.set(rendition, rendered);
    }
    let text = rendered.texts.get(skip);
    if (!text) {
      const plain = Buffer.from(
        mediaPlaylist(rendition.shown, {
          skip,
          reports: reports(broadcast, rendition),
          name: rendition.name,
        }),
      );
      text = { plain, gzip: undefined };
      rendered.texts.set(skip, text);
    }
    return text;
  }

  #send(exchange: Exchange, text: { plain: Buffer; gzip: Buffer | undefined }, cache: string): void {
    // rfc9218: a playlist before the media that it lists.
    const headers = {
      "content-type": type,
      "cache-control": cache,
      vary: "accept-encoding",
      priority: "u=1",
    };
    if (acceptsGzip(exchange.headers["accept-encoding"])) {
      text.gzip ??= gzipSync(text.plain, { level: 4 });
      return exchange.reply(200, { ...headers, "content-encoding": "gzip" }, [text.gzip]);
    }
    exchange.reply(200, headers, [text.plain]);
  }
}

/** Where every other rendition stands (rfc8216bis 4.4.5.4), so that a switch needs no extra request. */
function reports(broadcast: Programme, own: Readable): Report[] {
  const list: Report[] = [];
  for (const other of broadcast.renditions.values()) {
    if (other === own) continue;
    const { shown: window } = other;
    const last = window.open?.parts.length ? window.open : window.segments.at(-1);
    if (last) list.push({ uri: `${other.name}.m3u8`, number: last.number, part: last.parts.length - 1 });
  }
  return list;
}
