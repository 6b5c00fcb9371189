import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createLogTo } from "../../services/lib/log.ts";
import { type AcmeDoor, openAcmeDoor } from "../../test/support/acme-door.ts";
import { findPebble, type Pebble, startPebble } from "../../test/support/pebble.ts";
import { loadIssued } from "../certs.ts";
import { makeRequest, renewalName } from "../x509.ts";
import { Acme } from "./client.ts";
import { keepCertificate } from "./keeper.ts";
import { accountKey } from "./state.ts";

const program = findPebble();

describe.skipIf(!program)(
  "Let's Encrypt's own test server (go install github.com/letsencrypt/pebble/v2/cmd/pebble@latest)",
  () => {
    let door: AcmeDoor;
    let pebble: Pebble;
    let folder: string;

    beforeAll(async () => {
      door = await openAcmeDoor();
      pebble = await startPebble(program!, door.ports);
      folder = mkdtempSync(join(tmpdir(), "sluice-pebble-test-"));
      tls.setDefaultCACertificates([...tls.getCACertificates("default"), pebble.ca]);
    });
    afterAll(() => {
      pebble?.close();
      door?.close();
      rmSync(folder, { recursive: true, force: true });
    });

    test.for(["http-01", "tls-alpn-01"] as const)(
      "signs for two names after a look over %s, and takes the renewal that names its forerunner",
      { timeout: 60_000 },
      async (challenge) => {
        const dir = join(folder, challenge);
        const domains = [`live.${challenge}.test`, `ingest.${challenge}.test`];
        const first = await issue({ dir, domains, challenge });
        const leaf = new X509Certificate(first);
        for (const domain of domains) expect(leaf.checkHost(domain)).toBe(domain);
        const chain = first.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g)!;
        const root = new X509Certificate(await pebble.root());
        expect(leaf.verify(new X509Certificate(chain[1]!).publicKey)).toBe(true);
        expect(new X509Certificate(chain[1]!).verify(root.publicKey)).toBe(true);
        const { directory } = pebble;
        const acme = new Acme({
          directory,
          accountKey: await accountKey(dir, directory),
          signal: AbortSignal.timeout(30_000),
        });
        const name = (await renewalName(first))!;
        const window = (await acme.renewal(name))!;
        expect(window.from).toBeGreaterThan(Date.now());
        expect(window.to).toBeLessThan(Date.parse(leaf.validTo));
        const { request } = await makeRequest(domains);
        const show = () => Promise.reject(new Error("the names are known"));
        const renewed = await acme.order({ domains, request, kind: challenge, show, replaces: name });
        expect(new X509Certificate(renewed).serialNumber).not.toBe(leaf.serialNumber);
      },
    );

    /** Until there is a certificate; fails with the first problem. */
    async function issue(asked: {
      readonly dir: string;
      readonly domains: readonly string[];
      readonly challenge: "http-01" | "tls-alpn-01";
    }): Promise<string> {
      const done = Promise.withResolvers<void>();
      const keeper = keepCertificate({
        ...{ ...asked, directory: pebble.directory, email: "ops@example.com", httpPort: 80, httpsPort: 443 },
        show: async (shown) => door.challenges.show(shown),
        log: createLogTo(
          (line) => {
            const { msg } = JSON.parse(line) as { msg: string };
            if (/certificate (issued|renewed)/.test(msg)) done.resolve();
            else done.reject(new Error(msg));
          },
          "control",
          "info",
        ),
      });
      try {
        await done.promise;
        return (await loadIssued(asked.dir))!.cert;
      } finally {
        await keeper.close();
      }
    }
  },
);
