import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { makeFlv } from "../support/flv.ts";
import { type Sender, startSender } from "../support/sender.ts";
import { startSluice } from "../support/sluice.ts";
import type { Kind, LoadOrder, Timed } from "./api-load.ts";
import { createInput } from "./density.ts";
import { descendants, usageOf } from "./processes.ts";
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
        body: { meta: { name: "Default" } },
      },
    ];
    const order = { base: http, token: apiToken, kinds, perSecond };
    await load({ ...order, seconds: warmSeconds });
    const pids = {
      control: descendants(sluice.pid, "role control"),
      origin: descendants(sluice.pid, "role origin"),
    };
    const before = { control: usageOf(pids.control), origin: usageOf(pids.origin) };
    const beganMs = performance.now();
    const timed = await load({ ...order, seconds });
    const tookSeconds = (performance.now() - beganMs) / 1_000;
    const cpu = (role: "control" | "origin") =>
      ((usageOf(pids[role]).cpuSeconds - before[role].cpuSeconds) / tookSeconds) * 100;
    const used = { control: cpu("control"), origin: cpu("origin") };
    const failed = timed.filter(({ status }) => status !== 200).length;
    const all = figures(timed);
    const each = kinds.map(({ name }) => [name, figures(timed.filter((one) => one.name === name))] as const);
    return {
      name: "api",
      load: `${perSecond} requests/s for ${seconds} s over the public port, ${broadcasts} broadcasts of 720p30 at ${(made.bitsPerSecond / 1e6).toFixed(1)} Mb/s each on air, after ${warmSeconds} s of warm-up; from when a request was due`,
      lines: [
        ["all", `p99 ${all.p99.toFixed(1)}; ${showSpread(all, "ms", 1)}`, "p99 <= 20 ms"],
        ...each.map(
          ([name, one]) => [name, `p99 ${one.p99.toFixed(1)}; ${showSpread(one, "ms", 1)}`] as const,
        ),
        ["answers that were not 200", `${failed} of ${timed.length}`, "0"],
        ["control, origin", `${used.control.toFixed(0)} %, ${used.origin.toFixed(0)} % of a core`],
      ],
      figures: { seconds, perSecond, broadcasts, failed, all, each: Object.fromEntries(each), cpu: used },
    };
  } finally {
    await Promise.all(senders.map((sender) => sender.close()));
    await sluice.stop();
  }
}

/** On a thread of its own, so that what encodes nothing but sends much does not count. */
async function load(order: LoadOrder): Promise<readonly Timed[]> {
  const worker = new Worker(new URL("./api-load.ts", import.meta.url), { workerData: order });
  const [timed] = (await once(worker, "message")) as [readonly Timed[]];
  await worker.terminate();
  return timed;
}

function figures(timed: readonly Timed[]) {
  const ms = timed.map((one) => one.ms);
  const sorted = ms.toSorted((a, b) => a - b);
  return { ...spread(ms), p99: sorted[Math.min(sorted.length - 1, Math.floor(0.99 * sorted.length))]! };
}
