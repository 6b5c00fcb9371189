import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { planName } from "../../services/recording/plans.ts";
import { apiOf } from "../support/api.ts";
import { makeFlv } from "../support/flv.ts";
import { recordLong } from "../support/long-recording.ts";
import { startSender } from "../support/sender.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { untilLive } from "../support/viewer.ts";
import { hashOf, openWitness, type Witness } from "../support/witness.ts";
import { clockMs, openFollowers } from "./followers.ts";
import { descendants, threadMs, usage } from "./processes.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";
import { slowDisk } from "./slow-disk.ts";
import { watching } from "./watching.ts";

const AT_ONCE = 50;
const KILLS = 3;
/** One that dies again and again is started ever later: half a minute counts as well behaved. */
const BETWEEN_KILLS_SECONDS = 31;
const WATCHED_SECONDS = 24;
const ON_SECONDS = 8;
const ROUNDS = 3;
const HOUR_SECONDS = 3_600;
const RANGES = 20;
const SLOW_SECONDS = 24;

interface Input {
  readonly uid: string;
  readonly streamKey: string;
}

/** What one row of the table says. */
interface Rows {
  readonly lines: Report["lines"];
  readonly figures: Report["figures"];
}

const rows: Readonly<Record<string, (options: BenchOptions) => Promise<Rows>>> = {
  end: withSluice(ending),
  players: withSluice(players),
  kill: withSluice(killing),
  movie: withSluice(movie),
  disk: disks,
};

/** The targets of recordings, one row after the other or those of `only`: many that end at once, who watches when one ends, kills of the origin, an hour as a file, and what a disk costs. */
export async function recording(options: BenchOptions): Promise<Report> {
  const names = options.only ?? Object.keys(rows);
  const unknown = names.find((name) => !rows[name]);
  if (unknown !== undefined)
    throw new Error(`--only ${unknown}: give some of ${Object.keys(rows).join(", ")}`);
  const found: Rows[] = [];
  for (const name of names) found.push(await rows[name]!(options));
  return {
    name: "recording",
    load: `180p30 at 0.3 Mb/s with sound: ${names.join(", ")}`,
    lines: found.flatMap(({ lines }) => lines),
    figures: Object.assign({}, ...found.map(({ figures }) => figures)),
  };
}

interface Stage {
  readonly sluice: Sluice;
  readonly tags: Awaited<ReturnType<typeof makeFlv>>["tags"];
  readonly options: BenchOptions;
}

function withSluice(run: (stage: Stage) => Promise<Rows>): (options: BenchOptions) => Promise<Rows> {
  return async (options) => {
    const tags = await tagsOf();
    const sluice = await startSluice({ args: ["--limits-connections-per-address", "100"] });
    try {
      return await run({ sluice, tags, options });
    } finally {
      await sluice.stop();
    }
  };
}

const tagsOf = async () => (await makeFlv({ seconds: 10, width: 320, height: 180, kbps: 300 })).tags;

/** One that ends alone, and then all at once again and again: from the stop of the encoder to ENDLIST with the last segment in hand. */
async function ending({ sluice, tags, options: { seconds } }: Stage): Promise<Rows> {
  const { rtmp, http } = sluice.ready;
  const rounds = seconds === undefined ? ROUNDS : Math.max(1, Math.round(seconds / ON_SECONDS));
  const inputs = await Promise.all(Array.from({ length: AT_ONCE }, () => createInput(sluice)));
  const ends: number[][] = [];
  const costs: Record<string, number>[] = [];
  let [segments, lost] = [0, 0];
  const origin = descendants(sluice.pid, "role origin")[0]!;
  const pids = [
    ["supervisor", sluice.pid] as const,
    ...["origin", "ingest", "control"].map(
      (role) => [role, descendants(sluice.pid, `role ${role}`)[0]!] as const,
    ),
  ];
  const spent = (): Record<string, number> =>
    Object.fromEntries([
      ["senders", process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000],
      ...pids.map(([role, pid]) => [role, threadMs(pid)]),
    ]);
  let core = 0;
  for (let round = 0; round <= rounds; round++) {
    const some = round === 0 ? inputs.slice(0, 1) : inputs;
    const senders = await Promise.all(some.map(({ streamKey }) => startSender(`${rtmp}/${streamKey}`, tags)));
    await Promise.all(some.map(({ uid }) => untilLive(`${http}/${uid}`)));
    const [before, since] = [usage(origin).cpuSeconds, performance.now()];
    await pause(ON_SECONDS * 1000);
    core = ((usage(origin).cpuSeconds - before) * 1000) / (performance.now() - since);
    const crowd = await openFollowers(some.map(({ uid }) => `${http}/${uid}`));
    const spentBefore = spent();
    crowd.busy();
    const stops: number[] = [];
    // The last byte is on its way when `close` is called; what the socket takes counts for us.
    const stopped = senders.map((sender) => {
      stops.push(clockMs());
      return sender.close();
    });
    const { ends: found, busyMs } = await crowd.ended;
    await Promise.all(stopped);
    ends.push(found.map(({ atMs }, i) => atMs - stops[i]!));
    const after = spent();
    if (round > 0)
      costs.push({
        wall: Math.max(...found.map(({ atMs }) => atMs)) - stops[0]!,
        followers: busyMs,
        ...Object.fromEntries(Object.entries(after).map(([role, ms]) => [role, ms - spentBefore[role]!])),
      });
    lost += found.reduce((sum, one) => sum + one.lost, 0);
    for (const { urls } of found)
      for (const url of urls) {
        const { status } = await fetch(url);
        if (status !== 200) throw new Error(`${url} answers ${status}`);
        segments++;
      }
    // Nothing of one round is left to do in the next.
    await pause(3_000);
  }
  const [[alone] = [], ...together] = ends;
  const all = spread(together.flat());
  return {
    lines: [
      ["end of one -> ENDLIST served and its last segment read", `${alone!.toFixed(0)} ms`, "<= 250 ms"],
      [
        `end of ${AT_ONCE} at once, ${rounds} times -> the same`,
        `${showSpread(all)}, p99 ${all.p99.toFixed(0)} ms`,
        "p99 <= 250 ms",
      ],
      [
        "from the first stop to the last end, and who worked then",
        costs
          .map((cost) =>
            Object.entries(cost)
              .map(([who, ms]) => `${who} ${ms.toFixed(0)}`)
              .join(", "),
          )
          .join("; "),
      ],
      ["segments listed then, read afterwards", `${segments} of ${segments}`, "all"],
      ["segments listed before, and not then", String(lost), "0"],
      [`CPU of the origin with ${AT_ONCE} on air`, `${(core * 100).toFixed(0)} % of a core`],
    ],
    figures: { atOnce: AT_ONCE, aloneMs: alone, togetherMs: all, segments },
  };
}

