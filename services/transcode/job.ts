import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Failure, messageOf } from "../lib/errors.ts";
import { openInternal, requestInternal } from "../lib/http.ts";
import type { Log } from "../lib/log.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import { z } from "../lib/schema.ts";
import { isPicture, type LadderJob, type PictureRung, type Rung } from "../live/ladder.ts";
import {
  audioTag,
  type Config,
  FlvReader,
  type FlvTag,
  flvHeader,
  readAudio,
  readScript,
  readVideo,
  scriptTag,
  tagHeader,
  type VideoFrame,
  videoTag,
  writeScript,
} from "../packager/flv.ts";
import { CmafFeed, RungTags } from "../packager/remux.ts";
import { writeVideo } from "../packager/tags.ts";
import { keyGridMs } from "../packager/timeline.ts";
import { type Encode, type EncodeEnd, type EncodeLimits, runEncode } from "./encode.ts";
import { type Ffmpeg, ffmpegArguments, pasteable } from "./ffmpeg.ts";
import { type Encoder, encodedBy } from "./hardware.ts";
import { commandFor, encoderOf, firstToGo, needs, readsAsFlv, writesFlv } from "./ladder.ts";
import { Pace } from "./pace.ts";
import { Retimer } from "./retimer.ts";
import { openUpload, type Upload, type UploadEnd } from "./upload.ts";

/**
 * `done`: nothing is left to encode, or nobody here can go on with it and the origin may enqueue it again. `stopped`: by the
 * signal. `failed`: no worker with this ffmpeg will do better; `why` is for the operator.
 */
export interface JobEnd {
  readonly how: "done" | "stopped" | "failed";
  readonly why: string;
}

/** What a job tells about itself while it runs. */
export interface JobFigures {
  /** From a picture that arrived to the same picture of a rung, in seconds. */
  readonly delay: (seconds: number) => void;
  /** An ffmpeg has ended. */
  readonly ended: (how: EncodeEnd["how"]) => void;
  /** A tag was left out because the origin does not read. */
  readonly dropped: () => void;
  /** A peer does not take our secret; `why` is its sentence. */
  readonly barred: (why: string) => void;
  /** A rung was given up because this machine is too slow for it. */
  readonly degraded: () => void;
  /** An ffmpeg runs; the answer is to be called when it has ended. */
  readonly encoding: (encoding: Encoding) => () => void;
}

/** A running ffmpeg, for whoever measures this machine. */
export interface Encoding {
  readonly pid: number | undefined;
  /** How far its rungs are behind the source now. */
  readonly lagMs: number;
}

export interface JobTools {
  readonly ffmpeg: Ffmpeg;
  readonly encoder: Encoder;
  /** Who we are, for the origin's log. */
  readonly worker: string;
  readonly secret: string | undefined;
  readonly figures: JobFigures;
  readonly log: Log;
  /** For tests that cannot wait as long. */
  readonly limits?: Partial<EncodeLimits>;
}

/** Peers that do not answer for this long leave the job to the origin, which enqueues it again when it is back. */
const patienceMs = 10_000;
/** A run of this length was healthy: what ends it is not the same trouble again. */
const healthyMs = 10_000;
/** An ffmpeg that ends without a picture this often in a row will not give one. */
const muteTries = 3;
/** One that hangs this often in a row, soon after it began, has no processor to run on. */
const stuckTries = 2;
const paceMs = 250;
/** So that the origin does not take a worker for dead that has nothing to send; it gives up one after 2.5 s. */
const wordMs = 500;

/**
 * Encodes the ladder of one publish until that ends, the origin gives its rungs to another, or `signal` is aborted. A crashed
 * ffmpeg and a broken connection are mended here, with a new epoch each time; the outcome is a value, and it never throws for
 * what a peer does.
 */
