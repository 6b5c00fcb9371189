import { gzipSync } from "node:zlib";
import { isPicture } from "../live/ladder.ts";
import type { Programme, Readable } from "../live/programme.ts";
import type { Stretch } from "../live/recordings.ts";
import {
  type AudioRendition,
  type MediaOptions,
  mediaPlaylist,
  multivariant,
  type Report,
  rangeOf,
  supplementalOf,
  type VideoRendition,
  withParameter,
} from "../packager/hls.ts";
import { iframePlaylist } from "../packager/iframes.ts";
import { answerFor, type Directives } from "../packager/reload.ts";
import { shownSize } from "../packager/track.ts";
import { acceptsGzip, cacheControl } from "./caching.ts";
import { clipOf, nothingThere } from "./clips.ts";
import { Answer, type Exchange } from "./exchange.ts";
import { refuse } from "./refusal.ts";

const type = "application/vnd.apple.mpegurl";

/** A later picture may be larger than all before. */
const headroom = 1.25;

/** What of a broadcast a list shows, and how. */
export interface Mode {
  /** All that went before the live window, too. */
  readonly dvr: boolean;
  /** A query parameter that clients carry, and that every address must have. */
  readonly parameter: string | undefined;
  /** Single pictures to search in. */
  readonly pictures?: boolean;
  /** Words of this name, at the numbers and times of this rendition. */
  readonly text?: string | undefined;
  /** Only this stretch, as a recording. */
  readonly clip?: Stretch | undefined;
}

/** A text, with what it was answered with so far. */
class Text {
  readonly plain: Buffer;
  readonly #compressed: () => void;
  readonly #answers: { readonly cache: string; readonly zipped: boolean; readonly answer: Answer }[] = [];
  #gzip: Buffer | undefined;

  /** `compressed` is called when it is. */
  constructor(text: string, compressed: () => void) {
    this.plain = Buffer.from(text);
    this.#compressed = compressed;
  }

  answer(cache: string, zipped: boolean): Answer {
    const found = this.#answers.find((one) => one.cache === cache && one.zipped === zipped);
    if (found) return found.answer;
    // rfc9218: a playlist before the media that it lists.
    const headers = {
      "content-type": type,
      "cache-control": cache,
      vary: "accept-encoding",
      priority: "u=1",
    };
    const answer = zipped
      ? new Answer({ ...headers, "content-encoding": "gzip" }, this.#zip())
      : new Answer(headers, this.plain);
    this.#answers.push({ cache, zipped, answer });
    return answer;
  }

  #zip(): Buffer {
    if (!this.#gzip) {
      this.#gzip = gzipSync(this.plain, { level: 4 });
      this.#compressed();
    }
    return this.#gzip;
  }
}

interface Rendered {
  readonly revision: number;
  /** A handful: what can be asked of one list. */
  readonly texts: { readonly mode: Mode; readonly skip: Directives["skip"]; readonly text: Text }[];
}

/** What is asked of a media playlist. */
interface Wanted {
  readonly broadcast: Programme;
  readonly rendition: Readable;
  readonly directives: Directives;
  readonly mode: Mode;
}

/** Those who are held for the same. */
interface Crowd {
  readonly wanted: Wanted;
  readonly sinceMs: number;
  readonly held: Set<Exchange>;
  readonly answered: Promise<void>;
}

/** Whoever comes later is not refused with them when they have waited for long enough. */
const togetherMs = 1_000;

/**
 * Renders each playlist once per change, for the first who asks; all others share its bytes, so that nobody sees half of a
 * change (rfc8216bis 6.2.1).
 */
export class Playlists {
  readonly #rendered = new WeakMap<Readable, Rendered>();
  readonly #crowds = new WeakMap<Readable, Set<Crowd>>();
  readonly #made: (what: "text" | "gzip") => void;

  /** `made` is called for each text that is rendered, and for each that is compressed. */
  constructor(made: (what: "text" | "gzip") => void = () => {}) {
    this.#made = made;
  }

  /**
   * rfc8216bis 6.2.5.2: answers now, holds until the part or segment asked for is there, or refuses. Settles when it is answered.
   */
  media(
    exchange: Exchange,
    broadcast: Programme,
    rendition: Readable,
    { directives: asked, mode }: { readonly directives: Directives; readonly mode: Mode },
  ): Promise<void> | void {
    // B.1: an I-frame playlist has no parts and changes with whole segments.
    const directives = mode.pictures && asked.number !== undefined ? { ...asked, part: undefined } : asked;
    const wanted = { broadcast, rendition, directives, mode };
    if (answerFor(rendition.shown, directives) === "wait") return this.#hold(exchange, wanted);
    this.#answer([exchange], wanted);
  }