/** Kills of the origin under a broadcast that goes on. */
async function killing({ sluice, tags, options: { seconds } }: Stage): Promise<Rows> {
  const { rtmp, http } = sluice.ready;
  const kills = seconds === undefined ? KILLS : Math.max(1, Math.round(seconds / BETWEEN_KILLS_SECONDS));
  const { uid, streamKey } = await createInput(sluice);
  const sender = await startSender(`${rtmp}/${streamKey}`, tags);
  const back: number[] = [];
  await untilLive(`${http}/${uid}`);
  const address = await renditionOf(`${http}/${uid}`);
  const witness = await openWitness(`${http}/${uid}`);
  for (let i = 0; i < kills; i++) {
    await pause(i === 0 ? 3_000 : BETWEEN_KILLS_SECONDS * 1_000);
    const from = performance.now();
    process.kill(descendants(sluice.pid, "role origin")[0]!, "SIGKILL");
    await until(address);
    back.push(performance.now() - from);
  }
  await pause(3_000);
  await sender.close();
  await witness.done;
  // What was announced before a kill is there after it, with the same bytes.
  const lost = await lostOf(witness);
  const killed = spread(back);
  return {
    lines: [
      [`kill -9, ${kills} times -> same URL served`, showSpread(killed), "<= 2000 ms"],
      [
        "lost at kill -9",
        `${lost} of ${witness.seen.size} segments and parts that were listed`,
        "0; at power loss: services/recording/power.test.ts",
      ],
    ],
    figures: { killedMs: killed, lost, listed: witness.seen.size },
  };
}

/** Players that watch when a broadcast ends. */
async function players({ sluice, tags }: Stage): Promise<Rows> {
  const { rtmp, http } = sluice.ready;
  const { uid, streamKey } = await createInput(sluice);
  const sender = await startSender(`${rtmp}/${streamKey}`, tags);
  await untilLive(`${http}/${uid}`);
  const began = performance.now();
  await pause(WATCHED_SECONDS * 1_000);
  const whole = await watching(`${http}/${uid}`, {
    seconds: (performance.now() - began) / 1000,
    end: () => sender.close(),
  });
  return {
    lines: whole.map(({ player, ms, intervalMs }) => [
      `end -> all of it seekable in ${player}`,
      `${ms} ms`,
      `<= ${intervalMs + 1_000} ms`,
    ]),
    figures: { wholeMs: whole },
  };
}

async function movie({ sluice }: Stage): Promise<Rows> {
  const hour = await download(sluice, (await createInput(sluice)).uid);
  return {
    lines: [
      ["MP4 of 1 h, first byte of the first who asks", `${hour.firstMs.toFixed(0)} ms`, "<= 150 ms"],
      ["MP4 of 1 h, first byte of any range", showSpread(hour.rangesMs), "<= 150 ms"],
      [
        `MP4 of 1 h, first byte after an upgrade, planned anew by ${hour.replannedSeconds.toFixed(0)} s after the start`,
        `${hour.replannedMs.toFixed(0)} ms`,
        "<= 150 ms",
      ],
      ["MP4 of 1 h, first byte of who asks before that", `${hour.unplannedMs.toFixed(0)} ms`],
      [
        `MP4 of 1 h, ${hour.megabytes.toFixed(0)} MB read at once`,
        `the origin grows by ${hour.grownMegabytes.map((one) => one.toFixed(0)).join(" MB in the first half, in all by ")} MB in the second`,
        "flat",
      ],
    ],
    figures: { hour },
  };
}