export async function runJob(job: LadderJob, tools: JobTools, signal: AbortSignal): Promise<JobEnd> {
  const log = tools.log.child({ video: job.video, publish: job.publish });
  let attempt = 0;
  let mute = 0;
  let stuck = 0;
  let deaf = false;
  const writer = randomUUID();
  const dropped = new Set<string>();
  let troubledSince: number | undefined;
  for (const rung of job.rungs.filter(isPicture)) {
    const encoder = encoderOf[rung.codec];
    if (!tools.ffmpeg.encoders.has(encoder)) await leaveOut(rung, `this ffmpeg has no encoder ${encoder}`);
  }
  while (!signal.aborted) {
    const began = performance.now();
    const end = await encodeOnce({ job, tools, signal, log, writer, dropped, deaf });
    deaf = end.how === "broke" && end.deaf === true;
    mute = end.how === "broke" && end.mute ? mute + 1 : 0;
    if (end.how === "failed" || mute >= muteTries) {
      const left = job.rungs.filter(({ name }) => !dropped.has(name));
      const blamed = toBlame(left, end.why);
      if (blamed.length === 0) return giveUp(job, tools, end.why);
      for (const rung of blamed) await leaveOut(rung, end.why);
      mute = 0;
      continue;
    }
    const healthy = performance.now() - began > healthyMs;
    stuck = end.how === "broke" && end.stuck && !healthy ? stuck + 1 : 0;
    if (end.how === "slow" || (end.how === "broke" && end.top && stuck >= stuckTries)) {
      // Not the first one that comes back: a ladder that is dropped and raised by turns is worse than a short one.
      dropped.add(end.top!);
      stuck = 0;
      tools.figures.degraded();
      log.warn({ rung: end.top, why: end.why }, `${end.top} is dropped: this machine is too slow for it`);
      await tellOrigin(job, tools, "degraded", { rung: end.top, why: end.why });
      continue;
    }
    if (end.how !== "broke") return end;
    if (end.pictures > 0) troubledSince = undefined;
    if (end.pictures > 0 && healthy) attempt = 0;
    troubledSince ??= began;
    if (performance.now() - troubledSince > patienceMs) return { how: "done", why: end.why };
    await pause(backoffMs(attempt++, 100, 3_000), signal);
  }
  return { how: "stopped", why: "told to stop" };

  /** The others go on without a rung that this ffmpeg cannot make. */
  async function leaveOut(rung: PictureRung, why: string): Promise<void> {
    dropped.add(rung.name);
    log.warn({ rung: rung.name, codec: rung.codec, why }, `${rung.name} is left out: ${why}`);
    await tellOrigin(job, tools, "degraded", { rung: rung.name, why, cause: "encoder" });
  }
}

/**
 * Whose fault an end is that no other try will mend: the rungs whose encoder ffmpeg names, or those that not every ffmpeg can
 * make. Empty where that would leave none, or no rung is to blame.
 */
function toBlame(rungs: readonly Rung[], why: string): readonly PictureRung[] {
  const special = rungs.filter(isPicture).filter(({ codec }) => codec !== "h264");
  const named = special.filter(({ codec }) => why.includes(encoderOf[codec]));
  if (named.length > 0) return named;
  return special.length < rungs.length && !/(libx|h)264/.test(why) ? special : [];
}

/** Tells the origin, which then asks for this ladder no more and can tell the owner why. */
async function giveUp(job: LadderJob, tools: JobTools, why: string): Promise<JobEnd> {
  await tellOrigin(job, tools, "failed", { why });
  return { how: "failed", why };
}

async function tellOrigin(
  job: LadderJob,
  { worker, secret, log }: JobTools,
  what: "failed" | "degraded",
  about: Readonly<Record<string, unknown>>,
): Promise<void> {
  const json = { publish: job.publish, worker, job: job.id, ...about };
  await requestInternal(job.origin, `/internal/rungs/${job.video}/${what}`, { json, secret }).catch(
    (error: unknown) => log.warn({ err: error, video: job.video, what }, "the origin could not be told"),
  );
}

/** How one run of ffmpeg, or the try at one, ended. */
type RunEnd =
  | JobEnd
  /** To be tried again. `mute`: ffmpeg ended by itself and had given nothing. `stuck`: it hung. `top`: the first rung to go. `deaf`: without sound. */
  | {
      readonly how: "broke";
      readonly why: string;
      readonly pictures: number;
      readonly mute?: boolean;
      readonly stuck?: boolean;
      readonly deaf?: boolean;
      readonly top?: string;
    }
  /** To be tried again without the rung `top`. */
  | { readonly how: "slow"; readonly why: string; readonly top: string };

const grantSchema = z.object({
  epoch: z.number().int().nonnegative(),
  /** Those of the job that are still wanted. */
  rungs: z.array(z.object({ name: z.string() })).optional(),
});

const refusalSchema = z.object({ message: z.string() });

