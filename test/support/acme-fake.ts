import { createHash, createHmac, createPublicKey, randomBytes, verify } from "node:crypto";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import tls from "node:tls";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

/** What an authority does wrong or refuses, each time that it is asked while it stands in `faults`. */
export interface Faults {
  /** Every such request is told that its nonce is too old, but its repetition is not. */
  badNonce?: boolean;
  /** Seconds until it may be asked again. */
  rateLimited?: number;
  /** The type of the problem that every challenge ends in. */
  invalid?: string;
  /** Answers 500. */
  broken?: boolean;
}

export interface AcmeFakeOptions {
  /** Where the names of the orders lead; of an HTTP port and a TLS port on this machine. */
  readonly ports: () => { readonly http: number; readonly tls: number };
  /** How long its certificates live. */
  readonly lifeMs?: number;
  /** What accounts must be bound with. */
  readonly binding?: { readonly kid: string; readonly key: string };
}

/** A certificate authority for tests, which looks at every signature, really connects to check names, and signs with a root of its own. */
export interface AcmeFake {
  readonly directory: string;
  /** PEM. */
  readonly root: string;
  /** What the root vouches for, and what signs; PEM. */
  readonly middle: string;
  readonly faults: Faults;
  /** Every certificate that it gave out, newest last, PEM. */
  readonly issued: string[];
  /** `METHOD path` of every request. */
  readonly requests: string[];
  /** Each challenge that it looked at: kind, name, and what it found. */
  readonly looked: string[];
  /** Which certificates its customers said they replace. */
  readonly replaced: string[];
  /** When it wants renewals; undefined while it does not say. */
  window: { readonly from: number; readonly to: number } | undefined;
  close(): Promise<void>;
}

const day = 86_400_000;
const problem = (type: string) => `urn:ietf:params:acme:error:${type}`;
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const acmeIdentifier = "1.3.6.1.5.5.7.1.31";

class Refused extends Error {
  readonly type: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  constructor(type: string, detail: string, status = 400, headers: Readonly<Record<string, string>> = {}) {
    super(detail);
    this.type = type;
    this.status = status;
    this.headers = headers;
  }
}

interface Jws {
  readonly header: Readonly<Record<string, unknown>>;
  readonly payload: Readonly<Record<string, unknown>> | undefined;
  readonly account: string;
}

interface Authorization {
  readonly domain: string;
  readonly account: string;
  readonly tokens: Readonly<Record<string, string>>;
  status: "pending" | "valid" | "invalid";
  tried?: string;
  error?: { type: string; detail: string };
}

interface Order {
  readonly domains: readonly string[];
  readonly account: string;
  readonly authorizations: readonly string[];
  status: "pending" | "ready" | "processing" | "valid" | "invalid";
  certificate?: string;
}

