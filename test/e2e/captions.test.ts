import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from "vitest";
import { type FlvTag, writeScript } from "../../services/packager/flv.ts";
import { apiOf } from "../support/api.ts";
import { type OpenBrowser, type OpenPage, openBrowser, seen, untilState } from "../support/browser.ts";
import { popOn, withCaptions } from "../support/captions.ts";
import { audioEncoders, encode, tagsOf, videoEncoders } from "../support/encoded.ts";
import { long } from "../support/long.ts";
import { figuresOf, openSite, players, untilPlaying } from "../support/outside.ts";
import { type Sender, startSender } from "../support/sender.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { openViewer, untilLive, type Viewer } from "../support/viewer.ts";

const minute = 60_000;
let sluice: Sluice;
let browser: OpenBrowser;
let page: OpenPage | undefined;
let sender: Sender | undefined;

beforeAll(async () => {
  sluice = await startSluice({ env: { SLUICE_LADDER: "default" } });
  browser = await openBrowser();
}, 2 * minute);
afterAll(async () => {
  await browser?.close();
  await sluice?.stop();
}, minute);
afterEach(async () => {
  await page?.close();
  await sender?.close();
});

test("captions in the pictures are declared, are in every rung as ffmpeg reads them, and are shown by the button", {
  timeout: 2 * minute,
}, async () => {
  onTestFailed(() => console.error(sluice.log()));
  const coded = await encode({
    seconds: 6,
    size: "640x480",
    video: [videoEncoders.avc1],
    audio: [audioEncoders.mp4a],
  });
  const tags = withCaptions(tagsOf(coded), popOn("Hello from the pictures."));
  sender = await startSender(`${sluice.ready.rtmp}/${sluice.ready.streamKey}`, tags);
  const { http, uid } = sluice.ready;
  const viewer = await openViewer(`${http}/${uid}`);
  expect(viewer.text).toContain('TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="CC1"');
  const variants = viewer.text.split("\n").filter((line) => line.startsWith("#EXT-X-STREAM-INF"));
  expect(variants.filter((line) => line.includes('CLOSED-CAPTIONS="cc"')).length).toBe(variants.length - 1);
  const mpd = await (await fetch(`${http}/${uid}/manifest/video.mpd`)).text();
  expect(mpd).toContain('<Accessibility schemeIdUri="urn:scte:dash:cc:cea-608:2015" value="CC1=und"/>');

  for (const name of ["source", "360p"])
    expect(await readByFfmpeg(viewer, name), name).toContain("Hello from the pictures.");

  page = await browser.open(`${http}/${uid}/watch`);
  await untilState(page.page, ["playing"], 20_000);
  await page.page.getByRole("button", { name: "Captions (c)" }).waitFor({ state: "attached" });
  await page.page.keyboard.press("c");
  const texts = () =>
    page!.page.evaluate(() => {
      const video = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
      const [track] = [...video.textTracks].filter(({ mode }) => mode === "showing");
      return [...(track?.cues ?? [])].map((cue) => (cue as VTTCue).text.trim());
    });
  // Three of them, so that none is lost between the parts of a segment. Where he began one may have been under way.
  const words = "Hello from the pictures.";
  const whole = async () => (await texts()).filter((text) => text === words).length;
  await expect.poll(whole, { timeout: 15_000 }).toBeGreaterThan(2);
  expect((await texts()).filter((text) => !words.endsWith(text))).toEqual([]);
  expect(page.errors).toEqual([]);
  expect(viewer.judge.violations).toEqual([]);
});

const ways = [
  { way: "LL-HLS", profile: "low" as const },
  ...(long
    ? [
        // Media over QUIC has none: its player goes over to playlists.
        { way: "Media over QUIC", profile: "low" as const },
        { way: "HLS", profile: "safe" as const },
      ]
    : []),
];

