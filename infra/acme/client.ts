import { createHash, createHmac, createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import { z } from "../../services/lib/schema.ts";
import { Refusal } from "./refusal.ts";

/** What an authority wants to see before it believes that a name is ours (RFC 8555 8.3, RFC 8737). */
export interface Challenge {
  readonly kind: ChallengeKind;
  readonly domain: string;
  readonly token: string;
  /** What is shown: as it is over HTTP, by its hash over TLS. */
  readonly keyAuthorization: string;
}

export const challengeKinds = ["http-01", "tls-alpn-01"] as const;
export type ChallengeKind = (typeof challengeKinds)[number];

export interface AcmeOptions {
  /** URL of the authority's directory. */
  readonly directory: string;
  /** PEM, ECDSA P-256. */
  readonly accountKey: string;
  readonly email?: string | undefined;
  /** External account binding: what the authority gave out for a customer's account. The key is base64url. */
  readonly binding?: { readonly kid: string; readonly key: string } | undefined;
  readonly signal: AbortSignal;
}

export interface OrderOptions {
  readonly domains: readonly string[];
  readonly kind: ChallengeKind;
  /** DER, PKCS #10, for the same names. */
  readonly request: Buffer;
  /** Shows the challenges to whoever comes to look, before it resolves. */
  readonly show: (challenges: readonly Challenge[]) => Promise<void>;
  /** What `renewalName` says of the certificate that this one is to follow. */
  readonly replaces?: string | undefined;
}

/** When an authority would like to see a certificate renewed (RFC 9773); epoch ms. */
export interface RenewalWindow {
  readonly from: number;
  readonly to: number;
  /** When to ask again. */
  readonly askAgain: number;
}

const requestMs = 30_000;
const maxBytes = 1 << 20;
const maxNonces = 10;
/** How long an authority may take to look at a challenge, or to sign. */
const patienceMs = 120_000;
const pollMs = { least: 500, most: 10_000 };

const directoryShape = z.object({
  newNonce: z.string(),
  newAccount: z.string(),
  newOrder: z.string(),
  renewalInfo: z.string().optional(),
  meta: z
    .object({
      caaIdentities: z.array(z.string()).optional(),
      externalAccountRequired: z.boolean().optional(),
    })
    .optional(),
});
const problemShape = z.object({
  type: z.string().default("about:blank"),
  detail: z.string().default(""),
  identifier: z.object({ value: z.string() }).optional(),
});
const orderShape = z.object({
  status: z.string(),
  authorizations: z.array(z.string()),
  finalize: z.string(),
  certificate: z.string().optional(),
  error: problemShape.optional(),
});
const challengeShape = z.object({
  type: z.string(),
  url: z.string(),
  token: z.string().default(""),
  status: z.string(),
  error: problemShape.optional(),
});
const authorizationShape = z.object({
  status: z.string(),
  identifier: z.object({ value: z.string() }),
  challenges: z.array(challengeShape),
});
const windowShape = z.object({ suggestedWindow: z.object({ start: z.string(), end: z.string() }) });

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** One account at one authority (RFC 8555). What it refuses, and what never answers, is a `Refusal`. */
export class Acme {
  readonly #options: AcmeOptions;
  readonly #key: KeyObject;
  readonly #jwk: Readonly<Record<string, string>>;
  readonly #thumbprint: string;
  #directory: z.infer<typeof directoryShape> | undefined;
  #account: string | undefined;
  #nonce: string | undefined;

  constructor(options: AcmeOptions) {
    this.#options = options;
    this.#key = createPrivateKey(options.accountKey);
    const { crv, kty, x, y } = createPublicKey(this.#key).export({ format: "jwk" }) as Record<string, string>;
    // RFC 7638: the order and the spelling of these are what is hashed.
    this.#jwk = { crv: crv!, kty: kty!, x: x!, y: y! };
    this.#thumbprint = createHash("sha256").update(JSON.stringify(this.#jwk)).digest("base64url");
  }

  /** Names that a CAA record may carry to let this authority sign; empty where it does not say. */
  async caaIdentities(): Promise<readonly string[]> {
    return (await this.#where()).meta?.caaIdentities ?? [];
  }

  /** A new certificate chain in PEM. */
  async order(options: OrderOptions): Promise<string> {
    const { newOrder } = await this.#where();
    const identifiers = options.domains.map((value) => ({ type: "dns", value }));
    const { replaces } = options;
    const asked = await this.#post(newOrder, { identifiers, ...(replaces && { replaces }) }).catch(
      (error: unknown) => {
        // RFC 9773 5: what it replaces is a courtesy, and it may be too late for it.
        if (!(error instanceof Refusal) || !replaces || error.type === "rateLimited") throw error;
        return this.#post(newOrder, { identifiers });
      },
    );
    const url = asked.headers.get("location");
    if (!url) throw new Refusal({ type: "notAcme", detail: "an order without a place" });
    const order = read(orderShape, asked);
    await this.#authorize(order.authorizations, options);
    const ready = await this.#until(url, orderShape, ({ status }) => status !== "pending");
    if (ready.status === "ready")
      await this.#post(ready.finalize, { csr: options.request.toString("base64url") });
    const done = await this.#until(url, orderShape, ({ status }) => !/pending|ready|processing/.test(status));
    if (done.status !== "valid" || !done.certificate)
      throw new Refusal(done.error ?? { type: "orderNotReady", detail: `the order is ${done.status}` });
    return (await this.#post(done.certificate, undefined, "application/pem-certificate-chain")).text;
  }

  /** Undefined where the authority has no wishes. */
  async renewal(name: string): Promise<RenewalWindow | undefined> {
    const { renewalInfo } = await this.#where();
    if (!renewalInfo) return undefined;
    const answer = await this.#send(`${renewalInfo.replace(/\/$/, "")}/${name}`, { method: "GET" });
    if (answer.status !== 200) throw refusalOf(answer);
    const { suggestedWindow: window } = read(windowShape, answer);
    const [from, to] = [Date.parse(window.start), Date.parse(window.end)];
    if (!(to > from)) return undefined;
    return { from, to, askAgain: Date.now() + (retryAfterMs(answer.headers) ?? 6 * 3_600_000) };
  }

  async #authorize(urls: readonly string[], { kind, show }: OrderOptions): Promise<void> {
    const open: { readonly url: string; readonly answer: string; readonly shown: Challenge }[] = [];
    for (const url of urls) {
      const { status, identifier, challenges } = read(authorizationShape, await this.#post(url));
      if (status === "valid") continue;
      const found = challenges.find(({ type }) => type === kind);
      if (!found)
        throw new Refusal({
          type: "unsupportedChallenge",
          detail: `it offers ${challenges.map(({ type }) => type).join(", ")} for ${identifier.value}`,
          domain: identifier.value,
        });
      const { token } = found;
      const shown = {
        kind,
        domain: identifier.value,
        token,
        keyAuthorization: `${token}.${this.#thumbprint}`,
      };
      open.push({ url, answer: found.url, shown });
    }
    if (open.length === 0) return;
    await show(open.map(({ shown }) => shown));
    for (const { answer } of open) await this.#post(answer, {});
    for (const { url, shown } of open) {
      const seen = await this.#until(url, authorizationShape, ({ status }) => status !== "pending");
      if (seen.status === "valid") continue;
      const why = seen.challenges.find(({ error }) => error)?.error;
      throw new Refusal({ type: "unauthorized", detail: seen.status, ...why, domain: shown.domain, kind });
    }
  }

  /** Asks again and again, as often as the authority likes it, until `over` says that there is no more to wait for. */
  async #until<T>(url: string, shape: z.ZodType<T>, over: (seen: T) => boolean): Promise<T> {
    const from = performance.now();
    for (let next: number = pollMs.least; ; next = Math.min(pollMs.most, next * 1.5)) {
      const answer = await this.#post(url);
      const seen = read(shape, answer);
      if (over(seen)) return seen;
      if (performance.now() - from > patienceMs)
        throw new Refusal({ type: "serverInternal", detail: `no result within ${patienceMs / 1000} s` });
      const asked = Math.min(retryAfterMs(answer.headers) ?? next, pollMs.most);
      await wait(asked, undefined, { signal: this.#options.signal });
    }
  }

  async #where() {
    if (this.#directory) return this.#directory;
    const answer = await this.#send(this.#options.directory, { method: "GET" });
    if (answer.status !== 200) throw refusalOf(answer);
    this.#directory = read(directoryShape, answer);
    return this.#directory;
  }

  /** The account's URL; it is opened at the first need. */
  async #opened(): Promise<string> {
    if (this.#account) return this.#account;
    const { newAccount, meta } = await this.#where();
    const { email, binding } = this.#options;
    const contact = email ? [`mailto:${email}`] : undefined;
    const found = await this.#signed(newAccount, { onlyReturnExisting: true }, { jwk: this.#jwk }).catch(
      (error: unknown) => {
        if (!(error instanceof Refusal) || error.type !== "accountDoesNotExist") throw error;
        if (meta?.externalAccountRequired && !binding)
          throw new Refusal({ type: "externalAccountRequired", detail: "" });
        const terms = { termsOfServiceAgreed: true, ...(contact && { contact }) };
        const bound = binding && { externalAccountBinding: bind(binding, newAccount, this.#jwk) };
        return this.#signed(newAccount, { ...terms, ...bound }, { jwk: this.#jwk });
      },
    );
    const url = found.headers.get("location");
    if (!url) throw new Refusal({ type: "notAcme", detail: "an account without a place" });
    this.#account = url;
    return url;
  }

  /** `payload` undefined only reads (RFC 8555 6.3). */
  async #post(url: string, payload?: object, accept = "application/json"): Promise<Answer> {
    return this.#signed(url, payload, { kid: await this.#opened() }, accept);
  }

  async #signed(
    url: string,
    payload: object | undefined,
    who: Readonly<Record<string, unknown>>,
    accept = "application/json",
  ): Promise<Answer> {
    for (let tries = 1; ; tries++) {
      const nonce = this.#nonce ?? (await this.#freshNonce());
      this.#nonce = undefined;
      const body = jws({ alg: "ES256", nonce, url, ...who }, payload, (text) =>
        sign("sha256", text, { key: this.#key, dsaEncoding: "ieee-p1363" }),
      );
      const answer = await this.#send(url, {
        method: "POST",
        headers: { "content-type": "application/jose+json", accept },
        body: JSON.stringify(body),
      });
      if (answer.status < 300) return answer;
      const refusal = refusalOf(answer);
      // RFC 8555 6.5: a nonce may be too old at any time, and the answer brings a new one.
      if (refusal.type !== "badNonce" || tries >= maxNonces) throw refusal;
    }
  }

  async #freshNonce(): Promise<string> {
    await this.#send((await this.#where()).newNonce, { method: "HEAD" });
    if (!this.#nonce) throw new Refusal({ type: "notAcme", detail: "it gives out no nonce" });
    return this.#nonce;
  }

  async #send(url: string, init: RequestInit): Promise<Answer> {
    const { signal } = this.#options;
    try {
      const response = await fetch(url, {
        ...init,
        // RFC 8555 6.1 asks for a name that its operator can look up.
        headers: { "user-agent": "sluice", ...(init.headers as Record<string, string> | undefined) },
        signal: AbortSignal.any([signal, AbortSignal.timeout(requestMs)]),
      });
      this.#nonce = response.headers.get("replay-nonce") ?? this.#nonce;
      return { status: response.status, headers: response.headers, text: await textOf(response) };
    } catch (error) {
      if (signal.aborted || error instanceof Refusal) throw error;
      const { cause } = error as { readonly cause?: unknown };
      const why = cause instanceof Error ? cause.message : error instanceof Error ? error.message : "";
      throw new Refusal({ type: "unreachable", detail: `${new URL(url).host}: ${why}` });
    }
  }
}

async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new Refusal({ type: "notAcme", detail: "an answer without end" });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function read<T>(shape: z.ZodType<T>, { text }: Answer): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Refusal({ type: "notAcme", detail: `not JSON: ${text.slice(0, 80)}` });
  }
  const parsed = shape.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new Refusal({ type: "notAcme", detail: `not ACME: ${text.slice(0, 80)}` });
}

