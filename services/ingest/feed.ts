import type { ServerResponse } from "node:http";
import {
  audioTag,
  flvHeader,
  readAudio,
  readScript,
  readVideo,
  scriptTag,
  tagHeader,
  videoTag,
  writeScript,
} from "../packager/flv.ts";
import { outlineOf } from "../packager/outline.ts";
import { createUnwrapper } from "../packager/timestamps.ts";
import { tagHeadBytes, tagTailBytes } from "./protocol.ts";

export interface FeedLimits {
  /** The most that is kept for readers to come; a longer GOP is not kept at all. */
  readonly gopBytes: number;
  /** A reader that has more than this unread is dropped; it comes back at the newest keyframe. */
  readonly readerBytes: number;
}

export const feedLimits: FeedLimits = { gopBytes: 16 << 20, readerBytes: 16 << 20 };

/** One publish as FLV, for any number of readers, each from the newest keyframe. */
export interface Feed {
  /**
   * Takes one message (`Handler.media`) and fills in the tag around it. Throws BadMedia when its codec or its form
   * cannot be used; nothing of it has then been passed on.
   */
  write(type: number, timestampMs: number, tag: Uint8Array): void;
  /** Starts the answer: header, latest metadata and configs, the GOP so far, then what comes. */
  attach(response: ServerResponse): void;
  /**
   * The last tag for every reader, and the end of their answers. A reader that attaches later still gets what is kept, and
   * that tag.
   */
  end(reason: "clean" | "lost" | "replaced"): void;
}

/** `onReaders` hears each change of the number of readers. */
export function createFeed(options: {
  readonly limits: FeedLimits;
  readonly onReaders: (count: number) => void;
}): Feed {
  return new Fanout(options.limits, options.onReaders);
}

/** Without video nothing says where to start, so about this much audio is kept. */
const audioOnlyMs = 2_000;

/** About a picture at 30 fps, so that audio waits for nothing that does not come. */
const audioWaitMs = 30;

interface Reader {
  readonly response: ServerResponse;
  /** False while there is no GOP that it could begin with. */
  started: boolean;
}

class Fanout implements Feed {
  readonly #limits: FeedLimits;
  readonly #onReaders: (count: number) => void;
  readonly #unwrap = createUnwrapper();
  readonly #readers = new Set<Reader>();
  #metadata: Uint8Array | undefined;
  /** Configurations and colours in force, by the tracks that they speak of. */
  readonly #videoConfigs = new Map<string, Uint8Array>();
  readonly #audioConfigs = new Map<string, Uint8Array>();
  #hasVideo = false;
  /** From the newest keyframe, or, before the first one, from the beginning. */
  #gop: Uint8Array[] = [];
  #gopBytes = 0;
  #gopStartMs = 0;
  /** The GOP outgrew its limit: a reader has to wait for the next. */
  #gopLost = false;
  #timestampMs = 0;
  /** Not yet with the readers. */
  #pending: Uint8Array[] = [];
  /** The last tag of all. */
  #end: Uint8Array | undefined;
  #scheduled = false;
  #audioTimer: NodeJS.Timeout | undefined;
  readonly #flush = () => this.#deliver();

  constructor(limits: FeedLimits, onReaders: (count: number) => void) {
    this.#limits = limits;
    this.#onReaders = onReaders;
  }