async function encodeOnce(options: {
  readonly job: LadderJob;
  readonly tools: JobTools;
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Of all that is granted to this job: the origin grants it nothing more once another writer has come. */
  readonly writer: string;
  /** Rungs that this machine was too slow for. */
  readonly dropped: ReadonlySet<string>;
  /** The source has no sound at this moment. */
  readonly deaf: boolean;
}): Promise<RunEnd> {
  const { job, tools, signal, log, writer, dropped, deaf } = options;
  const stop = new AbortController();
  const forward = () => stop.abort();
  signal.addEventListener("abort", forward, { once: true });
  try {
    const grant = await askGrant(job, tools, writer, stop.signal);
    if (grant.how !== "granted") return grant;
    const { epoch } = grant;
    const rungs = job.rungs.filter(
      (rung) =>
        !dropped.has(rung.name) &&
        (!grant.names || grant.names.includes(rung.name)) &&
        (isPicture(rung) || !deaf),
    );
    if (rungs.length === 0) return { how: "done", why: "no rung is wanted" };
    const feed = await openInternal(job.feed, job.path, { signal: stop.signal, secret: tools.secret });
    return await new Run({ job, tools, log, epoch, rungs, deaf, feed, signal: stop.signal }).ended;
  } catch (error) {
    if (signal.aborted) return { how: "stopped", why: "told to stop" };
    if (!(error instanceof Failure)) throw error;
    if (error.code === "unauthorized") return barred(tools, error.message);
    if (error.code === "not_found") return { how: "done", why: "the publish is gone" };
    return { how: "broke", why: error.message, pictures: 0 };
  } finally {
    signal.removeEventListener("abort", forward);
    stop.abort();
  }
}

/** Others may have the right secret: the job is theirs. */
function barred({ figures }: JobTools, why: string): RunEnd {
  figures.barred(why);
  return { how: "stopped", why };
}

type Granted = {
  readonly how: "granted";
  readonly epoch: number;
  readonly names: readonly string[] | undefined;
};

async function askGrant(
  job: LadderJob,
  tools: JobTools,
  writer: string,
  signal: AbortSignal,
): Promise<Granted | RunEnd> {
  const { worker, secret } = tools;
  const { status, json } = await requestInternal(job.origin, `/internal/rungs/${job.video}/grant`, {
    json: { publish: job.publish, worker, job: job.id, writer },
    signal,
    secret,
  });
  if (status === 401) return barred(tools, refusalSchema.safeParse(json).data?.message ?? "401");
  if (status === 404 || status === 409) return { how: "done", why: "the origin wants no ladder of it" };
  const grant = grantSchema.safeParse(json);
  if (status !== 200 || !grant.success)
    return { how: "broke", why: `the origin answered ${status} to a grant`, pictures: 0 };
  return { how: "granted", epoch: grant.data.epoch, names: grant.data.rungs?.map(({ name }) => name) };
}

/** Pictures that have not come back from every rung are remembered, but no more than these: about ten seconds. */
const rememberedPictures = 600;

