import { X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLogTo } from "../../services/lib/log.ts";
import { type AcmeDoor, openAcmeDoor } from "../../test/support/acme-door.ts";
import { type AcmeFake, type AcmeFakeOptions, openAcmeFake } from "../../test/support/acme-fake.ts";
import { loadIssued, openCertificates } from "../certs.ts";
import { renewalName } from "../x509.ts";
import { type KeeperOptions, keepCertificate, renewalAt } from "./keeper.ts";

let dir: string;
let door: AcmeDoor;
let fake: AcmeFake;
let said: string[];
let heard: () => void;
const ends: (() => unknown)[] = [];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "sluice-acme-"));
  door = await openAcmeDoor();
  said = [];
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
  door.close();
  rmSync(dir, { recursive: true });
});

const authority = async (options: Partial<AcmeFakeOptions> = {}) => {
  fake = await openAcmeFake({ ports: () => door.ports, ...options });
  ends.push(() => fake.close());
};
const log = createLogTo(
  (line) => {
    said.push(line);
    heard?.();
  },
  "control",
  "info",
);

/** Resolves with the first line of the log, past or to come, that `pattern` finds. */
async function line(pattern: RegExp): Promise<string> {
  for (;;) {
    const found = said.find((one) => pattern.test(one));
    if (found) return found;
    await new Promise<void>((resolve) => {
      heard = resolve;
    });
  }
}

function keep(options: Partial<KeeperOptions> = {}) {
  const keeper = keepCertificate({
    ...{ dir, domains: ["live.example.test"], directory: fake.directory, challenge: "http-01" as const },
    ...{ httpPort: 8080, httpsPort: 8443, log },
    show: async (shown) => door.challenges.show(shown),
    ...options,
  });
  ends.push(() => keeper.close());
  return keeper;
}

