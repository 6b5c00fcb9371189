import { type ChildProcess, execFile, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createLog } from "../../services/lib/log.ts";
import type { Source } from "../../services/live/ladder.ts";
import { type FlvTag, flvHeader, tagHeader, videoTag } from "../../services/packager/flv.ts";
import { findFfmpeg } from "../../services/supervisor/programs.ts";
import { ffmpegArguments } from "../../services/transcode/ffmpeg.ts";
import { commandFor, planLadder } from "../../services/transcode/ladder.ts";
import { openQueue } from "../../services/transcode/queue.ts";
import { allSeries, backOf, stallOf, strikeAgain } from "../faults/ladder.ts";
import { makeFlv } from "../support/flv.ts";
import { openBench, openIngest, openOrigin } from "../support/ladder.ts";
import { startSender } from "../support/sender.ts";
import { startSluice } from "../support/sluice.ts";
import { descendants, usage } from "./processes.ts";
import { type BenchOptions, type Report, type Spread, showSpread, spread } from "./report.ts";

const SOURCE: Source = { width: 1280, height: 720, frameRate: 30, codec: "avc1.64001f", kbps: 3000 };
const WARM_SECONDS = 4;

/** The default ladder of a 720p30 source: what it costs, how good and how late it is, and how soon it is back when somebody dies. */
export async function ladder({ seconds = 30 }: BenchOptions): Promise<Report> {
  const made = await makeFlv({ seconds: 8, width: 1280, height: 720, kbps: 3000 });
  const steady = await measureSteady(made.tags, seconds);
  const quality = await measureQuality(made.tags);
  // A short run is for a look, the usual one for figures.
  const times = Math.max(1, Math.min(5, Math.round(seconds / 6)));
  const starts = await measureStarts(made.tags, times);
  const kills = [];
  for (const series of allSeries.filter(({ blow }) => blow.startsWith("kill") && blow !== "kill Redis")) {
    const toll = await strikeAgain(series, times, ({ backMs }, number) =>
      process.stderr.write(`\r${series.blow}: ${number} of ${times}: ${backMs} ms   `),
    );
    process.stderr.write("\n");
    kills.push({ ...series, back: backOf(toll), stall: stallOf(toll), faults: toll.faults });
  }
  const target = (blow: string, workers: number) =>
    blow === "kill ffmpeg" ? "<= 2000 ms" : workers === 2 ? "<= 3000 ms" : "<= 5000 ms";
  return {
    name: "ladder",
    load: `720p30 at 3 Mb/s, rungs ${steady.rungs.map(({ name }) => name).join(" and ")}, ${seconds} s after ${WARM_SECONDS} s of warm-up; ${times} starts; ${times} kills of each kind at a GOP of 2 s`,
    lines: [
      [
        "ffmpeg",
        `${steady.ffmpegCores.toFixed(3)} core, ${steady.ffmpegMegabytes.toFixed(0)} MB`,
        "<= 0.28 core",
      ],
      [
        "worker's Node",
        `${steady.nodeCores.toFixed(3)} core, ${steady.nodeMegabytes.toFixed(0)} MB`,
        "<= 0.05 core",
      ],
      ...steady.rungs.map(
        ({ name, behind }) =>
          [`${name} behind the source`, showSpread(behind, "ms", 1), "p50 <= 15, p95 <= 60 ms"] as const,
      ),
      ...quality.map(
        ({ name, ssim, veryfast }) =>
          [
            `${name} SSIM, beside veryfast at the same bits`,
            `${ssim.toFixed(4)}, ${veryfast.toFixed(4)}`,
            "within 0.01",
          ] as const,
      ),
      ["first part of a rung after the source's", showSpread(starts), "<= 1500 ms"],
      ...kills.map(
        ({ blow, workers, back, stall, faults }) =>
          [
            `${blow} (${workers === 1 ? "one worker" : "two workers"}) -> rung listed again`,
            `${showSpread(back)}; picture stands up to ${stall.max} ms; faults: ${faults.length}`,
            target(blow, workers),
          ] as const,
      ),
    ],
    figures: { seconds, steady, quality, startMs: starts, kills },
  };
}

interface Steady {
  readonly ffmpegCores: number;
  readonly ffmpegMegabytes: number;
  readonly nodeCores: number;
  readonly nodeMegabytes: number;
  readonly rungs: readonly { readonly name: string; readonly behind: Spread }[];
}

