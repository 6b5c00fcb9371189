import { openBrowser } from "../support/browser.ts";
import { dropAgainAndAgain } from "../support/drops.ts";
import { makeFlv } from "../support/flv.ts";
import { startSluice } from "../support/sluice.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const DROPS = 100;
const ON_SECONDS = 4;

/** An encoder that drops out for 1 to 9 s, a hundred times, before one viewer. */
export async function drops({ seconds }: BenchOptions): Promise<Report> {
  // About nine seconds each.
  const count = seconds === undefined ? DROPS : Math.max(1, Math.round(seconds / 9));
  const made = await makeFlv({ seconds: 10, width: 640, height: 360, kbps: 800 });
  const sluice = await startSluice();
  const browser = await openBrowser();
  const { rtmp, http, uid, streamKey } = sluice.ready;
  try {
    const playback = `${http}/${uid}`;
    const errors: string[] = [];
    const result = await dropAgainAndAgain({
      async open() {
        const opened = await browser.open(`${playback}/iframe?autoplay=true`, {
          width: 640,
          height: 360,
          errors,
        });
        return opened.page;
      },
      playback,
      url: `${rtmp}/${streamKey}`,
      tags: made.tags,
      awaySeconds: Array.from({ length: count }, () => 1 + Math.random() * 8),
      onSeconds: ON_SECONDS,
      onDrop: (number, ms) => process.stderr.write(`\rdrop ${number} of ${count}: ${Math.round(ms)} ms  `),
    });
    process.stderr.write("\n");
    const { before, after } = result;
    const picture = spread(result.pictureMs);
    const reloads = before.loadedAt === after.loadedAt ? 0 : 1;
    return {
      name: "drops",
      load: `${count} absences of 1 to 9 s, ${ON_SECONDS} s apart, 360p30, one Chromium`,
      lines: [
        ["first part listed -> picture", showSpread(picture), "max <= 1000 ms"],
        ["reloads", `${reloads}`, "0"],
        ["player errors", `${after.stats.errors.length + errors.length}`, "0"],
        ["stalls beside the absences", `${after.stats.stalls - before.stats.stalls}`],
        ["behind live, before and after", `${before.latency?.toFixed(2)} s, ${after.latency?.toFixed(2)} s`],
      ],
      figures: {
        count,
        pictureMs: picture,
        reloads,
        errors: [...after.stats.errors, ...errors],
        stalls: after.stats.stalls - before.stats.stalls,
        latencySeconds: { before: before.latency, after: after.latency },
      },
    };
  } finally {
    await browser.close();
    await sluice.stop();
  }
}