async function disks({ seconds }: BenchOptions): Promise<Rows> {
  const slow = await slowDisk(await tagsOf(), seconds ?? SLOW_SECONDS);
  const without = slow[0]!;
  const range = (values: readonly number[]): string =>
    `${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}`;
  return {
    lines: slow.flatMap(({ disk, parts, p50, p99, p99s, own, core }, i) => {
      const lines: [string, string, string?][] = [
        [
          `part due -> listed, ${disk}`,
          `p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)} ms of ${parts} parts, p99 of ${p99s.length} turns ${range(p99s)}`,
          ...((i > 0 ? ["p99 as without"] : []) as [string?]),
        ],
        [
          `of that from the frame's arrival, ${disk}`,
          `p50 ${own.p50.toFixed(2)}, p99 ${own.p99.toFixed(2)} ms`,
        ],
      ];
      if (i > 0)
        lines.push(
          [
            `p99 against the turn without beside it, ${disk}`,
            `${range(p99s.map((one, turn) => one - without.p99s[turn]!))} ms`,
          ],
          [
            `CPU of a rendition, ${disk}`,
            `${((core - without.core) * 100).toFixed(2)} % of a core`,
            "<= 0.5 %",
          ],
        );
      return lines;
    }),
    figures: { slow },
  };
}

/** How many of the URLs that a witness saw have other bytes now, or none. */
async function lostOf({ seen, faults }: Witness): Promise<number> {
  let lost = faults.length;
  for (const [url, hash] of seen) if ((await hashOf(url)) !== hash) lost++;
  return lost;
}

/** An hour as one file: how long the first byte takes, without and with its index at hand, and what sending it costs in memory. */
async function download({ ready: { http }, dataDir, pid }: Sluice, input: string) {
  const video = await recordLong(join(dataDir, "recordings"), input, HOUR_SECONDS);
  const url = `${http}/${video}/downloads/default.mp4`;
  const firstByte = async (headers: Record<string, string>): Promise<number> => {
    const from = performance.now();
    const answer = await fetch(url, { headers });
    const reader = answer.body!.getReader();
    await reader.read();
    const ms = performance.now() - from;
    await reader.cancel();
    if (answer.status > 206) throw new Error(`the download answers ${answer.status}`);
    return ms;
  };
  const firstMs = await firstByte({});
  // As of a recording of another version, by a process that knows nothing of it.
  const plan = join(dataDir, "recordings", video, planName);
  const upgrade = async (): Promise<void> => {
    await rm(plan);
    process.kill(descendants(pid, "role origin")[0]!, "SIGKILL");
    await until(`${http}/${input}/lifecycle`);
  };
  await upgrade();
  await pause(4_000);
  const unplannedMs = await firstByte({});
  await pause(BETWEEN_KILLS_SECONDS * 1_000);
  await upgrade();
  const from = performance.now();
  while (!existsSync(plan)) await pause(100);
  const replannedSeconds = (performance.now() - from) / 1000;
  const replannedMs = await firstByte({});
  const length = Number((await fetch(url, { method: "HEAD" })).headers.get("content-length"));
  const ranges: number[] = [];
  for (let i = 0; i < RANGES; i++)
    ranges.push(await firstByte({ range: `bytes=${Math.floor((length * i) / RANGES)}-` }));
  const origin = descendants(pid, "role origin")[0]!;
  const before = usage(origin).pssBytes;
  const most: [number, number] = [before, before];
  let read = 0;
  const watch = setInterval(() => {
    const half = read * 2 < length ? 0 : 1;
    most[half] = Math.max(most[half], usage(origin).pssBytes);
  }, 50);
  for await (const piece of (await fetch(url)).body!) read += piece.length;
  clearInterval(watch);
  if (read !== length) throw new Error(`the download has ${read} of ${length} bytes`);
  return {
    firstMs,
    unplannedMs,
    replannedMs,
    replannedSeconds,
    rangesMs: spread(ranges),
    megabytes: length / 1e6,
    grownMegabytes: most.map((bytes) => (bytes - before) / 1e6),
  };
}

async function createInput({ ready }: Sluice): Promise<Input> {
  const { uid, rtmps } = await apiOf(() => ready)("POST /live_inputs", { recording: { mode: "automatic" } });
  return { uid, streamKey: rtmps.streamKey };
}

async function renditionOf(playback: string): Promise<string> {
  const master = `${playback}/manifest/video.m3u8`;
  const text = await (await fetch(master)).text();
  const uri = text.split("\n").find((line) => line && !line.startsWith("#"));
  if (!uri) throw new Error(`nothing to play in ${text}`);
  return new URL(uri, master).href;
}

/** Resolves when the address answers 200 again. */
async function until(address: string): Promise<void> {
  for (;;) {
    const status = await fetch(address).then(
      (answer) => answer.status,
      () => 0,
    );
    if (status === 200) return;
    await pause(10);
  }
}
