import type { Page } from "playwright-core";
import type { ProfileName } from "../../services/packager/profiles.ts";
import { apiOf } from "../support/api.ts";
import { openBrowser, seen, untilState } from "../support/browser.ts";
import { publishClock } from "../support/clock-publisher.ts";
import { delaysOf, watchClock } from "../support/glass.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { descendants, usageOf } from "./processes.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const WARM_SECONDS = 10;
const targets: Readonly<Record<ProfileName, string>> = {
  low: "p50 <= 1800, p95 <= 2200 ms",
  ultra: "p50 <= 1200 ms",
  safe: "regular HLS: three target durations behind",
};

/** Encoder to glass: the time that a picture carries against the time at which Chromium shows it. */
export async function latency({ seconds = 120, profile = "low" }: BenchOptions): Promise<Report> {
  const { load, toGlass, stalls, unread, dropped, after, cpu, megabytes } = await glass({ seconds, profile });
  return {
    name: "latency",
    load,
    lines: [
      ["encoder to glass", showSpread(toGlass), targets[profile]],
      ["stalls", `${stalls}`, "0"],
      ["frames", `${toGlass.count} read, ${unread} unreadable, ${dropped} dropped`],
      ["behind live by the player", `${after.latency?.toFixed(2)} s`],
      ["ingest", `${cpu[0]!.toFixed(1)} % of a core, ${megabytes[0]!.toFixed(0)} MB`],
      ["origin", `${cpu[1]!.toFixed(1)} % of a core, ${megabytes[1]!.toFixed(0)} MB`],
    ],
    figures: {
      profile,
      seconds,
      toGlassMs: toGlass,
      stalls,
      unread,
      dropped,
      playerLatencySeconds: after.latency,
      cpuPercent: { ingest: cpu[0], origin: cpu[1] },
      rssMegabytes: { ingest: megabytes[0], origin: megabytes[1] },
      errors: after.stats.errors,
    },
  };
}

/** One Chromium before one broadcast: what it shows and when, and what the server spends on it. */
export async function glass({
  seconds,
  profile,
  env = {},
}: {
  readonly seconds: number;
  readonly profile: ProfileName;
  readonly env?: Readonly<Record<string, string>>;
}) {
  const sluice = await startSluice({ env });
  await chooseProfile(sluice, profile);
  const browser = await openBrowser();
  const { rtmp, http, uid, streamKey } = sluice.ready;
  const { page } = await browser.open(`${http}/${uid}/iframe?autoplay=true`, { width: 640, height: 360 });
  await untilState(page, ["waiting"]);
  const publisher = publishClock({ url: `${rtmp}/${streamKey}` });
  try {
    await untilState(page, ["playing"]);
    await pause(page, WARM_SECONDS);
    const pids = ["role ingest", "role origin"].map((words) => descendants(sluice.pid, words));
    const before = { seen: await seen(page), usage: pids.map(usageOf) };
    await watchClock(page);
    await pause(page, seconds);
    const after = { seen: await seen(page), usage: pids.map(usageOf) };
    const { delays, unread } = await delaysOf(page, publisher.startedAt);
    const toGlass = spread(delays);
    const stalls = after.seen.stats.stalls - before.seen.stats.stalls;
    const dropped = after.seen.stats.droppedFrames - before.seen.stats.droppedFrames;
    const cpu = after.usage.map((u, i) => ((u.cpuSeconds - before.usage[i]!.cpuSeconds) / seconds) * 100);
    const megabytes = after.usage.map((u) => u.rssBytes / 2 ** 20);
    return {
      load: `profile ${profile}, 360p30 H.264 and AAC from ffmpeg, one Chromium, ${seconds} s after ${WARM_SECONDS} s of warm-up`,
      ...{ toGlass, stalls, unread, dropped, cpu, megabytes },
      after: after.seen,
      engine: after.seen.stats.engine,
    };
  } finally {
    await publisher.close().catch(() => {});
    await browser.close();
    await sluice.stop();
  }
}

export async function chooseProfile({ ready }: Sluice, profile: ProfileName): Promise<void> {
  await apiOf(() => ready)(`PUT /live_inputs/${ready.uid}`, { profile });
}

/** By the page's own clock. */
function pause(page: Page, seconds: number): Promise<unknown> {
  return page.evaluate((ms) => new Promise((done) => setTimeout(done, ms)), seconds * 1000);
}
