import { setTimeout as wait } from "node:timers/promises";
import type { Peer } from "../../services/moq/session.ts";
import { wayTo } from "../support/moq-viewer.ts";
import { startSluice } from "../support/sluice.ts";
import { startSource, subscribe, tailOf } from "./moq-load.ts";
import { descendants, usageOf } from "./processes.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const WARM_SECONDS = 4;
const SUBSCRIBERS = 120;

/** What one relay spends on each of many subscribers of 2.1 Mb/s, and how long an object is on its way to them. */
export async function moqRelay({ seconds = 20 }: BenchOptions): Promise<Report> {
  const sluice = await startSluice({ env: { SLUICE_MOQ: "true" } });
  const source = await startSource(sluice, { width: 1280, height: 720, kbps: 2000 });
  const peers: Peer[] = [];
  try {
    const way = await wayTo(sluice.ready, sluice.ready.uid!);
    let delays: number[] = [];
    let bytes = 0;
    let measuring = false;
    const join = () =>
      subscribe({
        ...{ port: way.port, uid: way.namespace, tracks: ["source.0", "audio.0"] },
        heard: ({ track, payload }) => {
          if (!measuring) return;
          bytes += payload.length;
          const sentAt = track === "source.0" ? source.nextSentAt.get(tailOf(payload)) : undefined;
          if (sentAt !== undefined) delays.push(performance.now() - sentAt);
        },
      });
    const measure = async () => {
      await wait(WARM_SECONDS * 1000);
      [delays, bytes, measuring] = [[], 0, true];
      const pids = descendants(sluice.pid, "role relay");
      const [from, began] = [usageOf(pids), performance.now()];
      await wait(seconds * 1000);
      measuring = false;
      const to = usageOf(pids);
      const cpuPercent = ((to.cpuSeconds - from.cpuSeconds) / (performance.now() - began)) * 100_000;
      const [count, sum] = [delays.length, bytes];
      return { spread: spread(delays), p99: at99(delays), count, bytes: sum, cpuPercent, rss: to.rssBytes };
    };
    peers.push(await join());
    const alone = await measure();
    while (peers.length < SUBSCRIBERS)
      peers.push(
        ...(await Promise.all(Array.from({ length: Math.min(20, SUBSCRIBERS - peers.length) }, join))),
      );
    const all = await measure();
    const each = all.cpuPercent / SUBSCRIBERS;
    return {
      name: "moq-relay",
      load: `${SUBSCRIBERS} subscribers of ${((alone.bytes * 8) / seconds / 1e6).toFixed(1)} Mb/s in one process for ${seconds} s after ${WARM_SECONDS} s`,
      lines: [
        [
          "next picture sent to object received, one subscriber",
          showSpread(alone.spread, "ms", 1),
          "p50 <= 5 ms",
        ],
        [
          `the same, ${SUBSCRIBERS} subscribers`,
          `${showSpread(all.spread, "ms", 1)}, p99 ${all.p99.toFixed(1)} ms`,
          "p99 <= 60 ms",
        ],
        ["objects of pictures", `${all.count} of ${SUBSCRIBERS * 30 * seconds}`],
        [
          "relay, all threads",
          `${all.cpuPercent.toFixed(1)} % of a core, ${each.toFixed(2)} % a subscriber, ${(all.rss / 2 ** 20).toFixed(0)} MB`,
          "<= 0.35 % a subscriber",
        ],
      ],
      figures: { seconds, subscribers: SUBSCRIBERS, alone, all, cpuPercentEach: each },
    };
  } finally {
    for (const peer of peers) peer.close("noError", "");
    await source.stop();
    await sluice.stop();
  }
}

function at99(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(0.99 * sorted.length)] ?? Number.NaN;
}
