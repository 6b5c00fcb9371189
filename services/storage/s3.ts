import { createReadStream } from "node:fs";
import http, { type IncomingMessage } from "node:http";
import https from "node:https";
import { pipeline } from "node:stream/promises";
import { AwsV4Signer } from "aws4fetch";
import { Failure, messageOf } from "../lib/errors.ts";
import { parseListing, parseRefusal, type Refusal } from "./answers.ts";
import type { Body, ObjectStore, Piece, Range, Stored } from "./store.ts";

/** A bucket that speaks S3, and the key to it. Never logged as a whole: it holds the secret. */
export interface S3Options {
  /** Like https://s3.eu-central-1.amazonaws.com, without the bucket. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** What every key begins with; ends in a slash, or is empty. */
  readonly prefix: string;
  /** The bucket as the path's first step instead of part of the host's name. */
  readonly pathStyle: boolean;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** How long a connection may stand still. */
  readonly idleMs?: number;
  /** How long an answer without much of a body may take in all. */
  readonly answerMs?: number;
}

const defaultIdleMs = 10_000;
const defaultAnswerMs = 20_000;
/** A page of a thousand keys is a third of it. */
const textBytes = 2 << 20;

/** Opens nothing yet: whether the bucket can be reached and the key fits, the first call shows. */
export function openS3(options: S3Options): ObjectStore {
  return new S3(options);
}

interface Call {
  readonly method: "GET" | "HEAD" | "PUT" | "DELETE";
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Body;
  readonly signal?: AbortSignal | undefined;
}

/** SHA-256 of nothing: SigV4 wants every payload's. */
const emptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

class S3 implements ObjectStore {
  readonly #options: S3Options;
  readonly #base: URL;
  readonly #client: typeof http | typeof https;
  readonly #agent: http.Agent;
  readonly #signingKeys = new Map<string, ArrayBuffer>();

  constructor(options: S3Options) {
    this.#options = options;
    const base = new URL(options.endpoint);
    if (!options.pathStyle) base.hostname = `${options.bucket}.${base.hostname}`;
    const path = options.pathStyle ? `/${encoded(options.bucket)}/` : "/";
    base.pathname = base.pathname.replace(/\/$/, "") + path;
    this.#base = base;
    this.#client = base.protocol === "https:" ? https : http;
    // No bound on connections: one that hangs must not keep another from being made.
    this.#agent = new this.#client.Agent({ keepAlive: true, keepAliveMsecs: 5_000, maxFreeSockets: 16 });
  }

  async put(key: string, body: Body, signal?: AbortSignal): Promise<void> {
    const headers = {
      "content-length": String(body.bytes),
      "content-type": "application/octet-stream",
      "x-amz-content-sha256": body.sha256,
      // The store computes its own and refuses what differs; `head` shows it again.
      "x-amz-checksum-sha256": Buffer.from(body.sha256, "hex").toString("base64"),
    };
    const { status, text } = await this.#short({ method: "PUT", key, headers, body, signal });
    // Some stores send the head of a success before they know.
    if (status !== 200 || parseRefusal(text)) throw this.#failure("PUT", key, status, text);
  }

  async head(key: string, signal?: AbortSignal): Promise<Stored | undefined> {
    const call: Call = { method: "HEAD", key, headers: { "x-amz-checksum-mode": "ENABLED" }, signal };
    const { status, headers } = await this.#short(call);
    if (status === 404) return undefined;
    if (status !== 200) throw this.#failure("HEAD", key, status, "", headers);
    const sha256 = headers["x-amz-checksum-sha256"];
    // Of an object that was put at once and not encrypted with a key of its own; else the tag is no MD5.
    const encrypted = headers["x-amz-server-side-encryption"];
    const [, md5] = /^"?([0-9a-f]{32})"?$/.exec(headers.etag ?? "") ?? [];
    return {
      bytes: Number(headers["content-length"]),
      sha256:
        typeof sha256 === "string" && !sha256.includes("-")
          ? Buffer.from(sha256, "base64").toString("hex")
          : undefined,
      md5: encrypted === undefined || encrypted === "AES256" ? md5 : undefined,
    };
  }

