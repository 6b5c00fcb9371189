import { parseArgs } from "node:util";
import { profileNames } from "../../services/packager/profiles.ts";
import { chooseProfile } from "../bench/latency.ts";
import { showSpread, spread } from "../bench/report.ts";
import { openBrowser, seen, untilState } from "../support/browser.ts";
import { publishClock } from "../support/clock-publisher.ts";
import { delaysOf, watchClock } from "../support/glass.ts";
import { figuresOf, type OutsidePlayer, openSite, players, untilPlaying } from "../support/outside.ts";
import { startSluice } from "../support/sluice.ts";
import { untilLive } from "../support/viewer.ts";

// `node infra/launch.mjs test/conformance/soak.ts --player dash|shaka|shaka-hls|hls --seconds 300`: one player in Chromium for
// that long, encoder to glass. `hls` is our own player. `--profile ultra` is of the live input. Fails when the picture stood
// still once.

const warmSeconds = 10;
const { values } = parseArgs({
  options: {
    player: { type: "string", default: "dash" },
    seconds: { type: "string", default: "300" },
    profile: { type: "string", default: "low" },
  },
});
const names: readonly string[] = [...players, "hls"];
if (!names.includes(values.player)) throw new Error(`--player must be one of ${names.join(", ")}`);
const profile = profileNames.find((one) => one === values.profile);
if (!profile) throw new Error(`--profile must be one of ${profileNames.join(", ")}`);
const seconds = Number(values.seconds);
if (!(seconds > 0)) throw new Error("--seconds must be a number above 0");

const sluice = await startSluice();
const browser = await openBrowser();
const site = await openSite();
const { rtmp, http, uid, streamKey } = sluice.ready;
await chooseProfile(sluice, profile);
const publisher = publishClock({ url: `${rtmp}/${streamKey}` });
try {
  await untilLive(`${http}/${uid}`);
  const own = values.player === "hls";
  const opened = own
    ? await browser.open(`${http}/${uid}/iframe?autoplay=true`, { width: 640, height: 360 })
    : await site.open(browser, values.player as OutsidePlayer, `${http}/${uid}`);
  if (own) await untilState(opened.page, ["playing"]);
  else await untilPlaying(opened);
  const pause = (time: number) =>
    opened.page.evaluate((ms) => new Promise((done) => setTimeout(done, ms)), time * 1000);
  const figures = async () => {
    if (!own) return figuresOf(opened);
    const { stats } = await seen(opened.page);
    return { stalls: stats.stalls, fatal: stats.errors, droppedFrames: stats.droppedFrames };
  };
  await pause(warmSeconds);
  const before = await figures();
  await watchClock(opened.page);
  await pause(seconds);
  const after = await figures();
  const { delays, unread } = await delaysOf(opened.page, publisher.startedAt);
  const stalls = after.stalls - before.stalls;
  console.log(`${values.player}, profile ${profile}, ${seconds} s after ${warmSeconds} s of warm-up`);
  console.log(`  encoder to glass  ${showSpread(spread(delays))}, ${unread} unreadable`);
  console.log(`  stalls            ${stalls}`);
  console.log(`  dropped frames    ${after.droppedFrames - before.droppedFrames}`);
  for (const error of after.fatal) console.log(`  error             ${JSON.stringify(error)}`);
  if (stalls > 0 || after.fatal.length > 0) process.exitCode = 1;
} finally {
  await publisher.close().catch(() => {});
  await site.close();
  await browser.close();
  await sluice.stop();
}
