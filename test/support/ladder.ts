import { type ChildProcess, execFile } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createFeed, type Feed, feedLimits } from "../../services/ingest/feed.ts";
import { tagHeadBytes, tagTailBytes } from "../../services/ingest/protocol.ts";
import { Failure } from "../../services/lib/errors.ts";
import { listenInternal, readJson, sendJson } from "../../services/lib/http.ts";
import type { Running } from "../../services/lib/lifecycle.ts";
import { FlvReader, type FlvTag, readVideo } from "../../services/packager/flv.ts";
import { findFfmpeg, findRedis, spawnRedis } from "../../services/supervisor/programs.ts";

/** A folder of its own with a real Redis on a unix socket in it. */
export interface Bench extends Running {
  readonly folder: string;
  /** unix:/path */
  readonly redis: string;
  stopRedis(): Promise<void>;
  startRedis(): Promise<void>;
}

/** Starts Redis; `close` stops it and removes the folder. */
export async function openBench(): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-ladder-"));
  const socket = join(folder, "redis.sock");
  let server: ChildProcess;
  const closed = Promise.withResolvers<void>();
  const bench = {
    folder,
    redis: `unix:${socket}`,
    closed: closed.promise,
    async startRedis() {
      server = spawnRedis(findRedis()!, join(folder, "redis"), socket);
      server.stdout?.resume();
      server.stderr?.resume();
    },
    async stopRedis() {
      const gone = once(server, "exit");
      server.kill("SIGTERM");
      await gone;
    },
    async close() {
      await bench.stopRedis();
      await rm(folder, { recursive: true, force: true });
      closed.resolve();
    },
  };
  await bench.startRedis();
  return bench;
}