  async get(key: string, { offset, length }: Range, signal?: AbortSignal): Promise<Piece | undefined> {
    const last = offset + length - 1;
    return this.#call(
      { method: "GET", key, headers: { range: `bytes=${offset}-${last}` }, signal },
      async (answer) => {
        const status = answer.statusCode!;
        if (status === 206) {
          const [, from, to, total] =
            /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.headers["content-range"] ?? "") ?? [];
          const end = Math.min(last, Number(total) - 1);
          if (Number(from) !== offset || Number(to) !== end)
            throw new Failure(
              "unavailable",
              `${key}: asked for bytes ${offset} to ${last}, the answer has others`,
            );
          const bytes = await bodyOf(answer, end - offset + 1);
          if (bytes.length !== end - offset + 1)
            throw new Failure("unavailable", `${key}: the answer ended after ${bytes.length} bytes`);
          return { bytes, total: Number(total) };
        }
        const text = (await bodyOf(answer, textBytes)).toString();
        if (status === 416 || (status === 404 && parseRefusal(text)?.code !== "NoSuchBucket"))
          return undefined;
        throw this.#failure("GET", key, status, text);
      },
    );
  }

  async *list(prefix: string, signal?: AbortSignal) {
    const from = this.#options.prefix;
    let token: string | undefined;
    do {
      const query = {
        "list-type": "2",
        "encoding-type": "url",
        prefix: from + prefix,
        ...(token !== undefined && { "continuation-token": token }),
      };
      const { status, text } = await this.#short({ method: "GET", key: "", query, signal });
      const page = status === 200 ? parseListing(text) : undefined;
      if (!page) throw this.#failure("LIST", prefix, status, text);
      for (const { key, bytes } of page.objects)
        if (key.startsWith(from)) yield { key: key.slice(from.length), bytes };
      token = page.next;
    } while (token !== undefined);
  }

  async remove(key: string, signal?: AbortSignal): Promise<void> {
    const { status, text } = await this.#short({ method: "DELETE", key, signal });
    if (status === 404 && parseRefusal(text)?.code !== "NoSuchBucket") return;
    if (status >= 300 || parseRefusal(text)) throw this.#failure("DELETE", key, status, text);
  }

  /** A call whose answer is short text. */
  #short(call: Call) {
    return this.#call(call, async (answer) => ({
      status: answer.statusCode!,
      headers: answer.headers,
      text: (await bodyOf(answer, textBytes)).toString(),
    }));
  }

  async #call<T>(call: Call, read: (answer: IncomingMessage) => Promise<T>): Promise<T> {
    const { method, key, query = {}, body } = call;
    const { idleMs = defaultIdleMs, answerMs = defaultAnswerMs } = this.#options;
    const url = new URL(this.#base);
    url.pathname += key === "" ? "" : encoded(this.#options.prefix + key);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const headers = await this.#signed(method, url, {
      "x-amz-content-sha256": emptySha256,
      ...call.headers,
    });
    // An upload takes as long as it moves; everything else has an end.
    const late = body ? [] : [AbortSignal.timeout(answerMs)];
    const signal = AbortSignal.any([...late, ...(call.signal ? [call.signal] : [])]);
    const request = this.#client.request(url, { method, headers, agent: this.#agent, signal });
    request.setTimeout(idleMs, () => request.destroy(new Error(`nothing moved for ${idleMs / 1000} s`)));
    try {
      const answered = new Promise<IncomingMessage>((resolve, reject) => {
        request.once("response", resolve);
        request.once("error", reject);
      });
      // What breaks while the answer is read shows there.
      request.on("error", () => undefined);
      if (!body) request.end();
      else if (body.from instanceof Uint8Array) request.end(body.from);
      else {
        const sent = pipeline(createReadStream(body.from.file, { end: body.bytes - 1 }), request);
        // A refusal may come before all is sent, and closes the pipe.
        await Promise.race([sent, answered]);
        sent.catch(() => undefined);
      }
      return await read(await answered);
    } catch (error) {
      request.destroy();
      if (error instanceof Failure || call.signal?.aborted) throw error;
      const why = signal.aborted ? `no answer within ${answerMs / 1000} s` : messageOf(error);
      throw new Failure("unavailable", `${this.#base.host}: ${method} ${key}: ${why}`, { cause: error });
    }
  }

  async #signed(method: string, url: URL, headers: Readonly<Record<string, string>>) {
    const { accessKeyId, secretAccessKey, region } = this.#options;
    const cache = this.#signingKeys;
    if (cache.size > 16) cache.clear();
    const signer = new AwsV4Signer({
      ...{ method, url: url.href, headers, accessKeyId, secretAccessKey, region, service: "s3", cache },
    });
    const signed = await signer.sign();
    return Object.fromEntries(signed.headers.entries());
  }

  #failure(
    what: string,
    key: string,
    status: number,
    text: string,
    headers?: http.IncomingHttpHeaders,
  ): Failure {
    const region = headers?.["x-amz-bucket-region"];
    const said = parseRefusal(text) ?? { code: "", message: "", region: region ? String(region) : undefined };
    return refusalOf(`${what} ${key || this.#options.bucket}`, status, said, this.#options);
  }
}

