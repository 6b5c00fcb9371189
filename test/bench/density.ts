import { setTimeout as wait } from "node:timers/promises";
import { apiOf } from "../support/api.ts";
import { type MadeFlv, makeFlv } from "../support/flv.ts";
import { type Sender, startSender } from "../support/sender.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { findNginx, startNginx } from "./nginx.ts";
import { descendants, type Usage, usage, usageOf } from "./processes.ts";
import type { BenchOptions, Report } from "./report.ts";

const FEW = 5;
const MANY = 25;
const WARM_SECONDS = 15;

interface Sample {
  readonly publishers: number;
  /** Percent of a core. */
  readonly cpu: number;
  readonly pssMegabytes: number;
  readonly rssMegabytes: number;
  readonly senderCpu: number;
}

interface Side {
  readonly few: Sample;
  readonly many: Sample;
  /** What one more publisher costs. */
  readonly cpuEach: number;
  readonly pssEach: number;
  readonly rssEach: number;
}

/** What one more passthrough publisher costs, as the slope between 5 and 25, beside nginx-rtmp where it is installed. */
export async function density({ seconds = 30 }: BenchOptions): Promise<Report> {
  const made = await makeFlv({ seconds: 10, width: 1280, height: 720, kbps: 3000 });
  const ours = await measureSluice(made, seconds);
  const found = findNginx();
  const theirs = found ? await measureNginx(found, made, seconds) : undefined;
  const ratio = theirs ? ours.cpuEach / theirs.cpuEach : undefined;
  const show = ({ cpuEach, pssEach, rssEach }: Side) =>
    `${cpuEach.toFixed(2)} % of a core, ${pssEach.toFixed(1)} MB (${rssEach.toFixed(1)} MB resident)`;
  const at = ({ publishers, cpu, pssMegabytes }: Sample) =>
    `${publishers}: ${cpu.toFixed(1)} %, ${pssMegabytes.toFixed(0)} MB`;
  return {
    name: "density",
    load: `720p30 at ${(made.bitsPerSecond / 1e6).toFixed(1)} Mb/s each, no viewers, ${seconds} s at ${FEW} and at ${MANY} publishers after ${WARM_SECONDS} s of warm-up each`,
    lines: [
      ["ingest and origin, each publisher", show(ours), "<= 1.0 %, <= 12 MB"],
      ["ingest and origin, in all", `${at(ours.few)}; ${at(ours.many)}`],
      ["nginx-rtmp with HLS, each publisher", theirs ? show(theirs) : "not installed"],
      ...(theirs ? [["nginx-rtmp, in all", `${at(theirs.few)}; ${at(theirs.many)}`] as const] : []),
      ...(ratio ? [["CPU, ours to nginx-rtmp", `${ratio.toFixed(2)} : 1`] as const] : []),
      ["load generator", `${ours.many.senderCpu.toFixed(0)} % of a core at ${MANY}`],
    ],
    figures: { seconds, bitsPerSecond: made.bitsPerSecond, sluice: ours, nginx: theirs, ratio },
  };
}

async function measureSluice(made: MadeFlv, seconds: number): Promise<Side> {
  const sluice = await startSluice();
  try {
    const keys = await Promise.all(
      Array.from({ length: MANY }, (_, i) => createInput(sluice, `density ${i}`)),
    );
    const pids = ["role ingest", "role origin"].flatMap((words) => descendants(sluice.pid, words));
    return await measure({ urls: keys.map((key) => `${sluice.ready.rtmp}/${key}`), pids, made, seconds });
  } finally {
    await sluice.stop();
  }
}

async function measureNginx(
  found: NonNullable<ReturnType<typeof findNginx>>,
  made: MadeFlv,
  seconds: number,
): Promise<Side> {
  const nginx = await startNginx(found);
  try {
    const urls = Array.from({ length: MANY }, (_, i) => `${nginx.rtmp}/density${i}`);
    return await measure({ urls, pids: nginx.pids, made, seconds });
  } finally {
    await nginx.close();
  }
}

async function measure(on: {
  urls: string[];
  pids: readonly number[];
  made: MadeFlv;
  seconds: number;
}): Promise<Side> {
  const { urls, pids, made, seconds } = on;
  const senders: Sender[] = [];
  const samples: Sample[] = [];
  try {
    for (const publishers of [FEW, MANY]) {
      while (senders.length < publishers) {
        // An address each: a server may limit connections by address.
        const localAddress = process.platform === "linux" ? `127.0.1.${senders.length + 1}` : "127.0.0.1";
        senders.push(await startSender(urls[senders.length]!, made.tags, { localAddress }));
      }
      await wait(WARM_SECONDS * 1000);
      const before = { served: usageOf(pids), own: usage(process.pid) };
      await wait(seconds * 1000);
      samples.push(sample(publishers, seconds, before, { served: usageOf(pids), own: usage(process.pid) }));
    }
  } finally {
    await Promise.all(senders.map((sender) => sender.close()));
  }
  const [few, many] = samples as [Sample, Sample];
  const each = (of: (sample: Sample) => number) => (of(many) - of(few)) / (MANY - FEW);
  return {
    few,
    many,
    cpuEach: each((s) => s.cpu),
    pssEach: each((s) => s.pssMegabytes),
    rssEach: each((s) => s.rssMegabytes),
  };
}

type Both = { served: Usage; own: Usage };

function sample(publishers: number, seconds: number, before: Both, after: Both): Sample {
  return {
    publishers,
    cpu: ((after.served.cpuSeconds - before.served.cpuSeconds) / seconds) * 100,
    senderCpu: ((after.own.cpuSeconds - before.own.cpuSeconds) / seconds) * 100,
    pssMegabytes: after.served.pssBytes / 2 ** 20,
    rssMegabytes: after.served.rssBytes / 2 ** 20,
  };
}

/** Makes a live input and returns its stream key. */
export async function createInput({ ready }: Sluice, name: string): Promise<string> {
  const { rtmps } = await apiOf(() => ready)("POST /live_inputs", { meta: { name } });
  return rtmps.streamKey;
}
