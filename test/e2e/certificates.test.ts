import { createHash, X509Certificate } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type AcmeFake, openAcmeFake } from "../support/acme-fake.ts";
import { type OpenBrowser, openBrowser, seen, untilState, watchFor } from "../support/browser.ts";
import { publish } from "../support/ffmpeg.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

const domain = "live.example.test";
let fake: AcmeFake;
let sluice: Sluice;
let browser: OpenBrowser;

beforeAll(async () => {
  const portOf = (url: string) => Number(new URL(url).port);
  fake = await openAcmeFake({
    ports: () => ({ http: portOf(sluice.ready.http), tls: portOf(sluice.ready.https) }),
  });
  sluice = await startSluice({
    args: ["--domain", domain, "--acme-directory", fake.directory],
    env: { SLUICE_MOQ: "true" },
  });
  await sluice.said(/new sessions see the new certificate/);
  const key = new X509Certificate(fake.middle).publicKey.export({ format: "der", type: "spki" });
  const hash = createHash("sha256").update(key).digest("base64");
  // As if the machine knew who signed, over HTTPS and over QUIC; every other certificate is refused as for any viewer.
  const trust = [`--ignore-certificate-errors-spki-list=${hash}`, "--webtransport-developer-mode"];
  browser = await openBrowser({
    strict: true,
    flags: [...trust, `--host-resolver-rules=MAP ${domain} 127.0.0.1`],
  });
});
afterAll(async () => {
  await browser?.close();
  await sluice?.stop();
  await fake?.close();
});

test("with a certificate that browsers trust, HTTPS and WebTransport need no hash of it", async ({
  onTestFailed,
}) => {
  onTestFailed(() => console.error(sluice.log()));
  const { ready } = sluice;
  const encoder = publish({ url: `${ready.rtmps}/${ready.streamKey}`, size: "640x360", gop: 2 });
  const base = `https://${domain}:${new URL(ready.https).port}`;
  const { page, errors, close } = await browser.open(`${base}/${ready.uid}/watch`);
  await untilState(page, ["playing"]);
  const asked = await page.evaluate(async (uid) => (await fetch(`/${uid}/lifecycle`)).json(), ready.uid);
  expect(asked.moq.hashes).toEqual([]);
  expect((await seen(page)).stats.engine).toBe("Media over QUIC");
  const { before, after } = await watchFor(page, 3);
  expect(after.stats).toMatchObject({ engine: "Media over QUIC", stalls: before.stats.stalls, errors: [] });
  expect(errors).toEqual([]);
  await close();
  await encoder.stop();
});