/** What a refusal means and what to change about it. Pure; `what` was asked for. */
function refusalOf(
  what: string,
  status: number,
  { code, message, region }: Refusal,
  { bucket, endpoint }: Pick<S3Options, "bucket" | "endpoint">,
): Failure {
  const host = new URL(endpoint).host;
  const said = [status, code, message].filter((one) => one !== "").join(" ");
  switch (code) {
    case "NoSuchBucket":
      return new Failure("not_found", `${host} has no bucket "${bucket}": make it, or correct s3Bucket`);
    case "InvalidAccessKeyId":
      return new Failure("forbidden", `${host} does not know this access key: correct s3AccessKeyId`);
    case "SignatureDoesNotMatch":
      return new Failure(
        "forbidden",
        `the secret does not fit the access key: correct s3SecretAccessKey (${said})`,
      );
    case "RequestTimeTooSkewed":
      return new Failure(
        "forbidden",
        `the clock of this machine is wrong for ${host}: set it (timedatectl set-ntp true)`,
      );
    case "AuthorizationHeaderMalformed":
    case "PermanentRedirect":
    case "TemporaryRedirect":
      return new Failure(
        "bad_request",
        `the bucket "${bucket}" is in another region${region ? `: set s3Region to ${region}` : "; correct s3Region or s3Endpoint"} (${said})`,
      );
    default:
  }
  if (status === 403)
    return new Failure(
      "forbidden",
      `${what} is not allowed with this key: give it the right to in the policy of "${bucket}" (${said})`,
    );
  if (status >= 300 && status < 400)
    return new Failure(
      "bad_request",
      `${what}: the bucket is elsewhere; correct s3Region or s3Endpoint (${said})`,
    );
  const wait = status >= 500 || status === 429 || status === 200 || status === 408;
  return new Failure(wait ? "unavailable" : "bad_request", `${what}: ${host} answered ${said}`);
}

async function bodyOf(answer: IncomingMessage, limit: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > limit) {
      answer.destroy();
      throw new Failure("too_large", `the answer is larger than ${limit} bytes`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces, bytes);
}

/** A key as a path: every step in percent signs where RFC 3986 wants them, as the signature does. */
function encoded(key: string): string {
  return key
    .split("/")
    .map((step) =>
      encodeURIComponent(step).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`),
    )
    .join("/");
}
