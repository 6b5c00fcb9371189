import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer, type TLSSocket } from "node:tls";
import { afterAll, beforeEach, expect, test } from "vitest";
import { createLogTo } from "../services/lib/log.ts";
import { type Certificates, openCertificates } from "./certs.ts";
import { makeSelfSigned, type Pair } from "./x509.ts";

const day = 86_400_000;
const top = mkdtempSync(join(tmpdir(), "sluice-certs-"));
afterAll(() => rmSync(top, { recursive: true }));

let dir: string;
let said: Said;
beforeEach(() => {
  dir = mkdtempSync(join(top, "t-"));
  said = new Said();
});

/** The log's messages, and a wait for one of them. */
class Said {
  readonly lines: string[] = [];
  readonly log = createLogTo((line) => this.#take(line), "test", "info");
  #wake = Promise.withResolvers<void>();
  #take(line: string): void {
    this.lines.push(line);
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }
  async until(pattern: RegExp): Promise<string> {
    for (;;) {
      const found = this.lines.find((line) => pattern.test(line));
      if (found) return found;
      await this.#wake.promise;
    }
  }
}

const write = (pair: Pair) => {
  writeFileSync(join(dir, "key.pem"), pair.key);
  writeFileSync(join(dir, "cert.pem"), pair.cert);
};
const given = () => ({ dir, cert: join(dir, "cert.pem"), key: join(dir, "key.pem"), log: said.log });
const change = (certificates: Certificates) => new Promise<Pair>((resolve) => certificates.onChange(resolve));

test("a first run makes a self-signed certificate for this machine, and a second one takes the same", async () => {
  const first = await openCertificates({ dir: join(dir, "certs"), log: said.log });
  const pair = first.current();
  await first.close();
  const leaf = new X509Certificate(pair.cert);
  for (const name of ["localhost", hostname()]) expect(leaf.checkHost(name)).toBe(name);
  for (const ip of ["127.0.0.1", "::1"]) expect(leaf.checkIP(ip)).toBe(ip);
  expect(leaf.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: "prime256v1" });
  expect(Date.parse(leaf.validTo) - Date.now()).toBeGreaterThan(390 * day);
  expect(statSync(join(dir, "certs/self-signed.pem")).mode & 0o777).toBe(0o600);
  const second = await openCertificates({ dir: join(dir, "certs"), log: said.log });
  expect(second.current()).toEqual(pair);
  await second.close();
});

test.for([
  {
    name: "ends within a month",
    pem: async () => Object.values(await makeSelfSigned(Date.now() - 370 * day)).join("\n"),
  },
  { name: "is damaged", pem: async () => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" },
])("a self-signed certificate that $name is made anew", async ({ pem }) => {
  const file = join(dir, "self-signed.pem");
  writeFileSync(file, await pem());
  const before = readFileSync(file, "utf8");
  const certificates = await openCertificates({ dir, log: said.log });
  expect(readFileSync(file, "utf8")).not.toBe(before);
  expect(Date.parse(new X509Certificate(certificates.current().cert).validTo)).toBeGreaterThan(
    Date.now() + 390 * day,
  );
  await certificates.close();
});

test("one that browsers know by its hash lives for less than two weeks in all, is kept, and is renewed days before its end", async () => {
  const open = () => openCertificates({ dir, byHash: true, log: said.log });
  const first = await open();
  const { cert } = first.current();
  await first.close();
  const { validFrom, validTo, publicKey } = new X509Certificate(cert);
  expect(Date.parse(validTo) - Date.parse(validFrom)).toBeLessThan(14 * day);
  expect(publicKey.asymmetricKeyDetails).toEqual({ namedCurve: "prime256v1" });
  const second = await open();
  expect(second.current().cert).toBe(cert);
  await second.close();
  const old = await makeSelfSigned(Date.now() - 9 * day, 12);
  writeFileSync(join(dir, "webtransport.pem"), `${old.key}\n${old.cert}\n`);
  const third = await open();
  expect(third.current().cert).not.toBe(old.cert);
  expect(Date.parse(new X509Certificate(third.current().cert).validTo)).toBeGreaterThan(
    Date.now() + 11 * day,
  );
  await third.close();
});

test("a TLS server and a client that trusts it agree on it", async () => {
  const certificates = await openCertificates({ dir, log: said.log });
  const server = createServer(certificates.current(), (socket) => socket.end("hello"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = address && typeof address === "object" ? address.port : 0;
  const client: TLSSocket = connect({
    port,
    host: "127.0.0.1",
    servername: "localhost",
    ca: certificates.current().cert,
  });
  const text = await new Promise((resolve, reject) =>
    client.once("data", (data) => resolve(String(data))).once("error", reject),
  );
  expect(text).toBe("hello");
  client.destroy();
  server.close();
  await certificates.close();
});

test("a new pair in the files is taken without a restart", async () => {
  write(await makeSelfSigned(Date.now()));
  const certificates = await openCertificates(given());
  const next = await makeSelfSigned(Date.now());
  const changed = change(certificates);
  write(next);
  expect(await changed).toEqual({ ...next, trusted: true });
  expect(certificates.current()).toMatchObject(next);
  await certificates.close();
});

test("a new pair that does not belong together is said and not taken", async () => {
  const first = await makeSelfSigned(Date.now());
  write(first);
  const certificates = await openCertificates(given());
  write({ cert: (await makeSelfSigned(Date.now())).cert, key: first.key });
  expect(await said.until(/not usable/)).toContain("the key does not belong to the certificate");
  expect(certificates.current()).toMatchObject(first);
  await certificates.close();
});

test.for([
  { name: "is not there", prepare: () => undefined, says: /^tlsCert: .*cert\.pem cannot be read \(ENOENT/ },
  {
    name: "is no PEM",
    prepare: () => write({ cert: "hello", key: "hello" }),
    says: /cert\.pem and .*key\.pem: not a certificate and its key in PEM/,
  },
])("a first pair that $name is a failure with a sentence", async ({ prepare, says }) => {
  prepare();
  await expect(openCertificates(given())).rejects.toThrow(says);
});