/** Small moving pictures with B-frames and keyframes at `keys` (seconds) and nowhere else; no sound. */
export async function makePicture(options: {
  readonly seconds: number;
  readonly keys: readonly number[];
  readonly size?: string;
  readonly rate?: number;
  /** Snow on top, which takes as many bits as it gets. */
  readonly noise?: boolean;
}): Promise<FlvTag[]> {
  const { seconds, keys, size = "320x180", rate = 30 } = options;
  const picture = `testsrc2=size=${size}:rate=${rate}${options.noise ? ",noise=alls=80:allf=t" : ""}`;
  const folder = await mkdtemp(join(tmpdir(), "sluice-flv-"));
  const file = join(folder, "made.flv");
  try {
    await promisify(execFile)("ffmpeg", [
      ...["-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", picture],
      ...[
        "-t",
        `${seconds}`,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-threads",
        "1",
      ],
      ...["-bf", "2", "-g", "9999", "-sc_threshold", "0", "-force_key_frames", keys.join(",")],
      ...["-f", "flv", file],
    ]);
    return new FlvReader().push(await readFile(file)).filter(({ type }) => type === "video");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** An ffmpeg in `folder` that makes `speed` of real time when it has `rungs` or more to make, whatever the machine is like. */
export async function makeSlowFfmpeg(folder: string, speed: number, rungs: number): Promise<string> {
  const script = join(folder, "ffmpeg");
  const slowed = `for a do shift; [ "$a" = -i ] && set -- "$@" -readrate ${speed}; set -- "$@" "$a"; done`;
  await writeFile(
    script,
    `#!/bin/sh\ncase "$*" in *pipe:${2 + rungs}*) ${slowed};; esac\nexec ${findFfmpeg()} "$@"\n`,
  );
  await chmod(script, 0o755);
  return script;
}

/** One picture as a rung or its source has it. */
export interface Picture {
  /** Raw milliseconds of presentation. */
  readonly ms: number;
  readonly key: boolean;
  /** performance.now() of its arrival. */
  readonly at: number;
}

const numbers = { audio: 8, video: 9, script: 18 } as const;
const tickMs = 10;

/** A publish whose pictures come in real time, from the first again when they end, each round later by its length. */
export interface LivePublish {
  /** What the feed has given so far. */
  readonly sent: readonly Picture[];
  /** Ends the publish as an encoder that was told to stop. */
  end(): void;
  /** Ends the feed without a last word, as if ingest had died. */
  drop(): void;
}

/** Serves publishes as ingest does, with ingest's own feed. */
export async function openIngest(address: string) {
  const feeds = new Map<string, { feed: Feed; responses: Set<ServerResponse> }>();
  const timers = new Set<NodeJS.Timeout>();
  const server = await listenInternal(address, (request, response) => {
    const found = feeds.get(request.url!.split("/").at(-1)!);
    if (!found) throw new Failure("not_found", "no such publish");
    found.responses.add(response);
    found.feed.attach(response);
  });
  return {
    address: server.address,
    publish(name: string, tags: readonly FlvTag[], startMs = 0): LivePublish {
      const feed = createFeed({ limits: feedLimits, onReaders: () => undefined });
      const responses = new Set<ServerResponse>();
      feeds.set(name, { feed, responses });
      const sent: Picture[] = [];
      const began = performance.now();
      const frames = tags.filter((tag) => tag.type === "video" && readVideo(tag.payload).type === "frame");
      const loopMs = Math.round(
        ((frames.at(-1)!.timestampMs - frames[0]!.timestampMs) * frames.length) / (frames.length - 1),
      );
      let next = 0;
      let loop = 0;
      const tick = () => {
        for (;;) {
          const { type, timestampMs, payload } = tags[next]!;
          const dueMs = timestampMs + loop * loopMs;
          if (dueMs > performance.now() - began) return;
          const message = type === "video" ? readVideo(payload) : undefined;
          const rawMs = (dueMs + startMs) % 2 ** 32;
          // Configurations and metadata go out once.
          if (message?.type === "frame" || (type === "audio" && payload[1] === 1) || loop === 0) {
            const tag = new Uint8Array(tagHeadBytes + payload.length + tagTailBytes);
            tag.set(payload, tagHeadBytes);
            feed.write(numbers[type], rawMs, tag);
          }
          if (message?.type === "frame") {
            const ms = (rawMs + message.compositionMs) % 2 ** 32;
            sent.push({ ms, key: message.key, at: performance.now() });
          }
          if (++next === tags.length) {
            next = 0;
            loop++;
          }
        }
      };
      const timer = setInterval(tick, tickMs);
      timers.add(timer);
      return {
        sent,
        end() {
          clearInterval(timer);
          feed.end("clean");
        },
        drop() {
          clearInterval(timer);
          feeds.delete(name);
          for (const response of responses) response.destroy();
        },
      };
    },
    async close() {
      for (const timer of timers) clearInterval(timer);
      await server.close();
    },
  };
}

/** What came of one rung under one epoch. */
export interface Written {
  readonly rung: string;
  readonly epoch: number;
  readonly pictures: Picture[];
  /** Decoder configurations, as they came. */
  readonly configs: Uint8Array[];
  /** Undefined while it is open; true for a body with an end. */
  whole: boolean | undefined;
}

/** Takes rungs as the origin does: the highest epoch writes, all others are refused at once. */
export async function openOrigin(address: string) {
  const live = new Set<string>();
  const granted: { epoch: number; worker: string; at: number }[] = [];
  const writers: string[] = [];
  const written: Written[] = [];
  const open = new Map<ServerResponse, Written>();
  const unread = new Set<string>();
  const waiting = new Set<() => void>();
  const tell = () => {
    for (const wake of waiting) wake();
  };
  let epoch = 0;
  let turnedAway = 0;
  const given: string[] = [];
  const degraded: { rung: string; why: string }[] = [];
  const refuse = (response: ServerResponse, status: number) =>
    sendJson(response, status, { code: status === 409 ? "conflict" : "not_found", message: "refused" });

  async function take(request: IncomingMessage, response: ServerResponse, rung: string, number: number) {
    if (number < epoch) return refuse(response, 409);
    const into: Written = { rung, epoch: number, pictures: [], configs: [], whole: undefined };
    written.push(into);
    open.set(response, into);
    request.on("error", () => undefined);
    if (unread.has(rung)) return;
    const reader = new FlvReader();
    request.on("data", (bytes: Buffer) => {
      for (const tag of reader.push(bytes)) {
        if (tag.type !== "video") continue;
        const message = readVideo(tag.payload);
        if (message.type === "config") into.configs.push(message.config);
        if (message.type !== "frame") continue;
        const ms = (tag.timestampMs + message.compositionMs) % 2 ** 32;
        into.pictures.push({ ms, key: message.key, at: performance.now() });
      }
      tell();
    });
    request.once("close", () => {
      into.whole ??= request.complete;
      open.delete(response);
      if (request.complete) sendJson(response, 200, {});
      tell();
    });
  }

  const server = await listenInternal(address, async (request, response) => {
    const url = new URL(request.url!, "http://origin");
    const [, , , video, rung] = url.pathname.split("/");
    if (!live.has(video!)) {
      if (rung === "grant") turnedAway++;
      refuse(response, 404);
      return tell();
    }
    if (rung === "failed") {
      given.push(((await readJson(request)) as { why: string }).why);
      sendJson(response, 204);
      return tell();
    }
    if (rung === "degraded") {
      const { rung: name, why } = (await readJson(request)) as { rung: string; why: string };
      degraded.push({ rung: name, why });
      sendJson(response, 204);
      return tell();
    }
    if (rung !== "grant") return take(request, response, rung!, Number(url.searchParams.get("epoch")));
    const { worker, writer } = (await readJson(request)) as { worker: string; writer: string };
    if (writers.includes(writer) && writers.at(-1) !== writer) return refuse(response, 409);
    writers.push(writer);
    epoch++;
    for (const [other, into] of open) {
      into.whole = false;
      open.delete(other);
      refuse(other, 409);
    }
    granted.push({ epoch, worker, at: performance.now() });
    sendJson(response, 200, { epoch });
    tell();
  });
  return {
    address: server.address,
    live,
    granted,
    written,
    unread,
    /** Why ladders were given up. */
    given,
    /** Rungs that a worker was too slow for. */
    degraded,
    /** Grants that were asked for in vain. */
    get turnedAway() {
      return turnedAway;
    },
    /** What epoch `number` has written, by rung. */
    of: (number: number, rung: string) => written.find((one) => one.epoch === number && one.rung === rung),
    /** Resolves when `holds` does, which is asked at everything that comes. */
    until(holds: () => boolean): Promise<void> {
      return new Promise((resolve) => {
        const wake = () => {
          if (!holds()) return;
          waiting.delete(wake);
          resolve();
        };
        waiting.add(wake);
        wake();
      });
    },
    /** Grants the rungs to somebody who is not there: what writes now is refused. */
    fence() {
      epoch++;
      writers.push("");
      for (const [response, into] of open) {
        into.whole = false;
        refuse(response, 409);
      }
      open.clear();
    },
    close: () => server.close(),
  };
}
