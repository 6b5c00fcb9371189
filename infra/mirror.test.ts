import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { listenInternal, sendJson } from "../services/lib/http.ts";
import { createLog } from "../services/lib/log.ts";
import { keepIssued, loadIssued, openCertificates } from "./certs.ts";
import { certificateFor, mirrorCertificate } from "./mirror.ts";
import { makeSelfSigned } from "./x509.ts";

const log = createLog("test", "silent", false);
const secret = "a secret that both machines share";
let folder: string;
const ends: (() => unknown)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-mirror-"));
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
  rmSync(folder, { recursive: true });
});

/** Control's side, which sees every answer that leaves it. */
async function control(dir: string, left: string[]) {
  const certificates = await openCertificates({ dir, domains: ["live.example.test"], log });
  ends.push(() => certificates.close());
  const find = certificateFor(certificates, secret);
  const server = await listenInternal(
    "http://127.0.0.1:0",
    async (request, response) => {
      const have = new URL(request.url!, "http://control").searchParams.get("have")!;
      const answer = await find(have);
      left.push(JSON.stringify(answer));
      sendJson(response, 200, answer);
    },
    { secret },
  );
  ends.push(() => server.close());
  return server.address;
}

/** Settles once the copy in `dir` is this certificate. */
async function copied(dir: string, cert: string): Promise<void> {
  const copy = await openCertificates({ dir, domains: ["live.example.test"], log });
  ends.push(() => copy.close());
  if (copy.current().cert === cert.trim()) return;
  await new Promise<void>((resolve) => {
    copy.onChange((pair) => {
      if (pair.cert === cert.trim()) resolve();
    });
  });
}

test("a machine without control has the certificate that control has, also the next one, and the key travels sealed", async () => {
  const [here, there] = [join(folder, "a"), join(folder, "b")];
  const first = await makeSelfSigned(Date.now());
  await keepIssued(here, first);
  const left: string[] = [];
  const mirror = mirrorCertificate({ dir: there, control: await control(here, left), secret, log });
  ends.push(() => mirror.close());
  await copied(there, first.cert);
  expect(await loadIssued(there)).toEqual(await loadIssued(here));
  const second = await makeSelfSigned(Date.now());
  await keepIssued(here, second);
  await copied(there, second.cert);
  expect((await loadIssued(there))!.key).toBe(second.key);
  expect(left.join("")).not.toContain("PRIVATE");
});