test.for(ways)(
  "captions that begin while somebody watches by $way, whose list said that there are none, are offered and shown",
  {
    timeout: 2 * minute,
  },
  async ({ way, profile }) => {
    const own = await startSluice({ env: { SLUICE_MOQ: String(way === "Media over QUIC") } });
    onTestFailed(() => console.error(own.log()));
    try {
      await apiOf(() => own.ready)(`PUT /live_inputs/${own.ready.uid}`, { profile });
      const coded = await encode({
        seconds: 16,
        size: "640x360",
        video: [videoEncoders.avc1],
        audio: [audioEncoders.mp4a],
      });
      const bare = tagsOf(coded);
      const spoken = withCaptions(bare, popOn("Better late."));
      const late = bare.map((tag, i) => (tag.timestampMs < 8_000 ? tag : spoken[i]!));
      const tags = [...late, ...[9_000, 11_500, 14_000].map((at) => said(at, "Written late."))];
      tags.sort((a, b) => a.timestampMs - b.timestampMs);
      sender = await startSender(`${own.ready.rtmp}/${own.ready.streamKey}`, tags);
      const playback = `${own.ready.http}/${own.ready.uid}`;
      await untilLive(playback);
      const list = await (await fetch(`${playback}/manifest/video.m3u8`)).text();
      expect(list).toContain("CLOSED-CAPTIONS=NONE");
      expect(list).not.toContain("TYPE=SUBTITLES");
      const manifest = async () => (await fetch(`${playback}/manifest/video.mpd`)).text();
      expect(await manifest()).not.toContain('contentType="text"');
      page = await browser.open(`${playback}/watch`);
      await untilState(page.page, ["playing"], 20_000);
      expect((await seen(page.page)).stats.engine).toContain(way);
      const button = page.page.getByRole("button", { name: "Captions (c)" });
      expect(await button.count()).toBe(0);
      await button.waitFor({ state: "attached", timeout: 20_000 });
      await choose(page, "CC1");
      await expect.poll(() => shownIn(page!), { timeout: 15_000 }).toContain("CC1: Better late.");
      await choose(page, "en");
      await expect.poll(() => shownIn(page!), { timeout: 15_000 }).toContain("en: Written late.");
      // Whoever comes now is told, and who has come by a manifest that is read again.
      const later = await (await fetch(`${playback}/manifest/video.m3u8`)).text();
      expect(later).toContain('TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="CC1"');
      expect(later).toContain('TYPE=SUBTITLES,GROUP-ID="text",NAME="en",LANGUAGE="en"');
      await expect.poll(manifest, { timeout: 10_000 }).toContain('contentType="text"');
      expect(page.errors).toEqual([]);
    } finally {
      await sender?.close();
      await own.stop();
    }
  },
);

test("words beside the media are listed, shown by the button, and shown by players that others wrote", {
  timeout: 3 * minute,
}, async () => {
  onTestFailed(() => console.error(sluice.log()));
  const coded = await encode({
    seconds: 6,
    size: "640x360",
    video: [videoEncoders.avc1],
    audio: [audioEncoders.mp4a],
  });
  const words = [200, 2_100, 4_050].map((at) => said(at, `Said at ${at} & heard`));
  const tags = [...tagsOf(coded), ...words].sort((a, b) => a.timestampMs - b.timestampMs);
  sender = await startSender(`${sluice.ready.rtmp}/${sluice.ready.streamKey}`, tags);
  const { http, uid } = sluice.ready;
  const viewer = await openViewer(`${http}/${uid}`);
  expect(viewer.text).toContain('TYPE=SUBTITLES,GROUP-ID="text",NAME="en",LANGUAGE="en"');
  const segments = await viewer.follow("text", (all) => all.length >= 4, 20_000);
  const whole = Buffer.from(await viewer.fetch("text", segments[1]!)).toString();
  expect(whole).toContain("&amp; heard");
  expect(await subtitlesByFfmpeg(whole)).toContain("& heard");

  page = await browser.open(`${http}/${uid}/watch`);
  await untilState(page.page, ["playing"], 20_000);
  await page.page.getByRole("button", { name: "Captions (c)" }).waitFor({ state: "attached" });
  await page.page.keyboard.press("c");
  const heard = /^Said at (200|2100|4050) & heard$/;
  const shown = (where: OpenPage) =>
    where.page.evaluate(() => {
      const video =
        document.querySelector("sluice-player")?.shadowRoot?.querySelector("video") ??
        document.querySelector("video")!;
      const lists = [...video.textTracks].filter(({ mode }) => mode !== "disabled");
      return lists.flatMap(({ activeCues }) =>
        // As a reader sees it.
        [...(activeCues ?? [])].map((cue) => (cue as VTTCue).getCueAsHTML().textContent),
      );
    });
  await expect.poll(() => shown(page!), { timeout: 15_000 }).toEqual([expect.stringMatching(heard)]);
  expect(page.errors).toEqual([]);
  expect(viewer.judge.violations).toEqual([]);

  const site = await openSite();
  try {
    for (const player of players) {
      const other = await site.open(browser, player, `${http}/${uid}`);
      await untilPlaying(other);
      await other.page.evaluate(() => {
        // biome-ignore lint/suspicious/noExplicitAny: of scripts of the page
        const { player } = (window as any).outside;
        if (player.getTextTracks) player.selectTextTrack(player.getTextTracks()[0]);
        else player.setTextTrack(0);
      });
      await expect
        .poll(() => shown(other), { timeout: 15_000, message: player })
        .toEqual([expect.stringMatching(heard)]);
      expect((await figuresOf(other)).fatal).toEqual([]);
      await other.close();
    }
  } finally {
    await site.close();
  }
});

