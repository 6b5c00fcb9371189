import { setTimeout as wait } from "node:timers/promises";
import type { Peer } from "../../services/moq/session.ts";
import { wayTo } from "../support/moq-viewer.ts";
import { startRedis } from "../support/redis.ts";
import { openRelayRow } from "../support/relay-row.ts";
import type { Sluice } from "../support/sluice.ts";
import { startSource, subscribe, tailOf } from "./moq-load.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const SUBSCRIBERS = 1_000;
const WARM_SECONDS = 3;

/** Three relays in a row with many subscribers of sound: what the origin gives, and what hops add. */
export async function moqTree({ seconds = 20 }: BenchOptions): Promise<Report> {
  const redis = await startRedis();
  const row = await openRelayRow(redis.url);
  const { ports } = row;
  const machines: Sluice[] = [];
  const peers: Peer[] = [];
  const main = await row.start(0);
  machines.push(main);
  const source = await startSource(main, { width: 640, height: 360, kbps: 500 });
  try {
    for (const index of [1, 2] as const) machines.push(await row.start(index));
    const { namespace: uid } = await wayTo(main.ready, main.ready.uid!);
    // One at each relay, alone: how long the same picture is on its way to each.
    const arrivals = [0, 1, 2].map(() => new Map<string, number>());
    let delays: number[] = [];
    for (const index of [0, 1, 2])
      peers.push(
        await subscribe({
          ...{ port: ports[index]!, uid, tracks: ["source.0"] },
          heard: ({ payload }) => {
            const tail = tailOf(payload);
            arrivals[index]!.set(tail, performance.now());
            const sentAt = source.nextSentAt.get(tail);
            if (index === 2 && sentAt !== undefined) delays.push(performance.now() - sentAt);
          },
        }),
      );
    await wait(WARM_SECONDS * 1000);
    for (const one of arrivals) one.clear();
    delays = [];
    await wait((seconds * 1000) / 2);
    const added = [...arrivals[2]!]
      .map(([tail, at]) => at - (arrivals[0]!.get(tail) ?? Number.NaN))
      .filter((ms) => !Number.isNaN(ms));
    const atEnd = spread(delays);
    const hops = spread(added);
    let objects = 0;
    let joined = 0;
    while (peers.length < SUBSCRIBERS + 3) {
      const some = Array.from({ length: Math.min(10, SUBSCRIBERS + 3 - peers.length) }, (_, index) =>
        subscribe({
          ...{ port: ports[(peers.length + index) % 3]!, uid, tracks: ["audio.0"] },
          heard: () => {
            objects++;
          },
        }),
      );
      peers.push(...(await Promise.all(some)));
      joined += some.length;
    }
    await wait(WARM_SECONDS * 1000);
    const before = await figure(main, "sluice_moq_published_objects_total");
    objects = 0;
    await wait((seconds * 1000) / 2);
    const published = (await figure(main, "sluice_moq_published_objects_total")) - before;
    const tracks = await figure(main, "sluice_moq_published_tracks");
    const closed = peers.filter((peer) => peer.closed).length;
    return {
      name: "moq-tree",
      load: `three relays in a row; one subscriber of pictures at each, then ${joined} of sound over all three, ${seconds / 2} s each`,
      lines: [
        ["two hops add", showSpread(hops, "ms", 1), "p50 <= 5 ms"],
        ["next picture sent to object received behind two hops", showSpread(atEnd, "ms", 1)],
        ["tracks that the origin gives", `${tracks}, one copy of pictures and one of sound`, "2"],
        [
          "objects that the origin gave, and that subscribers of sound got",
          `${published} and ${objects} in ${seconds / 2} s; ${closed} sessions lost`,
          ">= 1000 subscribers",
        ],
      ],
      figures: { seconds, hopsMs: hops, delayMs: atEnd, published, objects, tracks, joined, closed },
    };
  } finally {
    for (const peer of peers) peer.close("noError", "");
    await source.stop();
    for (const one of machines.toReversed()) await one.stop();
    await redis.stop();
  }
}

async function figure({ ready }: Sluice, name: string): Promise<number> {
  const text = await (await fetch(`${ready.metrics}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`${name}{`) && one.includes('"origin"'));
  return Number(line?.split(" ").at(-1) ?? Number.NaN);
}