function refusalOf(answer: Answer): Refusal {
  const retryMs = retryAfterMs(answer.headers);
  const said = { status: answer.status, ...(retryMs !== undefined && { retryMs }) };
  try {
    const { type, detail, identifier } = problemShape.parse(JSON.parse(answer.text));
    return new Refusal({ type, detail, ...said, ...(identifier && { domain: identifier.value }) });
  } catch {
    return new Refusal({ type: "serverInternal", detail: `it answers ${answer.status}`, ...said });
  }
}

/** RFC 9110 10.2.3: seconds or a date. */
function retryAfterMs(headers: Headers): number | undefined {
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const ms = /^\d{1,9}$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** RFC 7515, flattened. */
function jws(header: object, payload: object | undefined, signer: (text: Buffer) => Buffer) {
  const body = { protected: encode(header), payload: payload === undefined ? "" : encode(payload) };
  const signature = signer(Buffer.from(`${body.protected}.${body.payload}`)).toString("base64url");
  return { ...body, signature };
}

/** RFC 8555 7.3.4. */
function bind({ kid, key }: NonNullable<AcmeOptions["binding"]>, url: string, jwk: object) {
  return jws({ alg: "HS256", kid, url }, jwk, (text) =>
    createHmac("sha256", Buffer.from(key, "base64url")).update(text).digest(),
  );
}
