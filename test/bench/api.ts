import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { makeFlv } from "../support/flv.ts";
import { type Sender, startSender } from "../support/sender.ts";
import { startSluice } from "../support/sluice.ts";
import type { Kind, Load, LoadOrder, Timed } from "./api-load.ts";
import { createInput } from "./density.ts";
import { descendants, usageOf, waitedSeconds } from "./processes.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const broadcasts = 20;
const perSecond = 200;
const warmSeconds = 5;
const base = "/client/v4/accounts/local/stream";

/** What the API takes to answer over the public port while broadcasts run: reads mostly, as dashboards and back ends do, and writes. */
export async function api({ seconds = 30 }: BenchOptions): Promise<Report> {
  const made = await makeFlv({ seconds: 10, width: 1280, height: 720, kbps: 3000 });
  const sluice = await startSluice({ env: { SLUICE_ROLES: "control,ingest,origin,outputs" } });
  const senders: Sender[] = [];
  try {
    const { http, rtmp, uid, apiToken } = sluice.ready;
    for (let i = 0; i < broadcasts; i++) {
      const key = await createInput(sluice, `api ${i}`);
      const localAddress = process.platform === "linux" ? `127.0.1.${i + 1}` : "127.0.0.1";
      senders.push(await startSender(`${rtmp}/${key}`, made.tags, { localAddress }));
    }
    const kinds: readonly Kind[] = [
      { name: "get a live input", share: 0.5, method: "GET", path: `${base}/live_inputs/${uid}` },
      { name: "list live inputs", share: 0.15, method: "GET", path: `${base}/live_inputs` },
      { name: "list videos", share: 0.15, method: "GET", path: base },
      { name: "list outputs", share: 0.1, method: "GET", path: `${base}/live_inputs/${uid}/outputs` },
      { name: "sign a token", share: 0.05, method: "POST", path: `${base}/${uid}/token`, body: {} },
      {
        ...{ name: "change a live input", share: 0.05, method: "PUT", path: `${base}/live_inputs/${uid}` },
        body: { meta: { name: "Default {i}" } },
      },
    ];
    const order = { base: http, token: apiToken, kinds, perSecond };
    await load({ ...order, seconds: warmSeconds });
    const roles = { control: 0, ingest: 0, origin: 0 };
    for (const role of Object.keys(roles) as (keyof typeof roles)[])
      roles[role] = descendants(sluice.pid, `role ${role}`)[0]!;
    const usage = () =>
      Object.fromEntries(
        Object.entries({ ...roles, bench: process.pid }).map(([role, pid]) => [
          role,
          { cpu: usageOf([pid]).cpuSeconds, waited: waitedSeconds(pid) },
        ]),
      );
    // Asked for at the beginning too, because the delays of the event loop are those since they were last asked for.
    const before = { figures: figuresOf(await scrape(sluice.ready.metrics), "control"), used: usage() };
    const beganMs = performance.now();
    const { timed, ownDelayMs } = await load({ ...order, seconds });
    const tookSeconds = (performance.now() - beganMs) / 1_000;
    const afterText = await scrape(sluice.ready.metrics);
    const after = { figures: figuresOf(afterText, "control"), used: usage() };
    const shares = Object.entries(after.used).map(([who, { cpu, waited }]) => {
      const was = before.used[who]!;
      const percent = (spent: number) => (spent / tookSeconds) * 100;
      return { who, cpu: percent(cpu - was.cpu), waited: percent(waited - was.waited) };
    });
    const failed = timed.filter(({ status }) => status !== 200).length;
    const all = figures(timed);
    const each = kinds.map(({ name }) => [name, figures(timed.filter((one) => one.name === name))] as const);
    const server = served(before.figures, after.figures);
    const loops = {
      control: loopOf(after.figures),
      origin: loopOf(figuresOf(afterText, "origin")),
    };
    const showDelay = (delay: { p50: number; p99: number }) =>
      `p50 ${delay.p50.toFixed(1)}, p99 ${delay.p99.toFixed(1)} ms`;
    return {
      name: "api",
      load: `${perSecond} requests/s for ${seconds} s over the public port, ${broadcasts} broadcasts of 720p30 at ${(made.bitsPerSecond / 1e6).toFixed(1)} Mb/s each on air, after ${warmSeconds} s of warm-up; from when a request was due`,
      lines: [
        ["all", `p99 ${all.p99.toFixed(1)}; ${showSpread(all, "ms", 1)}`, "p99 <= 20 ms"],
        ...each.map(
          ([name, one]) => [name, `p99 ${one.p99.toFixed(1)}; ${showSpread(one, "ms", 1)}`] as const,
        ),
        ["answers that were not 200", `${failed} of ${timed.length}`, "0"],
        [
          "the same in control itself",
          `${(server.within * 100).toFixed(2)} % within 20 ms, 99 % within ${server.p99Ms} ms`,
        ],
        ...Object.entries(loops).map(
          ([role, loop]) =>
            [
              `${role}'s event loop, in steps of 10 ms`,
              `${showDelay(loop)}, at most ${loop.max.toFixed(1)} ms`,
            ] as const,
        ),
        ["the bench's own event loop is late by", showDelay(ownDelayMs)],
        ...shares.map(
          ({ who, cpu, waited }) =>
            [
              `${who}: processor, waited for one`,
              `${cpu.toFixed(0)} %, ${waited.toFixed(0)} % of the time`,
            ] as const,
        ),
      ],
      figures: {
        ...{ seconds, perSecond, broadcasts, failed, all, each: Object.fromEntries(each) },
        ...{ server, loops, ownDelayMs, shares },
      },
    };
  } finally {
    await Promise.all(senders.map((sender) => sender.close()));
    await sluice.stop();
  }
}

