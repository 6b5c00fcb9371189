import type { Page } from "playwright-core";
import { openBrowser, seen } from "../support/browser.ts";
import { linkOf } from "../support/link.ts";
import { sendMoqTo } from "../support/moq-line.ts";
import { wayTo } from "../support/moq-viewer.ts";
import { startSluice } from "../support/sluice.ts";
import { openUdpLink } from "../support/udp-link.ts";
import { startSource } from "./moq-load.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const ROUNDS = 6;
const RTT_MS = 50;

/** What a page comes by on its way to the first picture, in the order in which it should. */
const steps = ["page", "script", "session", "media", "decodable", "picture"] as const;
type Step = (typeof steps)[number];
/** Milliseconds from the address to each step. */
type Way = Readonly<Record<Step, number>>;

/** From the address of a page to its first picture in Chromium, over lines with a round trip of 50 ms for HTTP and for QUIC. */
export async function moqStart(_: BenchOptions): Promise<Report> {
  const sluice = await startSluice({ env: { SLUICE_MOQ: "true" } });
  const source = await startSource(sluice, { width: 640, height: 360, kbps: 700 });
  const browser = await openBrowser();
  const { http, uid } = sluice.ready;
  const cold: Way[] = [];
  const returning: Way[] = [];
  const engines = new Set<string>();
  const { port: to } = await wayTo(sluice.ready, uid!);
  const link = await openUdpLink({ to, rttMs: RTT_MS });
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const { page, close } = await browser.open("about:blank", { width: 640, height: 360 });
      await (await linkOf(page))({ rttMs: RTT_MS });
      await sendMoqTo(page, link.port);
      await markSteps(page);
      for (const ways of [cold, returning]) {
        const openedAt = Date.now();
        await page.goto(`${http}/${uid}/iframe?autoplay=true&muted=true`, { waitUntil: "commit" });
        ways.push(await wayOf(page, openedAt));
        engines.add((await seen(page)).stats.engine ?? "none");
        await page.goto("about:blank");
      }
      await close();
    }
  } finally {
    await browser.close();
    await source.stop();
    await sluice.stop();
    link.close();
  }
  const [first, again] = [cold, returning].map((ways) => spread(ways.map(({ picture }) => picture)));
  return {
    name: "moq-start",
    load: `360p30 on air, ${ROUNDS} viewers of a new browser profile each, and once more`,
    lines: [
      [`page asked for -> first picture, cold, ${RTT_MS} ms round trip`, showSpread(first!), "<= 1000 ms"],
      ["its steps, p50", stepsOf(cold)],
      ["the same, returning", showSpread(again!), "<= 500 ms"],
      ["its steps, p50", stepsOf(returning)],
      ["engines", [...engines].join(", ")],
    ],
    figures: {
      ...{ rounds: ROUNDS, rttMs: RTT_MS, coldMs: first, returningMs: again, engines: [...engines] },
      ...{ cold, returning },
    },
  };
}

function stepsOf(ways: readonly Way[]): string {
  return steps.map((step) => `${step} ${spread(ways.map((way) => way[step])).p50.toFixed(0)}`).join(", ");
}

/** Has the page note when it comes by each step, from outside of its player. */
async function markSteps(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const marks: Record<string, number> = {};
    Object.assign(window, { marks });
    const mark = (name: string) => {
      marks[name] ??= performance.timeOrigin + performance.now();
    };
    window.WebTransport = new Proxy(WebTransport, {
      construct(target, [url, options]) {
        mark("script");
        const transport = new target(url, options);
        transport.ready.then(
          () => mark("session"),
          () => {},
        );
        return transport;
      },
    });
    const { appendBuffer } = SourceBuffer.prototype;
    SourceBuffer.prototype.appendBuffer = function (bytes: BufferSource) {
      const view = bytes as Uint8Array;
      // What is no init segment.
      if (String.fromCharCode(...view.subarray(4, 8)) === "moof" || view.length > 4096) mark("media");
      appendBuffer.call(this, bytes);
    };
    const { attachShadow } = Element.prototype;
    Element.prototype.attachShadow = function (init) {
      const root = attachShadow.call(this, init);
      // They leave no shadow tree, and are caught on their way down.
      root.addEventListener("loadeddata", () => mark("decodable"), { capture: true });
      root.addEventListener(
        "loadstart",
        ({ target }) => (target as HTMLVideoElement).requestVideoFrameCallback(() => mark("picture")),
        { capture: true },
      );
      return root;
    };
  });
}

/** How long the page took to each step, once its player shows its first picture. */
async function wayOf(page: Page, openedAt: number): Promise<Way> {
  await page.waitForFunction(
    (all) => {
      const { marks = {} } = window as { marks?: object };
      return all.every((step) => step in marks);
    },
    steps.filter((step) => step !== "page"),
    { polling: 10 },
  );
  const at = await page.evaluate(() => {
    const [entry] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
    const { marks } = window as unknown as { marks: Record<Step, number> };
    return { ...marks, page: performance.timeOrigin + entry!.responseEnd };
  });
  return Object.fromEntries(steps.map((step) => [step, at[step] - openedAt])) as Way;
}