  /** All who come within a second and ask for the same wait as one. Settles when they are answered. */
  #hold(exchange: Exchange, wanted: Wanted): Promise<void> {
    const crowds = this.#crowds.get(wanted.rendition) ?? new Set();
    this.#crowds.set(wanted.rendition, crowds);
    const nowMs = performance.now();
    let crowd: Crowd | undefined;
    for (const one of crowds) if (nowMs - one.sinceMs < togetherMs && isSame(one.wanted, wanted)) crowd = one;
    if (crowd) crowd.held.add(exchange);
    else {
      const held = new Set([exchange]);
      const left = () => crowds.delete(crowd!);
      crowd = { wanted, sinceMs: nowMs, held, answered: this.#wait(held, wanted, left) };
      crowds.add(crowd);
    }
    const { held, answered } = crowd;
    exchange.onGone(() => held.delete(exchange));
    return answered;
  }

  async #wait(held: ReadonlySet<Exchange>, wanted: Wanted, over: () => void): Promise<void> {
    const { broadcast, rendition, directives } = wanted;
    const ready = (): boolean => answerFor(rendition.shown, directives) !== "wait";
    const waited = await rendition.wait(ready, 3 * broadcast.targetDuration * 1000);
    over();
    if (waited === "ready" && !rendition.removed) return this.#answer(held, wanted);
    for (const exchange of held)
      if (rendition.removed)
        refuse(
          exchange,
          404,
          "This rendition is not made any more",
          {},
          {
            kind: directives.number === undefined ? "missing playlist" : "missing held playlist",
            targetDuration: broadcast.targetDuration,
          },
        );
      // 6.2.5.2: held for no longer than three target durations.
      else refuse(exchange, 503, "No new media within three target durations", { "retry-after": "1" });
  }

  #answer(exchanges: Iterable<Exchange>, { broadcast, rendition, directives, mode }: Wanted): void {
    const verdict = answerFor(rendition.shown, directives);
    if (typeof verdict === "object") {
      for (const exchange of exchanges) refuse(exchange, verdict.refuse, verdict.message);
      return;
    }
    const kind = rendition.shown.ended
      ? "ended playlist"
      : directives.number === undefined
        ? "playlist"
        : "held playlist";
    const cache = cacheControl(kind, broadcast.targetDuration);
    let text: Text | undefined;
    for (const exchange of exchanges) {
      // For the first of them: nobody may have stayed.
      text ??= this.#render(broadcast, rendition, directives.skip, mode);
      send(exchange, text, cache);
    }
  }

  /** The segments of a stretch, with where in the first of them it begins. */
  clip(exchange: Exchange, broadcast: Programme, rendition: Readable, mode: Mode & { clip: Stretch }): void {
    const clip = clipOf(broadcast, rendition, mode.clip);
    if (!clip) return refuse(exchange, 404, nothingThere);
    const { window, startSeconds } = clip;
    const { name } = rendition;
    const list = mediaPlaylist(window, { name, skip: "none", reports: [], plain: true, startSeconds });
    send(exchange, this.#text(list, mode), cacheControl("file", 0));
  }

  multivariant(exchange: Exchange, broadcast: Programme, mode: Mode): void {
    const video: VideoRendition[] = [];
    const sounds: AudioRendition[] = [];
    for (const rendition of broadcast.renditions.values()) {
      const { track, name } = rendition;
      if (name === "source" && !broadcast.offersSource) continue;
      if (mode.clip && !clipOf(broadcast, rendition, mode.clip)) continue;
      if (broadcast.isLeaving(name) || broadcast.rungs.some((rung) => rung.name === name)) continue;
      const shared = {
        name,
        uri: `${broadcast.video}/${listUri(name, mode)}`,
        codec: track.codec,
        ...broadcast.bandwidthOf(rendition),
      };
      if (track.kind === "video")
        video.push({
          ...shared,
          ...shownSize(track),
          frameRate: track.frameRate,
          range: rangeOf(track.colour),
          supplemental: supplementalOf(track),
          captions: rendition.captions,
        });
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
    const captions = broadcast.renditions.get("source")?.captions;
    for (const rung of mode.clip ? [] : broadcast.rungs) {
      const uri = `${broadcast.video}/${listUri(rung.name, mode)}`;
      // Once there is one, what it really says.
      const codec = broadcast.renditions.get(rung.name)?.track.codec ?? rung.codecs;
      const shared = { ...rung.bandwidth, name: rung.name, codec, uri };
      // The reference's frame rate, unless the encoder is told another one.
      if (isPicture(rung))
        // It is given the captions of what it is made of.
        video.push({ ...rung, ...shared, frameRate: rung.frameRate ?? rate, captions });
      // It says what the track says of which it is made.
      else
        voices.push({
          ...shared,
          channels: rung.channels,
          language: audio?.language,
          label: audio?.label,
        });
    }
    if (mode.clip && video.length + sounds.length === 0) return refuse(exchange, 404, nothingThere);
    const pictures = (mode.clip ? [] : video).map((of) => ({
      of,
      uri: `${broadcast.video}/${listUri(`${of.name}.pictures`, mode)}`,
      peak: Math.ceil((broadcast.renditions.get(of.name)?.picturePeak ?? 0) * headroom) || of.peak,
    }));
    const texts = [...broadcast.texts].map(([name, { language, label }]) => ({
      ...{ name, language, label },
      uri: `${broadcast.video}/${listUri(name, mode)}`,
    }));
    const list = multivariant({
      video,
      audio,
      voices,
      pictures,
      texts: mode.clip ? [] : texts,
    });
    send(exchange, this.#text(list, mode), cacheControl("multivariant", broadcast.targetDuration));
  }

  #render(broadcast: Programme, rendition: Readable, skip: Directives["skip"], mode: Mode): Text {
    let rendered = this.#rendered.get(rendition);
    if (rendered?.revision !== rendition.revision) {
      rendered = { revision: rendition.revision, texts: [] };
      this.#rendered.set(rendition, rendered);
    }
    const known = rendered.texts.find((one) => one.skip === skip && sameMode(one.mode, mode));
    if (known) return known.text;
    const options = {
      name: mode.text ?? rendition.name,
      plain: broadcast.plain,
      past: mode.dvr ? rendition.past : undefined,
      cues: cuesOf(broadcast, mode),
    };
    const list = mode.pictures
      ? iframePlaylist(rendition.shown, { ...options, skip })
      : mediaPlaylist(rendition.shown, {
          ...options,
          skip,
          reports: reports(broadcast, mode.text ? undefined : rendition, mode),
        });
    this.#made("text");
    const text = this.#text(list, mode);
    rendered.texts.push({ mode, skip, text });
    return text;
  }

  #text(list: string, { parameter }: Mode): Text {
    return new Text(parameter ? withParameter(list, parameter) : list, () => this.#made("gzip"));
  }
}

function send(exchange: Exchange, text: Text, cache: string): void {
  exchange.send(text.answer(cache, acceptsGzip(exchange.headers["accept-encoding"])));
}

function isSame(a: Wanted, b: Wanted): boolean {
  const { number, part, skip } = a.directives;
  const other = b.directives;
  return number === other.number && part === other.part && skip === other.skip && sameMode(a.mode, b.mode);
}

function sameMode(a: Mode, b: Mode): boolean {
  return a.dvr === b.dvr && a.parameter === b.parameter && a.pictures === b.pictures && a.text === b.text;
}

/** Where every other rendition stands (rfc8216bis 4.4.5.4), so that a switch needs no extra request. */
function reports(broadcast: Programme, own: Readable | undefined, mode: Mode): Report[] {
  const list: Report[] = [];
  const others = [...broadcast.renditions.values()].map((other) => ({ name: other.name, is: other }));
  const { reference, texts } = broadcast;
  if (own && reference) for (const name of texts.keys()) others.push({ name, is: reference });
  for (const { name, is } of others) {
    if (name === own?.name) continue;
    const { shown: window } = is;
    const last = window.open?.parts.length ? window.open : window.segments.at(-1);
    if (last) list.push({ uri: listUri(name, mode), number: last.number, part: last.parts.length - 1 });
  }
  return list;
}

/** A media playlist's name beside the others, with what keeps its reach: also in what a player derives from it. */
function listUri(name: string, { dvr, clip }: Mode): string {
  if (clip) return `${name}.m3u8?time=${clip.from}s&duration=${clip.to - clip.from}s`;
  return `${name}.m3u8${dvr ? "?dvrEnabled=true" : ""}`;
}

/** rfc8216bis 6.2.4: the same in every list, so the reference says from when on. */
function cuesOf({ cues, renditions, targetDuration }: Programme, { dvr }: Mode): MediaOptions["cues"] {
  const reference = renditions.get("source") ?? renditions.get("audio");
  if (!cues || !reference) return undefined;
  const { shown, past } = reference;
  const first = (dvr ? past?.at(0) : undefined) ?? shown.segments[0] ?? shown.open;
  const fromMs = first ? shown.epochMs + (first.dts * 1000) / shown.timescale : 0;
  return { listed: cues.since(fromMs), removed: cues.removed(fromMs, 6000 * targetDuration) };
}