/** One ffmpeg between a feed and its rungs' uploads. Whatever ends first ends the others. */
class Run {
  readonly ended: Promise<RunEnd>;
  readonly #tools: JobTools;
  readonly #log: Log;
  readonly #retimer = new Retimer();
  readonly #rungs: readonly {
    readonly rung: Rung;
    readonly upload: Upload;
    /** The tags that its pipe's bytes complete. */
    readonly read: (bytes: Uint8Array) => readonly FlvTag[];
    /** Its newest picture, in the encoder's time. */
    outMs: number | undefined;
  }[];
  readonly #pace = new Pace();
  readonly #watch: NodeJS.Timeout;
  readonly #encode: Encode;
  readonly #feed: IncomingMessage;
  readonly #feedReader = new FlvReader();
  /** What ffmpeg's FLV does not know (before 6.1: anything but H.264) reaches it as CMAF. */
  readonly #cmaf: CmafFeed | undefined;
  /** When each picture came, by its raw presentation time. */
  readonly #arrived = new Map<number, number>();
  readonly #done = Promise.withResolvers<RunEnd>();
  #pictures = 0;
  /** When the origin was last told that we are there. */
  #wordMs = 0;
  #publishEnded = false;
  readonly #isSparse: boolean;
  /** The source has no picture. */
  readonly #isHeardAlone: boolean;
  /** What the rungs are made of. */
  readonly #needs: ReturnType<typeof needs>;
  /** A rung of sound is left out until the source has sound again. */
  readonly #isDeaf: boolean;
  /** When the first picture is shown, in the encoder's time. */
  #firstMs: number | undefined;

  constructor(options: {
    readonly job: LadderJob;
    readonly tools: JobTools;
    readonly log: Log;
    readonly epoch: number;
    readonly rungs: readonly Rung[];
    readonly deaf: boolean;
    readonly feed: IncomingMessage;
    readonly signal: AbortSignal;
  }) {
    const { job, tools, log, epoch, rungs, deaf, feed, signal } = options;
    this.#tools = tools;
    this.#log = log;
    this.#feed = feed;
    this.#isSparse = job.source.sparse === true;
    this.#isHeardAlone = job.source.height === 0;
    this.#rungs = rungs.map((rung) => ({
      rung,
      outMs: undefined,
      read: readerOf(rung),
      upload: openUpload({
        address: job.origin,
        path: `/internal/rungs/${job.video}/${encodeURIComponent(rung.name)}?epoch=${epoch}`,
        secret: tools.secret,
        onDropped: tools.figures.dropped,
      }),
    }));
    this.#needs = needs(rungs);
    this.#isDeaf = deaf;
    this.#cmaf = readsAsFlv(rungs, job.source) ? undefined : new CmafFeed(this.#needs);
    const command = commandFor(rungs, job.source, tools.ffmpeg.version);
    const args = ffmpegArguments(encodedBy(tools.encoder, command));
    this.#encode = runEncode({
      program: tools.ffmpeg.program,
      args,
      outputs: rungs.length,
      onData: (output, bytes) => this.#encoded(output, bytes),
      ...(tools.limits && { limits: tools.limits }),
    });
    const said = pasteable(tools.ffmpeg.program, args);
    log.info(
      { epoch, rungs: rungs.map(({ name }) => name), pid: this.#encode.pid, command: said },
      "encode opened",
    );

    const { pid } = this.#encode;
    const pace = this.#pace;
    const left = tools.figures.encoding({
      pid,
      get lagMs() {
        return pace.lagMs;
      },
    });
    this.#watch = setInterval(() => this.#look(), paceMs);
    for (const { rung, upload } of this.#rungs) upload.write(beginning(isPicture(rung)), "config");
    if (!this.#cmaf) this.#encode.write(beginning(true));
    // ffmpeg does not look for the frame rate; its rate control begins with this one.
    const { frameRate } = job.source;
    if (frameRate && !this.#cmaf)
      this.#encode.write(tagBytes(scriptTag, 0, writeScript("onMetaData", { framerate: frameRate })));
    feed.on("data", (bytes: Buffer) => this.#fed(bytes));
    feed.on("error", () => undefined);
    feed.once("close", () => this.#encode.finish());
    signal.addEventListener("abort", () => this.#finish({ how: "stopped", why: "told to stop" }), {
      once: true,
    });
    for (const { upload } of this.#rungs) void upload.ended.then((end) => this.#uploadEnded(end));
    void this.#encode.ended.then((end) => this.#encodeEnded(end));
    const opened = performance.now();
    this.ended = this.#done.promise.then((end) => {
      left();
      const seconds = Math.round((performance.now() - opened) / 100) / 10;
      log.info({ epoch, end: end.how, why: end.why, pictures: this.#pictures, seconds }, "encode closed");
      return end;
    });
  }

  #fed(bytes: Buffer): void {
    try {
      for (const tag of this.#feedReader.push(bytes)) {
        if (tag.type === "script") this.#publishEnded ||= readScript(tag.payload).name === "onPublishEnd";
        if (tag.type === "audio") {
          if (this.#isDeaf) return this.#finish(this.#broken("the source's sound is back"));
          this.#hear(tag);
          if (this.#cmaf?.stale) return this.#finish(this.#broken("the source has another configuration"));
        }
        if (tag.type !== "video" || this.#isHeardAlone) continue;
        const message = readVideo(tag.payload);
        // ffmpeg knows of no tracks within a tag.
        if ((message.type !== "config" && message.type !== "frame") || message.track !== 0) continue;
        const ms = this.#retimer.toEncoder(tag.timestampMs);
        if (!this.#needs.video) continue;
        if (message.type === "frame") {
          this.#remember(tag.timestampMs + message.compositionMs);
          if (this.#firstMs === undefined) this.#lead(tag, message, ms);
        }
        this.#feedEncoder(tag, message, ms);
        if (this.#cmaf?.stale) return this.#finish(this.#broken("the source has another configuration"));
        if (this.#cmaf?.starved) return this.#finish(this.#broken("the source's sound is away", true));
      }
    } catch (error) {
      this.#finish(this.#broken(`the feed cannot be read: ${messageOf(error)}`));
    }
  }

  #hear(tag: FlvTag): void {
    if (!this.#needs.audio) return;
    const { timestampMs } = tag;
    const alone = this.#isHeardAlone;
    const at = alone ? this.#retimer.toEncoder(timestampMs) : this.#retimer.beside(timestampMs);
    if (at !== undefined) this.#feedCmaf(tag, at);
  }

  /** One message in the encoder's time, in the form that it reads. */
  #feedEncoder(tag: FlvTag, message: Config | VideoFrame, ms: number): void {
    if (this.#cmaf) return this.#feedCmaf(tag, ms);
    // H.264 may come with the enhanced header, too.
    const enhanced = tag.payload[0]! >= 0x80;
    const data = message.type === "frame" ? message.data : message.config;
    this.#encode.write(tagBytes(videoTag, ms, enhanced ? writeVideo({ ...message, data }) : tag.payload));
  }

  #feedCmaf(tag: FlvTag, ms: number): void {
    for (const bytes of this.#cmaf!.push(tag, ms)) this.#encode.write(bytes);
  }

  /**
   * ffmpeg counts the time for forced keyframes from the first picture that it encodes. Where they go by time, the first picture
   * goes in once more before, where that time has its zero; what comes of it is left out.
   */
  #lead(tag: FlvTag, message: VideoFrame, ms: number): void {
    this.#firstMs = ms + message.compositionMs;
    if (!this.#isSparse) return;
    const zero = Math.floor((this.#firstMs - 1) / keyGridMs) * keyGridMs;
    this.#feedEncoder(tag, message, zero - message.compositionMs);
  }

  /** A machine that cannot encode as fast as the source comes gives up a rung before all of them have holes. */
  #look(): void {
    const now = performance.now();
    if (now - this.#wordMs > wordMs) {
      this.#wordMs = now;
      for (const { upload } of this.#rungs) upload.write(word, "other");
    }
    // Sound may pause, and costs next to nothing.
    const times = this.#rungs.flatMap(({ rung, outMs }) => (isPicture(rung) ? [outMs] : []));
    if (times.length === 0 || times.includes(undefined)) return;
    const outMs = Math.min(...(times as number[]));
    if (this.#pace.isSlow({ atMs: now, fedMs: this.#retimer.newest, outMs })) this.#finish(this.#slow());
  }

  #slow(): RunEnd {
    const { speed, lagMs } = this.#pace;
    const pace = speed === undefined ? "slower than real time" : `at ${speed.toFixed(2)} of real time`;
    const rungs = this.#rungs.map(({ rung }) => rung);
    const pictures = rungs.filter(isPicture);
    const names = (pictures.length > 0 ? pictures : rungs).map(({ name }) => name);
    return {
      how: "slow",
      why: `${names.join(" and ")} encoded ${pace}, ${(lagMs / 1000).toFixed(1)} s behind the source`,
      top: firstToGo(rungs).name,
    };
  }

  #encoded(output: number, bytes: Buffer): void {
    const to = this.#rungs[output]!;
    const { read, upload } = to;
    try {
      for (const tag of read(bytes)) {
        const timestampMs = this.#retimer.toRaw(tag.timestampMs);
        if (tag.type === "audio") {
          const { type } = readAudio(tag.payload);
          if (type === "frame") this.#pictures++;
          upload.write(tagBytes(audioTag, timestampMs, tag.payload), type === "config" ? "config" : "key");
        }
        if (tag.type !== "video") continue;
        const message = readVideo(tag.payload);
        if (message.type !== "config" && message.type !== "frame") continue;
        if (message.type === "frame") {
          const outMs = this.#retimer.whole(tag.timestampMs);
          if (outMs + message.compositionMs < this.#firstMs!) continue;
          this.#pictures++;
          to.outMs = outMs;
          const arrived = this.#arrived.get(timestampMs);
          if (arrived !== undefined) this.#tools.figures.delay((performance.now() - arrived) / 1000);
        }
        const kind = message.type === "config" ? "config" : message.key ? "key" : "other";
        upload.write(tagBytes(videoTag, timestampMs, tag.payload), kind);
      }
    } catch (error) {
      this.#finish(this.#broken(`ffmpeg's output cannot be read: ${messageOf(error)}`));
    }
  }

  #remember(rawMs: number): void {
    this.#arrived.set(rawMs >>> 0, performance.now());
    if (this.#arrived.size > rememberedPictures) this.#arrived.delete(this.#arrived.keys().next().value!);
  }

  #uploadEnded(end: UploadEnd): void {
    if (end.how === "taken") return;
    if (end.how === "broken") this.#finish(this.#broken(`the origin is gone: ${end.message}`));
    else if (end.status === 409) this.#finish({ how: "done", why: "another worker was granted the rungs" });
    else if (end.status === 404) this.#finish({ how: "done", why: "the broadcast is over" });
    else this.#finish(this.#broken(`the origin refuses a rung with ${end.status}: ${end.message}`));
  }

  async #encodeEnded(end: EncodeEnd): Promise<void> {
    this.#tools.figures.ended(end.how);
    if (end.how !== "drained") {
      if (end.how !== "killed")
        this.#log.warn({ how: end.how, exit: end.exit, said: end.said }, "ffmpeg failed");
      if (end.how === "behind") return this.#finish(this.#slow());
      const { name: top } = firstToGo(this.#rungs.map(({ rung }) => rung));
      return this.#finish(verdict(end, this.#pictures, top));
    }
    for (const { upload } of this.#rungs) upload.finish();
    const answers = await Promise.all(this.#rungs.map(({ upload }) => upload.ended));
    // A refusal has already ended this run.
    if (answers.some(({ how }) => how !== "taken")) return;
    this.#finish(
      this.#publishEnded ? { how: "done", why: "the publish has ended" } : this.#broken("the feed broke off"),
    );
  }

  #broken(why: string, deaf = false): RunEnd {
    return { how: "broke", why, pictures: this.#pictures, deaf };
  }

  #finish(end: RunEnd): void {
    clearInterval(this.#watch);
    this.#feed.destroy();
    for (const { upload } of this.#rungs) upload.abort();
    this.#encode.kill();
    // The next run, of ours or of another, must not share the processor with this one.
    void this.#encode.ended.then(() => this.#done.resolve(end));
  }
}

/** What ffmpeg says of arguments that it does not take, in any of its versions. */
const refusal =
  /unrecognized option|option not found|unknown encoder|encoder not found|no such filter|error setting|unable to parse|undefined constant|incorrect parameters|error (while )?(initializing|opening|parsing)|error applying option/i;

function verdict({ how, exit, code, said }: EncodeEnd, pictures: number, top: string): RunEnd {
  const complaints = said.filter((line) => /\[(error|fatal)\]/.test(line));
  const line = complaints.find((each) => refusal.test(each)) ?? complaints.at(-1) ?? said.at(-1);
  const why = `ffmpeg ${how} (${exit})${line ? `: ${line}` : ""}`;
  const byItself = code !== undefined && how === "crashed" && pictures === 0;
  if (byItself && line && refusal.test(line)) return { how: "failed", why };
  return { how: "broke", why, pictures, mute: byItself, stuck: how === "stuck", top };
}

/** Reads what ffmpeg writes of a rung. */
function readerOf(rung: Rung): (bytes: Uint8Array) => readonly FlvTag[] {
  if (writesFlv(rung)) {
    const flv = new FlvReader();
    return (bytes) => [...flv.push(bytes)];
  }
  const mp4 = new RungTags();
  return (bytes) => mp4.push(bytes).map(({ tag }) => tag);
}

/** How an FLV of one kind begins: whoever reads it does not wait for the other. */
function beginning(isPicture: boolean): Uint8Array {
  const header = flvHeader();
  header[4] = isPicture ? 1 : 4;
  return header;
}

/** Says nothing but that we are there. */
const word = tagBytes(scriptTag, 0, writeScript("onWorker", {}));

/** A whole tag with PreviousTagSize behind it. */
function tagBytes(type: number, timestampMs: number, payload: Uint8Array): Buffer {
  const head = tagHeader(type, timestampMs, payload.length);
  const bytes = Buffer.allocUnsafe(head.length + payload.length + 4);
  bytes.set(head);
  bytes.set(payload, head.length);
  bytes.writeUInt32BE(head.length + payload.length, head.length + payload.length);
  return bytes;
}