  write(type: number, timestampMs: number, tag: Uint8Array): void {
    if (this.#end) return;
    const payload = tag.subarray(tagHeadBytes, tag.length - tagTailBytes);
    if (type === videoTag) {
      const said = outlineOf(readVideo(payload));
      if (!said) return;
      this.#seal(type, timestampMs, tag);
      this.#hasVideo = true;
      if (said.config) this.#setVideoConfig(said.config, tag);
      else this.#keep(tag, said.key);
    } else if (type === audioTag) {
      const said = outlineOf(readAudio(payload));
      if (!said) return;
      this.#seal(type, timestampMs, tag);
      if (said.config) this.#setAudioConfig(said.config, tag);
      else {
        const tooOld = !this.#hasVideo && Math.abs(this.#timestampMs - this.#gopStartMs) > audioOnlyMs;
        this.#keep(tag, tooOld);
      }
    } else if (readScript(payload).name !== "onMetaData") {
      // Said of a moment: for those who read now.
      this.#seal(type, timestampMs, tag);
    } else {
      // Some encoders repeat theirs many times a second.
      if (this.#metadata && samePayload(this.#metadata, tag)) return;
      this.#seal(type, timestampMs, tag);
      this.#metadata = tag;
    }
    this.#pending.push(tag);
    this.#schedule(type === audioTag && this.#hasVideo);
  }

  attach(response: ServerResponse): void {
    // What the GOP below already has must not come twice.
    this.#deliver();
    // The end of the connection is the end of the feed; chunks would only add bytes.
    response.useChunkedEncodingByDefault = false;
    const ageMs =
      this.#gop.length > 0 && !this.#gopLost ? (this.#timestampMs - this.#gopStartMs) % 2 ** 32 : 0;
    // How long ago the first frame of the answer was sent: a reader that comes late must not take it for the present.
    response.writeHead(200, {
      "content-type": "video/x-flv",
      connection: "close",
      "x-sluice-age-ms": Math.max(0, ageMs),
    });
    const reader: Reader = { response, started: false };
    this.#readers.add(reader);
    response.on("error", () => undefined);
    response.once("close", () => this.#forget(reader));
    response.cork();
    response.write(flvHeader());
    for (const tag of [this.#metadata, ...this.#videoConfigs.values(), ...this.#audioConfigs.values()])
      if (tag) response.write(restamped(tag, this.#gop.length > 0 ? this.#gopStartMs : this.#timestampMs));
    if (!this.#gopLost) {
      for (const tag of this.#gop) response.write(tag);
      reader.started = true;
    }
    if (this.#end) response.end(this.#end);
    response.uncork();
    this.#onReaders(this.#readers.size);
  }

  end(reason: "clean" | "lost" | "replaced"): void {
    if (this.#end) return;
    const body = writeScript("onPublishEnd", { reason });
    const tag = new Uint8Array(tagHeadBytes + body.length + tagTailBytes);
    tag.set(body, tagHeadBytes);
    fill(tag, scriptTag, this.#timestampMs);
    this.#deliver();
    this.#end = tag;
    clearTimeout(this.#audioTimer);
    for (const { response } of this.#readers) response.end(tag);
  }

  #seal(type: number, timestampMs: number, tag: Uint8Array): void {
    this.#timestampMs = this.#unwrap(timestampMs) % 2 ** 32;
    fill(tag, type, this.#timestampMs);
  }

  #setVideoConfig(key: string, tag: Uint8Array): void {
    // A decoder set up with the new config could not read the old GOP.
    const before = this.#videoConfigs.get(key);
    if (before && !samePayload(before, tag)) this.#restart();
    this.#videoConfigs.set(key, tag);
  }

  #setAudioConfig(key: string, tag: Uint8Array): void {
    const before = this.#audioConfigs.get(key);
    if (before && !samePayload(before, tag)) {
      this.#gop = this.#gop.filter((kept) => kept[0] !== audioTag);
      this.#gopBytes = this.#gop.reduce((sum, kept) => sum + kept.length, 0);
    }
    this.#audioConfigs.set(key, tag);
  }

  #restart(): void {
    this.#gop = [];
    this.#gopBytes = 0;
    this.#gopLost = false;
  }

  #keep(tag: Uint8Array, start: boolean): void {
    if (start) this.#restart();
    if (this.#gopLost) return;
    if (this.#gopBytes + tag.length > this.#limits.gopBytes) {
      this.#restart();
      this.#gopLost = true;
      return;
    }
    if (this.#gop.length === 0) this.#gopStartMs = this.#timestampMs;
    this.#gop.push(tag);
    this.#gopBytes += tag.length;
  }

  /**
   * One write for each reader and turn of the event loop, whatever came in it. Audio that has video beside it waits for the
   * next picture, without which it cannot be used: that halves what readers have to wake for.
   */
  #schedule(mayWait: boolean): void {
    if (this.#scheduled) return;
    if (!mayWait) {
      this.#scheduled = true;
      setImmediate(this.#flush);
    } else if (this.#pending.length > 1) return;
    else if (this.#audioTimer) this.#audioTimer.refresh();
    else this.#audioTimer = setTimeout(this.#flush, audioWaitMs).unref();
  }

  #deliver(): void {
    this.#scheduled = false;
    const tags = this.#pending;
    if (tags.length === 0) return;
    this.#pending = [];
    for (const reader of this.#readers) {
      const { response } = reader;
      const late = reader.started ? tags : this.#gopLost ? [] : this.#gop;
      if (!this.#gopLost) reader.started = true;
      if (late.length > 1) response.cork();
      for (const tag of late) response.write(tag);
      if (late.length > 1) response.uncork();
      if (response.writableLength <= this.#limits.readerBytes) continue;
      response.destroy();
      this.#forget(reader);
    }
  }

  #forget(reader: Reader): void {
    if (this.#readers.delete(reader)) this.#onReaders(this.#readers.size);
  }
}

/** Writes the FLV tag header in front of the payload and PreviousTagSize behind it. */
function fill(tag: Uint8Array, type: number, timestampMs: number): void {
  const length = tag.length - tagHeadBytes - tagTailBytes;
  tag.set(tagHeader(type, timestampMs, length));
  const size = tagHeadBytes + length;
  const end = tag.length - tagTailBytes;
  tag[end] = size >>> 24;
  tag[end + 1] = size >>> 16;
  tag[end + 2] = size >>> 8;
  tag[end + 3] = size;
}

/** A copy that says when it is used, not when it came: hours may lie between. */
function restamped(tag: Uint8Array, timestampMs: number): Uint8Array {
  const copy = Uint8Array.from(tag);
  fill(copy, tag[0]!, timestampMs);
  return copy;
}

function samePayload(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  const end = a.length - tagTailBytes;
  return Buffer.compare(a.subarray(tagHeadBytes, end), b.subarray(tagHeadBytes, end)) === 0;
}