/** Opens an authority on loopback (RFC 8555, 8737, 9773). */
export async function openAcmeFake(options: AcmeFakeOptions): Promise<AcmeFake> {
  const root = await makeAuthority("CN=Test Root");
  const middle = await makeAuthority("CN=Test Intermediate", root);
  const nonces = new Set<string>();
  const accounts = new Map<string, { readonly jwk: JsonWebKey; readonly thumbprint: string }>();
  const authorizations = new Map<string, Authorization>();
  const orders = new Map<string, Order>();
  const chains = new Map<string, string>();
  const checks = new Set<Promise<void>>();
  const nonced = new Set<string>();
  const fake: AcmeFake = {
    directory: "",
    root: root.certificate.toString("pem"),
    middle: middle.certificate.toString("pem"),
    faults: {},
    issued: [],
    requests: [],
    looked: [],
    replaced: [],
    window: undefined,
    close: () => Promise.resolve(),
  };
  const server = http.createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? "/";
    fake.requests.push(`${request.method} ${path}`);
    const nonce = randomBytes(16).toString("base64url");
    nonces.add(nonce);
    response.setHeader("replay-nonce", nonce);
    try {
      if (fake.faults.broken) throw new Refused("serverInternal", "out of order", 500);
      const body = request.method === "POST" ? await text(request) : "";
      const { status = 200, headers = {}, json, pem } = await route(request.method ?? "GET", path, body);
      response.writeHead(status, {
        "content-type": pem ? "application/pem-certificate-chain" : "application/json",
        ...headers,
      });
      response.end(pem ?? (json === undefined ? "" : JSON.stringify(json)));
    } catch (error) {
      const { type, status, headers } =
        error instanceof Refused ? error : new Refused("malformed", String(error));
      response.writeHead(status, { "content-type": "application/problem+json", ...headers });
      response.end(JSON.stringify({ type: problem(type), detail: (error as Error).message, status }));
    }
  }

  interface Reply {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly json?: object;
    readonly pem?: string;
  }

  async function route(method: string, path: string, body: string): Promise<Reply> {
    if (path === "/directory")
      return {
        json: {
          ...{ newNonce: `${base}/nonce`, newAccount: `${base}/accounts`, newOrder: `${base}/orders` },
          renewalInfo: `${base}/renewal`,
          meta: { externalAccountRequired: options.binding !== undefined, caaIdentities: ["ca.test"] },
        },
      };
    if (path === "/nonce") return {};
    if (path.startsWith("/renewal/")) {
      if (!fake.window) throw new Refused("malformed", "no wishes", 404);
      const { from, to } = fake.window;
      const [start, end] = [new Date(from).toISOString(), new Date(to).toISOString()];
      return { json: { suggestedWindow: { start, end } }, headers: { "retry-after": "1" } };
    }
    if (method !== "POST") throw new Refused("malformed", "POST only", 405);
    const said = readJws(path, body);
    const { payload } = said;
    const [, kind, name = ""] = path.split("/");
    if (path === "/accounts") return account(said);
    if (fake.faults.rateLimited)
      throw new Refused("rateLimited", "too many certificates already issued", 429, {
        "retry-after": String(fake.faults.rateLimited),
      });
    if (path === "/orders") return newOrder(said);
    if (kind === "orders") return { json: shownOrder(name, mine(orders.get(name), said)) };
    if (kind === "authorizations") {
      await Promise.all(checks);
      return { json: shownAuthorization(name, mine(authorizations.get(name), said)) };
    }
    if (kind === "challenges") {
      const [, , , type = ""] = path.split("/");
      const found = mine(authorizations.get(name), said);
      if (payload && !found.tried) {
        found.tried = type;
        const check = look(found, type).finally(() => checks.delete(check));
        checks.add(check);
      }
      return { json: shownAuthorization(name, found).challenges.find((one) => one.type === type)! };
    }
    if (kind === "finalize") return finalize(name, mine(orders.get(name), said), payload);
    if (kind === "certificates") return { pem: chains.get(name) ?? "" };
    throw new Refused("malformed", "there is nothing here", 404);
  }

  function readJws(path: string, body: string): Jws {
    const { protected: head, payload, signature } = JSON.parse(body) as Record<string, string>;
    const header = JSON.parse(Buffer.from(head!, "base64url").toString()) as Record<string, unknown>;
    const { nonce, url, kid, jwk, alg } = header as Record<string, string>;
    if (!nonces.delete(nonce!)) throw new Refused("badNonce", "unknown nonce");
    if (fake.faults.badNonce && !nonced.delete(path)) {
      nonced.add(path);
      throw new Refused("badNonce", "too old");
    }
    if (url !== `${base}${path}`) throw new Refused("unauthorized", `signed for ${url}`);
    if (alg !== "ES256") throw new Refused("badSignatureAlgorithm", `${alg}`);
    if ((kid === undefined) === (jwk === undefined)) throw new Refused("malformed", "kid or jwk");
    const account = kid?.split("/").at(-1) ?? thumbprintOf(jwk as unknown as JsonWebKey);
    const known = accounts.get(account);
    if (kid !== undefined && !known) throw new Refused("accountDoesNotExist", kid);
    const key = createPublicKey({ key: (jwk ?? known?.jwk) as JsonWebKey, format: "jwk" });
    const input = Buffer.from(`${head}.${payload}`);
    const good = verify(
      "sha256",
      input,
      { key, dsaEncoding: "ieee-p1363" },
      Buffer.from(signature!, "base64url"),
    );
    if (!good) throw new Refused("unauthorized", "the signature is wrong", 403);
    return {
      header,
      account,
      payload: payload ? JSON.parse(Buffer.from(payload, "base64url").toString()) : undefined,
    };
  }

  function account({ header, payload, account: id }: Jws): Reply {
    const headers = { location: `${base}/accounts/${id}` };
    if (accounts.has(id)) return { json: { status: "valid" }, headers };
    if (payload?.onlyReturnExisting) throw new Refused("accountDoesNotExist", "unknown key");
    if (payload?.termsOfServiceAgreed !== true) throw new Refused("userActionRequired", "agree to the terms");
    const jwk = header.jwk as JsonWebKey;
    if (options.binding) {
      const bound = payload.externalAccountBinding as Record<string, string> | undefined;
      if (!bound) throw new Refused("externalAccountRequired", "bind it");
      const mac = createHmac("sha256", Buffer.from(options.binding.key, "base64url"))
        .update(`${bound.protected}.${bound.payload}`)
        .digest("base64url");
      const head = JSON.parse(Buffer.from(bound.protected!, "base64url").toString());
      const same = JSON.parse(Buffer.from(bound.payload!, "base64url").toString());
      if (
        mac !== bound.signature ||
        head.kid !== options.binding.kid ||
        head.url !== `${base}/accounts` ||
        thumbprintOf(same) !== id
      )
        throw new Refused("unauthorized", "the binding is wrong", 403);
    }
    accounts.set(id, { jwk, thumbprint: id });
    return { status: 201, json: { status: "valid" }, headers };
  }

  function newOrder({ payload, account: id }: Jws): Reply {
    const domains = ((payload?.identifiers ?? []) as { type: string; value: string }[]).map(
      ({ value }) => value,
    );
    if (typeof payload?.replaces === "string") fake.replaced.push(payload.replaces);
    const made = domains.map((domain) => {
      const name = randomBytes(8).toString("hex");
      const token = () => randomBytes(16).toString("base64url");
      authorizations.set(name, {
        ...{ domain, account: id, status: "pending" },
        tokens: { "http-01": token(), "tls-alpn-01": token() },
      });
      return name;
    });
    const name = randomBytes(8).toString("hex");
    const order: Order = { domains, account: id, authorizations: made, status: "pending" };
    orders.set(name, order);
    return { status: 201, json: shownOrder(name, order), headers: { location: `${base}/orders/${name}` } };
  }

  function shownOrder(name: string, order: Order) {
    const all = order.authorizations.map((one) => authorizations.get(one)!.status);
    if (order.status === "pending" && all.includes("invalid")) order.status = "invalid";
    if (order.status === "pending" && all.every((status) => status === "valid")) order.status = "ready";
    return {
      status: order.status,
      identifiers: order.domains.map((value) => ({ type: "dns", value })),
      authorizations: order.authorizations.map((one) => `${base}/authorizations/${one}`),
      finalize: `${base}/finalize/${name}`,
      ...(order.certificate && { certificate: `${base}/certificates/${order.certificate}` }),
    };
  }

  function shownAuthorization(name: string, one: Authorization) {
    return {
      status: one.status,
      identifier: { type: "dns", value: one.domain },
      challenges: Object.entries(one.tokens).map(([type, token]) => ({
        ...{ type, token, url: `${base}/challenges/${name}/${type}` },
        status: one.tried === type ? one.status : "pending",
        ...(one.tried === type && one.error && { error: one.error }),
      })),
    };
  }

  /** Goes and looks, as an authority would, at what the name leads to. */
  async function look(one: Authorization, type: string): Promise<void> {
    const keyAuthorization = `${one.tokens[type]}.${accounts.get(one.account)!.thumbprint}`;
    const why = fake.faults.invalid
      ? { type: fake.faults.invalid, detail: "as this test wants it" }
      : type === "http-01"
        ? await lookOverHttp(one, keyAuthorization)
        : await lookOverTls(one.domain, keyAuthorization);
    fake.looked.push(`${type} ${one.domain}: ${why ? `${why.type}: ${why.detail}` : "valid"}`);
    one.status = why ? "invalid" : "valid";
    if (why) one.error = { type: problem(why.type), detail: why.detail };
  }

  async function lookOverHttp({ domain, tokens }: Authorization, keyAuthorization: string) {
    const { http: port } = options.ports();
    const path = `/.well-known/acme-challenge/${tokens["http-01"]}`;
    const found = Promise.withResolvers<string>();
    const request = http.get({ host: "127.0.0.1", port, path, headers: { host: domain }, agent: false });
    request.once("response", (response) => text(response).then(found.resolve, found.reject));
    request.once("error", found.reject);
    try {
      const said = (await found.promise).trimEnd();
      return said === keyAuthorization
        ? undefined
        : { type: "unauthorized", detail: `${domain} says ${said.slice(0, 60)}` };
    } catch (error) {
      return { type: "connection", detail: String(error) };
    }
  }

  function lookOverTls(domain: string, keyAuthorization: string) {
    const { tls: port } = options.ports();
    return new Promise<{ type: string; detail: string } | undefined>((resolve) => {
      const socket = tls.connect({
        ...{ host: "127.0.0.1", port, servername: domain, rejectUnauthorized: false },
        ALPNProtocols: ["acme-tls/1"],
      });
      socket.once("error", (error) => resolve({ type: "connection", detail: String(error) }));
      socket.once("secureConnect", () => {
        const wrong = (detail: string) => resolve({ type: "unauthorized", detail });
        const raw = socket.getPeerCertificate().raw;
        socket.destroy();
        if (socket.alpnProtocol !== "acme-tls/1") return wrong(`speaks ${socket.alpnProtocol}`);
        const shown = new x509.X509Certificate(raw);
        const names = shown.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
        if (names.length !== 1 || names[0]!.value !== domain)
          return wrong(`is for ${names.map(({ value }) => value)}`);
        const extension = shown.getExtension(acmeIdentifier);
        const digest = createHash("sha256").update(keyAuthorization).digest("hex");
        if (!extension?.critical || Buffer.from(extension.value).toString("hex") !== `0420${digest}`)
          return wrong("carries another digest");
        resolve(undefined);
      });
    });
  }

  async function finalize(name: string, order: Order, payload: Jws["payload"]): Promise<Reply> {
    if (shownOrder(name, order).status !== "ready") throw new Refused("orderNotReady", order.status, 403);
    const request = new x509.Pkcs10CertificateRequest(Buffer.from(String(payload?.csr), "base64url"));
    const wanted = request.extensions.find(
      (one): one is x509.SubjectAlternativeNameExtension =>
        one instanceof x509.SubjectAlternativeNameExtension,
    );
    const names = wanted?.names.items.map(({ value }) => value) ?? [];
    if (!(await request.verify())) throw new Refused("badCSR", "the signature is wrong");
    if (names.toSorted().join() !== order.domains.toSorted().join())
      throw new Refused("badCSR", `it is for ${names}`);
    const now = Date.now();
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: randomBytes(16).toString("hex"),
      subject: "",
      issuer: middle.certificate.subject,
      notBefore: new Date(now - 1_000),
      notAfter: new Date(now + (options.lifeMs ?? 90 * day)),
      signingAlgorithm: algorithm,
      publicKey: await request.publicKey.export(),
      signingKey: middle.keys.privateKey,
      extensions: [
        new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns" as const, value }))),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        await x509.AuthorityKeyIdentifierExtension.create(middle.certificate),
      ],
    });
    const id = randomBytes(8).toString("hex");
    chains.set(id, `${leaf.toString("pem")}\n${middle.certificate.toString("pem")}\n`);
    fake.issued.push(leaf.toString("pem"));
    order.status = "valid";
    order.certificate = id;
    return { json: shownOrder(name, order) };
  }

  return Object.assign(fake, {
    directory: `${base}/directory`,
    close() {
      server.closeAllConnections();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  });
}

interface Authority {
  readonly keys: CryptoKeyPair;
  readonly certificate: x509.X509Certificate;
}

async function makeAuthority(name: string, parent?: Authority): Promise<Authority> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    ...{ subject: name, issuer: parent?.certificate.subject ?? name, signingAlgorithm: algorithm },
    notBefore: new Date(Date.now() - day),
    notAfter: new Date(Date.now() + 3_650 * day),
    publicKey: keys.publicKey,
    signingKey: (parent?.keys ?? keys).privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { keys, certificate };
}

/** RFC 7638. */
function thumbprintOf({ crv, kty, x, y }: JsonWebKey): string {
  return createHash("sha256").update(JSON.stringify({ crv, kty, x, y })).digest("base64url");
}

function mine<T extends { readonly account: string }>(found: T | undefined, { account }: Jws): T {
  if (!found || found.account !== account) throw new Refused("unauthorized", "not yours", 404);
  return found;
}
