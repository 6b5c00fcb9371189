import { createHash, X509Certificate } from "node:crypto";
import { hostname } from "node:os";

/** A certificate chain, its own certificate first, and its private key, both PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

const day = 86_400_000;
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
/** RFC 8737 6.1. */
const acmeIdentifier = "1.3.6.1.5.5.7.1.31";

// Loaded only in the few starts of the year that need it.
async function library() {
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

/** A fresh self-signed ECDSA P-256 pair for localhost and this machine's name, valid from `now` (epoch ms). */
export async function makeSelfSigned(now: number, lifeDays = 397): Promise<Pair> {
  const x509 = await library();
  const keys = await makeKeys();
  const name = /^[a-z0-9.-]+$/i.test(hostname()) ? hostname() : "localhost";
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=Sluice (self-signed)",
    // A day back: a viewer's clock may be slow.
    notBefore: new Date(now - day),
    notAfter: new Date(now + lifeDays * day),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      // No key usage: one that leaves out signing of certificates would not be its own root, as which clients take it that were
      // given it.
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      // Tells it from others of its name, for who was given several.
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
      new x509.SubjectAlternativeNameExtension([
        { type: "dns", value: "localhost" },
        ...(name === "localhost" ? [] : [{ type: "dns" as const, value: name }]),
        { type: "ip", value: "127.0.0.1" },
        { type: "ip", value: "::1" },
      ]),
    ],
  });
  return { cert: certificate.toString("pem"), key: await privatePem(keys) };
}

/** A fresh private key (PEM) and the request (DER, PKCS #10) for a certificate of `domains` that belongs to it. */
export async function makeRequest(
  domains: readonly string[],
): Promise<{ readonly key: string; readonly request: Buffer }> {
  const x509 = await library();
  const keys = await makeKeys();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.SubjectAlternativeNameExtension(domains.map((value) => ({ type: "dns" as const, value }))),
    ],
  });
  return { key: await privatePem(keys), request: Buffer.from(request.rawData) };
}

/** The certificate that answers a TLS-ALPN-01 challenge for `domain` (RFC 8737 3). */
export async function makeChallenge(domain: string, keyAuthorization: string): Promise<Pair> {
  const x509 = await library();
  const keys = await makeKeys();
  const digest = createHash("sha256").update(keyAuthorization).digest();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=Sluice (challenge)",
    notBefore: new Date(Date.now() - day),
    notAfter: new Date(Date.now() + day),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.SubjectAlternativeNameExtension([{ type: "dns", value: domain }]),
      // An OCTET STRING of 32 bytes.
      new x509.Extension(acmeIdentifier, true, Buffer.concat([Buffer.of(4, digest.length), digest])),
    ],
  });
  return { cert: certificate.toString("pem"), key: await privatePem(keys) };
}

/** What names a certificate when its issuer is asked about its renewal (RFC 9773 4.1); undefined where it does not say who signed it. */
export async function renewalName(cert: string): Promise<string | undefined> {
  const x509 = await library();
  const leaf = new x509.X509Certificate(new X509Certificate(cert).raw);
  const signer = leaf.getExtension(x509.AuthorityKeyIdentifierExtension)?.keyId;
  if (!signer) return undefined;
  const digits = leaf.serialNumber.padStart(leaf.serialNumber.length + (leaf.serialNumber.length % 2), "0");
  // As DER has it: a first bit of 1 would make it negative.
  const serial = Buffer.from(/^[89a-f]/i.test(digits) ? `00${digits}` : digits, "hex");
  return `${Buffer.from(signer, "hex").toString("base64url")}.${serial.toString("base64url")}`;
}

const makeKeys = () => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);

async function privatePem(keys: CryptoKeyPair): Promise<string> {
  const key = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return `-----BEGIN PRIVATE KEY-----\n${key.match(/.{1,64}/g)!.join("\n")}\n-----END PRIVATE KEY-----`;
}
