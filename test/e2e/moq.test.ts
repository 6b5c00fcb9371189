import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http, { type Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { build } from "vite";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { SluicePlayer } from "../../player/player.ts";
import { descendants } from "../bench/processes.ts";
import { type OpenBrowser, openBrowser, seen, untilState, watchFor } from "../support/browser.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { long } from "../support/long.ts";
import { type Way, wayTo } from "../support/moq-viewer.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const MINUTE = 60_000;

describe("Media over QUIC before a browser", { timeout: 2 * MINUTE }, () => {
  let sluice: Sluice;
  let browser: OpenBrowser;
  let encoder: Publisher;
  let way: Way;

  beforeAll(async () => {
    [sluice, browser] = await Promise.all([startSluice({ env: { SLUICE_MOQ: "true" } }), openBrowser()]);
    encoder = onAir();
    way = await wayTo(sluice.ready, sluice.ready.uid!);
  }, 2 * MINUTE);
  afterEach(() => browser.closePages());
  afterAll(async () => {
    await encoder?.stop();
    await browser?.close();
    await sluice?.stop();
  }, MINUTE);

  async function figure(name: string): Promise<number> {
    const text = await (await fetch(`${sluice.ready.metrics}/metrics`)).text();
    return Number(new RegExp(`^${name}\\{[^}]*\\} (\\S+)`, "m").exec(text)?.[1]);
  }

  function onAir(): Publisher {
    return publish({ url: `${sluice.ready.rtmp}/${sluice.ready.streamKey}`, size: "640x360", gop: 2 });
  }

  test("a person watches half a second behind the encoder, without a stall", async ({ onTestFailed }) => {
    onTestFailed(() => console.error(sluice.log(), encoder.log()));
    const { page, errors, close } = await browser.open(`${sluice.ready.http}/${sluice.ready.uid}/watch`);
    await untilState(page, ["playing"]);
    expect((await seen(page)).stats.engine).toBe("Media over QUIC");
    await watchFor(page, 3);
    const { before, after } = await watchFor(page, 8);
    expect(after.state).toBe("playing");
    expect(await page.locator("#state").textContent()).toBe("Live");
    expect(after.currentTime - before.currentTime).toBeGreaterThan(7.5);
    expect(after.stats.decodedFrames - before.stats.decodedFrames).toBeGreaterThan(8 * 30 * 0.9);
    expect(after.stats.decodedAudioBytes).toBeGreaterThan(before.stats.decodedAudioBytes);
    expect(after.stats).toMatchObject({ stalls: before.stats.stalls, errors: [] });
    expect(after.latency).toBeLessThan(1);
    expect(after.stats.clockLatency).toBeLessThan(1);
    expect(errors).toEqual([]);
    await close();
  });

  test.runIf(long)(
    "an encoder that drops out for a while interrupts the picture and nothing else",
    async ({ onTestFailed }) => {
      onTestFailed(() => console.error(sluice.log(), encoder.log()));
      const { page, close } = await browser.open(`${sluice.ready.http}/${sluice.ready.uid}/watch`);
      await untilState(page, ["playing"]);
      await watchFor(page, 2);
      await encoder.kill();
      await untilState(page, ["reconnecting"]);
      encoder = onAir();
      await untilState(page, ["playing"]);
      const { before, after } = await watchFor(page, 5);
      expect(after.state).toBe("playing");
      expect(after.stats).toMatchObject({ engine: "Media over QUIC", errors: [] });
      expect(after.currentTime - before.currentTime).toBeGreaterThan(4);
      expect(after.latency).toBeLessThan(1.5);
      await close();
    },
  );

  test("a viewer goes back to the beginning, then to a few seconds ago, and returns to what is live", async ({
    onTestFailed,
  }) => {
    onTestFailed(() => console.error(sluice.log()));
    const { page, errors, close } = await browser.open(
      `${sluice.ready.http}/${sluice.ready.uid}/watch?dvrEnabled=true`,
    );
    onTestFailed(async () => console.error(JSON.stringify(await seen(page))));
    await untilState(page, ["playing"]);
    const timeline = () =>
      page.evaluate(() => (document.querySelector("sluice-player") as SluicePlayer).timeline ?? null);
    await expect.poll(timeline).not.toBeNull();
    const { start, end } = (await timeline())!;
    // He came later than that.
    expect(end - start).toBeGreaterThan(12);
    const seek = async (to: number) => {
      await page.evaluate((at) => {
        (document.querySelector("sluice-player") as SluicePlayer).currentTime = at;
      }, to);
      await page.waitForFunction(
        (at) => {
          const { media } = document.querySelector("sluice-player") as SluicePlayer;
          return media.currentTime > at + 0.2 && media.currentTime < at + 4 && !media.seeking;
        },
        to,
        { timeout: 5_000 },
      );
    };
    const fetchedBefore = await figure("sluice_moq_fetched_bytes_total");

    await seek(start);
    const first = await watchFor(page, 5);
    expect(first.after.currentTime - first.before.currentTime).toBeGreaterThan(4.5);
    expect(first.after.currentTime).toBeLessThan(start + 10);
    expect(first.after.stats).toMatchObject({ engine: "Media over QUIC", errors: [], warnings: [] });
    const fetched = (await figure("sluice_moq_fetched_bytes_total")) - fetchedBefore;
    // Some seconds ahead, of 460 kb/s.
    expect(fetched).toBeGreaterThan(200_000);
    const now = (await timeline())!;
    expect(now.start).toBe(start);
    expect(now.end - end).toBeGreaterThan(5);

    // So near that what is live comes up behind it.
    await seek(now.end - 7);
    const second = await watchFor(page, 6);
    expect(second.after.currentTime - second.before.currentTime).toBeGreaterThan(5.5);
    const behind = (await timeline())!.end - second.after.currentTime;
    expect(behind).toBeGreaterThan(4);
    expect(behind).toBeLessThan(10);

    await page.getByRole("button", { name: /live/i }).click();
    await page.waitForFunction(
      () => ((document.querySelector("sluice-player") as SluicePlayer).latency ?? 9) < 2,
      undefined,
      { timeout: 5_000 },
    );
    const { before, after } = await watchFor(page, 3);
    expect(after.currentTime - before.currentTime).toBeGreaterThan(2.5);
    expect(after.latency).toBeLessThan(1.5);
    expect(after.stats).toMatchObject({ engine: "Media over QUIC", errors: [], warnings: [] });
    expect(after.stats.stallSeconds).toBeLessThan(1);
    expect(errors).toEqual([]);
    await close();
  });

  test("a relay that dies costs a moment: LL-HLS goes on where the picture stood, and Media over QUIC when it is back", async ({
    onTestFailed,
  }) => {
    onTestFailed(() => console.error(sluice.log()));
    const { page, close } = await browser.open(`${sluice.ready.http}/${sluice.ready.uid}/watch`);
    await untilState(page, ["playing"]);
    expect((await seen(page)).stats.engine).toBe("Media over QUIC");
    // Half a minute is kept from it otherwise.
    await page.evaluate(() => sessionStorage.setItem("sluice.moq-avoid-ms", "4000"));
    await watchFor(page, 2);
    await noteShown(page);
    for (const pid of descendants(sluice.pid, "role relay")) process.kill(pid, "SIGKILL");
    // A peer that is killed says nothing: the stall is what tells.
    await onEngine(page, /LL-HLS/);
    await untilState(page, ["playing"]);
    const { before, after } = await watchFor(page, 2);
    expect(after.currentTime - before.currentTime).toBeGreaterThan(1);
    expect(after.latency).toBeLessThan(4);
    await onEngine(page, /Media over QUIC/);
    await untilState(page, ["playing"]);
    const back = await watchFor(page, 3);
    expect(back.after.state).toBe("playing");
    expect(back.after.currentTime - back.before.currentTime).toBeGreaterThan(2);
    expect(back.after.stats).toMatchObject({ engine: "Media over QUIC", errors: [] });
    expect(back.after.latency).toBeLessThan(3);
    const runs = await runsOf(page);
    expect(runs, JSON.stringify(runs)).toHaveLength(3);
    const [first, second] = [runs[1]!.from - runs[0]!.to, runs[2]!.from - runs[1]!.to];
    // Hardly more than a part is left out, and nothing shown twice; on the way back as far as the relay still has it.
    expect(Math.abs(first), JSON.stringify(runs)).toBeLessThan(1);
    expect(second).toBeGreaterThan(-0.3);
    expect(second).toBeLessThan(2.5);
    await close();
    way = await wayTo(sluice.ready, sluice.ready.uid!);
  });

  test("a relay that dies under a viewer who went back leaves him there: LL-HLS goes on where he was", async ({
    onTestFailed,
  }) => {
    onTestFailed(() => console.error(sluice.log()));
    const { page, close } = await browser.open(
      `${sluice.ready.http}/${sluice.ready.uid}/watch?dvrEnabled=true`,
    );
    onTestFailed(async () => console.error(JSON.stringify(await seen(page))));
    await untilState(page, ["playing"]);
    const to = await page.evaluate(() => {
      const player = document.querySelector("sluice-player") as SluicePlayer;
      const at = player.timeline!.end - 12;
      player.currentTime = at;
      return at;
    });
    await page.waitForFunction((from) => {
      const { media } = document.querySelector("sluice-player") as SluicePlayer;
      return !media.seeking && media.currentTime > from + 0.5 && media.currentTime < from + 3;
    }, to);
    expect((await seen(page)).stats.engine).toBe("Media over QUIC");
    await noteShown(page);
    for (const pid of descendants(sluice.pid, "role relay")) process.kill(pid, "SIGKILL");
    await onEngine(page, /LL-HLS/);
    await untilState(page, ["playing"]);
    const { before, after } = await watchFor(page, 2);
    expect(after.currentTime - before.currentTime).toBeGreaterThan(1.5);
    expect(after.stats.errors).toEqual([]);
    const runs = await runsOf(page);
    expect(runs, JSON.stringify(runs)).toHaveLength(2);
    // Nothing is left out, and hardly anything comes twice.
    expect(Math.abs(runs[1]!.from - runs[0]!.to), JSON.stringify(runs)).toBeLessThan(1);
    await close();
    way = await wayTo(sluice.ready, sluice.ready.uid!);
  });

  describe("clients that others wrote", () => {
    let server: Server;
    let fingerprint: Server;
    let at: string;

    beforeAll(async () => {
      const folder = mkdtempSync(join(tmpdir(), "sluice-outside-"));
      await build({
        root: fileURLToPath(new URL("../support", import.meta.url)),
        configFile: false,
        logLevel: "error",
        build: {
          outDir: folder,
          target: "es2022",
          lib: { entry: "moq-page.ts", formats: ["es"], fileName: () => "page.js" },
        },
      });
      const script = readFileSync(join(folder, "page.js"));
      rmSync(folder, { recursive: true });
      const shaka = readFileSync(
        createRequire(import.meta.url).resolve("shaka-player/dist/shaka-player.experimental.js"),
      );
      server = http.createServer(({ url }, response) => {
        if (url === "/fingerprint") return response.end(asked([]).hash);
        if (url === "/shaka.js") return response.setHeader("content-type", "text/javascript").end(shaka);
        if (url === "/shaka") {
          response.setHeader("content-type", "text/html");
          return response.end('<!doctype html><video muted></video><script src="/shaka.js"></script>');
        }
        response.setHeader("content-type", url === "/page.js" ? "text/javascript" : "text/html");
        response.end(
          url === "/page.js" ? script : '<!doctype html><script type="module" src="/page.js"></script>',
        );
      });
      at = `http://127.0.0.1:${await listen(server, 0)}/`;
      // Where @moq/watch looks for the hash of a certificate of one's own: at the same number over TCP.
      fingerprint = http.createServer((_request, response) => {
        response.setHeader("access-control-allow-origin", "*");
        response.end(Buffer.from(way.hashes[0]!, "base64").toString("hex"));
      });
      await listen(fingerprint, way.port);
    }, MINUTE);
    afterAll(() => {
      server?.close();
      fingerprint?.close();
    });

    const asked = (protocols: readonly string[]) => ({
      protocols,
      url: `https://127.0.0.1:${way.port}/${sluice.ready.uid}`,
      hash: Buffer.from(way.hashes[0]!, "base64").toString("hex"),
      namespace: way.namespace,
    });

    test.for([
      { version: "moq-transport-16", protocols: ["moqt-16"] },
      { version: "moq-transport-14", protocols: [] },
    ])(
      "@moq/net reads the catalog and every track that it names in $version",
      async (draft, { onTestFailed }) => {
        onTestFailed(() => console.error(sluice.log()));
        const { page, close } = await browser.open(at);
        await page.waitForFunction(() => "outside" in window);
        const { version, tracks } = await page.evaluate((ask) => outside.read(ask), asked(draft.protocols));
        expect(version).toBe(draft.version);
        expect(Object.keys(tracks).sort()).toEqual(["audio.0", "source.0"]);
        // Each object begins with a box `moof`.
        for (const objects of Object.values(tracks))
          expect(objects.map((object) => String.fromCharCode(...object.slice(4)))).toEqual([
            "moof",
            "moof",
            "moof",
          ]);
        await close();
      },
    );

    test.for([
      { draft: 16, protocols: ["moqt-16"] },
      { draft: 14, protocols: [] },
    ])("@moq/watch shows a picture that moves in draft $draft", async ({ protocols }, { onTestFailed }) => {
      onTestFailed(() => console.error(sluice.log()));
      const { page, close } = await browser.open(at);
      await page.waitForFunction(() => "outside" in window);
      await page.evaluate((ask) => outside.watch(ask), asked(protocols));
      await page.waitForFunction(() => outside.pixels() > 0, undefined, { timeout: 15_000 });
      const first = await page.evaluate(() => outside.pixels());
      await page.waitForFunction((before) => ![0, before].includes(outside.pixels()), first);
      await close();
    });

    // In draft 16 its GROUP_ORDER is 0, with which a session has to end (draft 16 9.2.2.6).
    test("Shaka Player shows a picture that moves in draft 14", async ({ onTestFailed }) => {
      onTestFailed(() => console.error(sluice.log()));
      const { page, close } = await browser.open(`${at}shaka`);
      await page.waitForFunction(() => "shaka" in window);
      const { url, namespace } = asked([]);
      await page.evaluate(
        async ({ url, namespace }) => {
          // biome-ignore lint/suspicious/noExplicitAny: a library of others without types here.
          const { shaka } = window as any;
          const player = new shaka.Player();
          await player.attach(document.querySelector("video"));
          const msf = { fingerprintUri: "/fingerprint", namespaces: [namespace], version: "draft-14" };
          player.configure({ manifest: { msf } });
          await player.load(url, null, "application/msf");
          await document.querySelector("video")!.play();
        },
        { url, namespace },
      );
      await page.waitForFunction(() => document.querySelector("video")!.currentTime > 0);
      const first = await page.evaluate(() => document.querySelector("video")!.currentTime);
      await page.waitForFunction((was) => document.querySelector("video")!.currentTime > was + 2, first);
      await close();
    });
  });

  test("a certificate that is renewed under viewers disturbs nobody, and whoever comes after them is told the new one", async ({
    onTestFailed,
  }) => {
    onTestFailed(() => console.error(sluice.log()));
    const { http: base, uid } = sluice.ready;
    const open = async () => {
      const opened = await browser.open(`${base}/${uid}/iframe?autoplay=true&muted=true`);
      await untilState(opened.page, ["playing"]);
      expect((await seen(opened.page)).stats.engine).toBe("Media over QUIC");
      return opened;
    };
    const before = await wayTo(sluice.ready, uid!);
    const first = await open();
    const renewed = sluice.log().split("certificate reloaded").length;
    // As when its last days have come.
    rmSync(join(sluice.dataDir, "certs", "webtransport.pem"));
    await expect.poll(() => sluice.log().split("certificate reloaded").length).toBe(renewed + 1);
    // The port has one certificate, which is good for days: until nobody watches it is what comers are told.
    const second = await open();
    for (const { page } of [first, second]) {
      const { before, after } = await watchFor(page, 2);
      expect(after.currentTime - before.currentTime).toBeGreaterThan(1);
      expect(after.stats).toMatchObject({ engine: "Media over QUIC", errors: [], warnings: [] });
    }
    for (const { page } of [first, second])
      await page.evaluate(() => document.querySelector("sluice-player")!.remove());
    await sluice.said(/new sessions see the new certificate/);
    const hashes = async () => (await wayTo(sluice.ready, uid!)).hashes;
    await expect.poll(hashes, { timeout: 10_000 }).not.toEqual(before.hashes);
    const third = await open();
    expect(third.errors).toEqual([]);
    for (const { close } of [first, second, third]) await close();
  });

  test("the end of the broadcast is shown as its end", async ({ onTestFailed }) => {
    onTestFailed(() => console.error(sluice.log()));
    const { page, errors, close } = await browser.open(`${sluice.ready.http}/${sluice.ready.uid}/watch`);
    await untilState(page, ["playing"]);
    expect((await seen(page)).stats.engine).toBe("Media over QUIC");
    await watchFor(page, 2);
    await encoder.stop();
    await untilState(page, ["ended"]);
    const end = await seen(page);
    expect(end.text).toBe("The broadcast has ended");
    expect(end.stats.errors).toEqual([]);
    expect(errors).toEqual([]);
    await close();
  });
});

/** What was on screen at one moment. */
interface Shown {
  /** Media seconds. */
  readonly at: number;
  readonly engine: string;
}

/** Has the page remember what is on its screen from now on. */
async function noteShown(page: Page): Promise<void> {
  await page.evaluate(() => {
    const player = document.querySelector("sluice-player") as SluicePlayer;
    const shown: Shown[] = [];
    Object.assign(window, { shown });
    setInterval(() => {
      const { readyState, seeking, currentTime } = player.media;
      // Until another picture is there the last one of the engine before is what is seen.
      if (readyState >= 2 && !seeking && currentTime > 0)
        shown.push({ at: currentTime, engine: player.stats.engine ?? "" });
    }, 40);
  });
}

/** From where to where each engine has played since `noteShown`. */
async function runsOf(page: Page): Promise<{ engine: string; from: number; to: number }[]> {
  const shown = await page.evaluate(() => (window as unknown as { shown: Shown[] }).shown);
  const runs: { engine: string; from: number; to: number }[] = [];
  for (const { at, engine } of shown) {
    const run = runs.at(-1);
    if (run?.engine === engine) run.to = at;
    else runs.push({ engine, from: at, to: at });
  }
  return runs;
}

async function onEngine(page: Page, name: RegExp): Promise<void> {
  await page.waitForFunction(
    (wanted) =>
      new RegExp(wanted).test((document.querySelector("sluice-player") as SluicePlayer).stats.engine ?? ""),
    name.source,
    { timeout: 25_000 },
  );
}

/** What test/support/moq-page.ts puts into its window. */
declare const outside: {
  read(asked: object): Promise<{ version: string; tracks: Record<string, number[][]> }>;
  watch(asked: object): void;
  pixels(): number;
};

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}