/** A worker of its own between a feed in real time and an origin that notes when each picture comes. */
async function measureSteady(tags: readonly FlvTag[], seconds: number): Promise<Steady> {
  const log = createLog("bench", "silent", false);
  const bench = await openBench();
  const ingest = await openIngest(`unix:${join(bench.folder, "ingest.sock")}`);
  const origin = await openOrigin(`unix:${join(bench.folder, "origin.sock")}`);
  const queue = openQueue({ redis: bench.redis, log });
  const rungs = planLadder(SOURCE);
  const file = fileURLToPath(new URL("../support/worker-child.ts", import.meta.url));
  const child: ChildProcess = fork(file, [bench.redis, findFfmpeg()!, "1"], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  try {
    await once(child, "message");
    origin.live.add("v");
    const live = ingest.publish("p", tags);
    const at = { id: "v-p", uid: "u", video: "v", publish: "p", feed: ingest.address };
    await queue.add({ ...at, path: "/internal/feeds/p", origin: origin.address, rungs, source: SOURCE });
    const picturesOf = (name: string) => origin.of(1, name)?.pictures ?? [];
    const reached = (count: number) =>
      origin.until(() => rungs.every(({ name }) => picturesOf(name).length >= count));
    const first = WARM_SECONDS * 30;
    const last = first + Math.round(seconds * 30);
    await reached(first);
    const [encoder] = descendants(child.pid!, "-force_key_frames");
    const look = () => ({ ffmpeg: usage(encoder!), node: usage(child.pid!), at: performance.now() });
    const before = look();
    await reached(last);
    const after = look();
    const took = (after.at - before.at) / 1000;
    const sent = new Map(live.sent.map(({ ms, at }) => [ms, at]));
    live.end();
    await origin.until(() => origin.written.every(({ whole }) => whole === true));
    return {
      ffmpegCores: (after.ffmpeg.cpuSeconds - before.ffmpeg.cpuSeconds) / took,
      ffmpegMegabytes: after.ffmpeg.rssBytes / 1e6,
      nodeCores: (after.node.cpuSeconds - before.node.cpuSeconds) / took,
      nodeMegabytes: after.node.rssBytes / 1e6,
      // A source's picture and its rung's are each written when their next one is there: what is between them stays.
      rungs: rungs.map(({ name }) => ({
        name,
        behind: spread(
          picturesOf(name)
            .slice(first, last)
            .map(({ ms, at }) => at - sent.get(ms)!),
        ),
      })),
    };
  } finally {
    const gone = once(child, "exit");
    child.kill("SIGTERM");
    await gone;
    await queue.close();
    await ingest.close();
    await origin.close();
    await bench.close();
  }
}

interface Quality {
  readonly name: string;
  readonly ssim: number;
  /** Of the same command with preset veryfast. */
  readonly veryfast: number;
}

const run = promisify(execFile);

/** Encodes the source to files with the ladder's own command, and compares each rung with the scaled source. */
async function measureQuality(tags: readonly FlvTag[]): Promise<Quality[]> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-ssim-"));
  try {
    const input = join(folder, "in.flv");
    await writeFile(input, flvOf(tags));
    const rungs = planLadder(SOURCE);
    const encoded = async (preset: string) => {
      const args = ffmpegArguments(commandFor(rungs, SOURCE, { major: 5, minor: 1 })).map((word) => {
        if (word === "superfast") return preset;
        if (word === "pipe:0") return input;
        return word.replace(/^pipe:(\d+)$/, (_, fd) => join(folder, `${preset}-${fd}.flv`));
      });
      await run(findFfmpeg()!, args);
      return Promise.all(
        rungs.map(async ({ width, height }, index) => {
          const graph = `[1:v]scale=${width}:${height}:flags=fast_bilinear,setpts=N/30/TB[r];[0:v]setpts=N/30/TB[e];[e][r]ssim`;
          const file = join(folder, `${preset}-${3 + index}.flv`);
          const { stderr } = await run(findFfmpeg()!, [
            ...["-hide_banner", "-nostats", "-i", file, "-i", input],
            ...["-lavfi", graph, "-an", "-f", "null", "-"],
          ]);
          return Number(/SSIM .*All:([\d.]+)/.exec(stderr)![1]);
        }),
      );
    };
    const ours = await encoded("superfast");
    const veryfast = await encoded("veryfast");
    return rungs.map(({ name }, index) => ({ name, ssim: ours[index]!, veryfast: veryfast[index]! }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function flvOf(tags: readonly FlvTag[]): Buffer {
  const header = flvHeader();
  header[4] = 1;
  return Buffer.concat([
    header,
    ...tags
      .filter(({ type }) => type === "video")
      .flatMap(({ timestampMs, payload }) => {
        const head = tagHeader(videoTag, timestampMs, payload.length);
        const tail = Buffer.alloc(4);
        tail.writeUInt32BE(head.length + payload.length);
        return [head, payload, tail];
      }),
  ]);
}

/** From the source's first part being listed to the last rung's, broadcast after broadcast. */
async function measureStarts(tags: readonly FlvTag[], times: number): Promise<Spread> {
  const sluice = await startSluice({ env: { SLUICE_LADDER: "default" } });
  const { rtmp, streamKey, http, uid } = sluice.ready;
  try {
    const late: number[] = [];
    for (let start = 0; start < times; start++) {
      const sender = await startSender(`${rtmp}/${streamKey}`, tags);
      let live: { status: string; videoUID: string } = { status: "idle", videoUID: "" };
      while (live.status !== "live") {
        const waited = live.status === "ended" ? "ended" : "idle";
        live = await (await fetch(`${http}/${uid}/lifecycle?wait=${waited}`)).json();
      }
      const source = performance.now();
      await Promise.all(
        planLadder(SOURCE).map(async ({ name }) => {
          const playlist = `${http}/${uid}/manifest/${live.videoUID}/${name}.m3u8?_HLS_msn=1&_HLS_part=0`;
          const answer = await fetch(playlist);
          if (answer.status !== 200) throw new Error(`${name}: ${answer.status} ${await answer.text()}`);
        }),
      );
      late.push(performance.now() - source);
      await sender.close();
      for (let { status } = live; status === "live" || status === "reconnecting"; )
        ({ status } = await (await fetch(`${http}/${uid}/lifecycle?wait=${status}`)).json());
    }
    return spread(late);
  } finally {
    await sluice.stop();
  }
}