/** On a thread of its own, so that what encodes nothing but sends much does not count. */
async function load(order: LoadOrder): Promise<Load> {
  const worker = new Worker(new URL("./api-load.ts", import.meta.url), { workerData: order });
  const [done] = (await once(worker, "message")) as [Load];
  await worker.terminate();
  return done;
}

function figures(timed: readonly Timed[]) {
  const ms = timed.map((one) => one.ms);
  const sorted = ms.toSorted((a, b) => a - b);
  return { ...spread(ms), p99: sorted[Math.min(sorted.length - 1, Math.floor(0.99 * sorted.length))]! };
}

async function scrape(metrics: string): Promise<string> {
  return (await fetch(`${metrics}/metrics`)).text();
}

/** The figures of a role: by their names, buckets with their upper bounds. */
function figuresOf(text: string, role: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const [, name, labels = "", value] of text.matchAll(/^(\w+)\{(.*)\} (\S+)$/gm)) {
    if (!labels.includes(`role="${role}"`)) continue;
    const le = /\ble="([^"]+)"/.exec(labels)?.[1];
    found.set(le === undefined ? name! : `${name} ${le}`, Number(value));
  }
  return found;
}

function loopOf(figures: ReadonlyMap<string, number>) {
  const ms = (of: string) => figures.get(`nodejs_eventloop_lag_${of}_seconds`)! * 1_000;
  return { p50: ms("p50"), p99: ms("p99"), max: ms("max") };
}

/** How long requests took inside control between two looks, as well as its buckets tell. */
function served(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>) {
  const bucket = "sluice_api_seconds_bucket ";
  const counts = [...after.keys()]
    .filter((name) => name.startsWith(bucket))
    .map((name) => ({
      le: Number(name.slice(bucket.length).replace("+Inf", "Infinity")),
      count: after.get(name)! - (before.get(name) ?? 0),
    }))
    .sort((a, b) => a.le - b.le);
  const total = counts.at(-1)!.count;
  return {
    within: counts.find(({ le }) => le === 0.02)!.count / total,
    p99Ms: counts.find(({ count }) => count >= 0.99 * total)!.le * 1_000,
  };
}