test.for(["http-01", "tls-alpn-01"] as const)(
  "a certificate for two names comes over %s, with its key in one file that nobody else may read",
  async (challenge) => {
    await authority();
    const domains = ["live.example.test", "ingest.example.test"];
    keep({ challenge, domains });
    await line(/certificate issued/);
    expect(fake.looked).toEqual(domains.map((domain) => `${challenge} ${domain}: valid`));
    const pair = (await loadIssued(dir))!;
    const leaf = new X509Certificate(pair.cert);
    for (const domain of domains) expect(leaf.checkHost(domain)).toBe(domain);
    expect(pair.cert.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    for (const name of readdirSync(dir)) expect(statSync(join(dir, name)).mode & 0o777, name).toBe(0o600);
    expect(said.join("")).not.toMatch(/PRIVATE KEY/);
  },
);

test("what is shown for a check is gone after it, and a viewer who comes during one is served as ever", async () => {
  await authority();
  let during: string | undefined;
  keep({
    challenge: "tls-alpn-01",
    show: async (shown) => {
      door.challenges.show(shown);
      if (Object.keys(shown.tls).length > 0) during = await hello(door.ports.tls, ["http/1.1"]);
    },
  });
  await line(/certificate issued/);
  expect(during).toBe("hello");
  await expect(hello(door.ports.tls, ["acme-tls/1"])).resolves.toBe("hello");
});

test("a nonce that is too old at every first try costs a second one and nothing else", async () => {
  await authority();
  fake.faults.badNonce = true;
  keep();
  await line(/certificate issued/);
  expect(fake.issued).toHaveLength(1);
});

test("an authority that wants an account of its customer's takes the one that it gave out, and says so to others", async () => {
  const binding = { kid: "kid-1", key: Buffer.from("a key that nobody guesses").toString("base64url") };
  await authority({ binding });
  const first = keep();
  expect(await line(/no new certificate/)).toContain("set acmeEabKid and acmeEabSecret");
  await first.close();
  rmSync(join(dir, "acme.json"));
  keep({ binding });
  await line(/certificate issued/);
});

test("the account's key stays, so a second certificate opens no second account", async () => {
  await authority();
  await run();
  const key = readFileSync(join(dir, readdirSync(dir).find((name) => name.startsWith("account-"))!), "utf8");
  rmSync(join(dir, "issued.pem"));
  said = [];
  await run();
  expect(readFileSync(join(dir, readdirSync(dir).find((name) => name.startsWith("account-"))!), "utf8")).toBe(
    key,
  );
});

test.for([
  { type: "connection", says: /TCP port 80 of live\.example\.test has to lead to .* port 8080/ },
  { type: "unauthorized", says: /another server answers for live\.example\.test: its DNS record/ },
  { type: "dns", says: /give it an A or AAAA record/ },
  { type: "caa", says: /a CAA record in the DNS of live\.example\.test forbids it/ },
])("a check that ends in $type says what to change", async ({ type, says }) => {
  await authority();
  fake.faults.invalid = type;
  keep();
  expect(await line(/no new certificate/)).toMatch(says);
});

test("left the choice, the other way is tried when the first one fails", { timeout: 20_000 }, async () => {
  await authority();
  keep({
    challenge: "auto",
    show: async (shown) => door.challenges.show({ ...shown, http: {} }),
  });
  await line(/certificate issued/);
  expect(fake.looked.map((one) => one.split(" ")[0])).toEqual(["http-01", "tls-alpn-01"]);
});

test("who is told to wait waits, and a restart does not shorten it", async () => {
  await authority();
  fake.faults.rateLimited = 3_000;
  const keeper = keep();
  expect(await line(/no new certificate/)).toMatch(/too many certificates/);
  await keeper.close();
  const state = JSON.parse(readFileSync(join(dir, "acme.json"), "utf8"));
  expect(state.notBefore - Date.now()).toBeGreaterThan(2_900_000);
  fake.faults.rateLimited = 0;
  const asked = fake.requests.length;
  await keep().close();
  expect(fake.requests.length).toBe(asked);
});

test("an authority that cannot be reached is named, and asked again soon", async () => {
  await authority();
  const { directory } = fake;
  await fake.close();
  keep({ directory });
  const told = JSON.parse(await line(/no new certificate/));
  expect(told.msg).toMatch(/cannot be reached: let this machine out to it over HTTPS/);
  expect(Date.parse(told.nextTry) - Date.now()).toBeLessThan(31_000);
});

test("nobody is asked before somebody can be shown anything", async () => {
  await authority();
  let up = false;
  const tried = Promise.withResolvers<void>();
  keep({
    show: async (shown) => {
      tried.resolve();
      if (!up) throw new Error("nobody listens");
      door.challenges.show(shown);
    },
  });
  await tried.promise;
  expect(fake.requests).toEqual([]);
  up = true;
  await line(/certificate issued/);
});

test("a certificate with a third of its life left is renewed, names what it replaces, and whoever serves it has the new one", async () => {
  await authority({ lifeMs: 3_000 });
  const certificates = await openCertificates({ dir, domains: ["live.example.test"], log });
  ends.push(() => certificates.close());
  expect(certificates.current().trusted).toBe(false);
  const news: string[] = [];
  const second = Promise.withResolvers<void>();
  certificates.onChange(({ cert, trusted }) => {
    if (trusted) news.push(new X509Certificate(cert).fingerprint256);
    if (new Set(news).size === 2) second.resolve();
  });
  keep();
  await second.promise;
  expect(fake.replaced[0]).toBe(await renewalName(fake.issued[0]!));
  expect(certificates.current().trusted).toBe(true);
});

test("the moment of renewal leaves a third of the life, and is not the same for everybody", async () => {
  await authority({ lifeMs: 90 * 86_400_000 });
  await run();
  const { cert } = (await loadIssued(dir))!;
  const left = (chance: number) =>
    (Date.parse(new X509Certificate(cert).validTo) - renewalAt(cert, chance)) / 86_400_000;
  expect(left(0)).toBeCloseTo(30, 1);
  expect(left(1)).toBeCloseTo(34.5, 1);
});

test("an authority that wants a renewal now has it now", async () => {
  await authority();
  await run();
  fake.window = { from: Date.now() - 7_200_000, to: Date.now() - 3_600_000 };
  said = [];
  keep();
  await line(/certificate renewed/);
  expect(fake.issued).toHaveLength(2);
});

test("another list of names gets another certificate at once", async () => {
  await authority();
  await run();
  said = [];
  keep({ domains: ["live.example.test", "more.example.test"] });
  await line(/certificate issued/);
  expect(new X509Certificate((await loadIssued(dir))!.cert).checkHost("more.example.test")).toBeDefined();
});

/** One keeper until it has a certificate. */
async function run(): Promise<void> {
  const keeper = keep();
  await line(/certificate issued/);
  await keeper.close();
}

/** What the TLS port says to a client of these protocols. */
function hello(port: number, ALPNProtocols: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols });
    socket.once("data", (data) => resolve(String(data))).once("error", reject);
  });
}