function said(timestampMs: number, text: string): FlvTag {
  return { type: "script", timestampMs, payload: writeScript("onTextData", { text, language: "en" }) };
}

/** Shows the track of this name as soon as it is there, as a browser's own menu does. */
async function choose({ page }: OpenPage, name: string): Promise<void> {
  await page.waitForFunction(
    (wanted) => {
      const video = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
      const found = [...video.textTracks].find(({ label }) => label === wanted);
      for (const track of video.textTracks) if (found && track !== found) track.mode = "disabled";
      if (found) found.mode = "showing";
      return found !== undefined;
    },
    name,
    { timeout: 20_000, polling: 100 },
  );
}

/** Each cue of the track that is shown, with the track's name. */
function shownIn({ page }: OpenPage): Promise<string[]> {
  return page.evaluate(() => {
    const video = document.querySelector("sluice-player")!.shadowRoot!.querySelector("video")!;
    const [track] = [...video.textTracks].filter(({ mode }) => mode === "showing");
    return [...(track?.cues ?? [])].map((cue) => `${track!.label}: ${(cue as VTTCue).text.trim()}`);
  });
}

/** What ffmpeg makes of a segment of WebVTT. */
async function subtitlesByFfmpeg(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-words-"));
  try {
    const file = join(folder, "a.vtt");
    await writeFile(file, text);
    return (await promisify(execFile)("ffmpeg", ["-v", "error", "-i", file, "-f", "srt", "-"])).stdout;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What ffmpeg reads of the captions of a few segments. */
async function readByFfmpeg(viewer: Viewer, name: string): Promise<string> {
  const segments = await viewer.follow(name, (all) => all.filter(({ gap }) => !gap).length >= 4, 40_000);
  const media = segments.filter(({ gap }) => !gap);
  const init = await fetch(new URL("init.mp4", media[0]!.uri));
  const pieces: Uint8Array[] = [new Uint8Array(await init.arrayBuffer())];
  for (const segment of media) pieces.push(await viewer.fetch(name, segment));
  const folder = await mkdtemp(join(tmpdir(), "sluice-captions-"));
  try {
    const file = join(folder, "a.mp4");
    await writeFile(file, Buffer.concat(pieces));
    const words = [
      "-v",
      "error",
      "-f",
      "lavfi",
      "-i",
      `movie=${file}[out0+subcc]`,
      "-map",
      "0:s",
      "-f",
      "srt",
      "-",
    ];
    return (await promisify(execFile)("ffmpeg", words)).stdout;
  } finally {
    await rm(folder, { recursive: true });
  }
}
