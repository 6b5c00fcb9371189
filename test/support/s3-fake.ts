import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { crc32 } from "node:zlib";

/** What goes wrong with a request. */
export type Fault =
  | { readonly how: "status"; readonly status: number; readonly code: string }
  /** A success by its status, an error by its body. */
  | { readonly how: "error body" }
  /** The connection ends before an answer; with a body under way, in the middle of it. */
  | { readonly how: "reset" }
  | { readonly how: "slow"; readonly ms: number }
  /** Takes all of it and has it only later, also where whoever sent it has gone; `mute`: it breaks the connection in place of an answer. */
  | { readonly how: "late"; readonly ms: number; readonly mute?: boolean }
  /** Never answers. */
  | { readonly how: "hang" }
  /** Less of the bytes than was asked for or sent, as if that were all. */
  | { readonly how: "partial" }
  /** Other bytes than were sent. */
  | { readonly how: "corrupt" };

export interface Rule {
  readonly method?: string;
  readonly key?: RegExp;
  /** How many requests meet it; all while absent. */
  times?: number;
  readonly fault: Fault;
}

export interface S3Fake {
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly objects: Map<string, Buffer>;
  /** Faults that are met first come first; emptied, all is well. */
  readonly rules: Rule[];
  /** `METHOD key range` of every request that was signed as it must be. */
  readonly requests: string[];
  /** What each refused request was refused for. */
  readonly refused: string[];
  /** Uploads that it has all of and has not made objects of yet. */
  readonly late: Set<string>;
  close(): Promise<void>;
}

interface Kept {
  readonly etag: string;
  readonly checksums: Readonly<Record<string, string>>;
}

const skewMs = 15 * 60_000;

class Refused extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export interface FakeOptions {
  /** Answers without checksums of its own, and with tags that are no MD5, as some encrypted buckets. */
  readonly plainTags?: boolean;
}

/** An S3 on a port of this machine that takes only what the real one takes: it checks every signature, every checksum and every header itself. */
export async function startS3({ plainTags = false }: FakeOptions = {}): Promise<S3Fake> {
  const fake = {
    region: "eu-central-1",
    bucket: "media",
    accessKeyId: "AKIDEXAMPLE",
    secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    objects: new Map<string, Buffer>(),
    rules: [] as Rule[],
    requests: [] as string[],
    refused: [] as string[],
    late: new Set<string>(),
  };
  const kept = new Map<string, Kept>();

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, "http://fake");
    const [bucket, key] = placeOf(request, url);
    const fault = faultFor(request.method!, key);
    if (fault?.how === "hang") return;
    if (fault?.how === "slow") await new Promise((resolve) => setTimeout(resolve, fault.ms));
    if (fault?.how === "reset" && request.method !== "GET") {
      // Some of the body has come by then.
      if (request.method === "PUT") await once(request, "data");
      return void request.destroy();
    }
    const signed = signatureOf(request, url);
    const raw = await bodyOf(request);
    const body = payloadOf(request, raw);
    fake.requests.push(`${request.method} ${key} ${request.headers.range ?? ""}`.trimEnd());
    if (fault?.how === "status") throw new Refused(fault.status, fault.code, "as was asked for");
    if (fault?.how === "error body")
      return void response.writeHead(200).end(errorXml("InternalError", "We encountered an internal error."));
    if (bucket !== fake.bucket) throw new Refused(404, "NoSuchBucket", "The specified bucket does not exist");
    if (signed.region !== fake.region) throw new Error("not reached");
    if (fault?.how === "late") {
      fake.late.add(key);
      if (fault.mute) request.socket.destroy();
      await new Promise((resolve) => setTimeout(resolve, fault.ms));
      fake.late.delete(key);
    }
    switch (request.method) {
      case "PUT":
        return put(request, response, key, body, fault);
      case "GET":
        if (key === "") return list(response, url);
        return get(request, response, key, fault);
      case "HEAD":
        return head(request, response, key);
      case "DELETE":
        fake.objects.delete(key);
        kept.delete(key);
        return void response.writeHead(204).end();
      default:
        throw new Refused(
          405,
          "MethodNotAllowed",
          "The specified method is not allowed against this resource.",
        );
    }
  }

  function faultFor(method: string, key: string): Fault | undefined {
    const rule = fake.rules.find(
      (one) =>
        (one.method ?? method) === method &&
        (one.key?.test(key) ?? true) &&
        (one.times === undefined || one.times > 0),
    );
    if (rule?.times !== undefined) rule.times--;
    return rule?.fault;
  }

  function placeOf(request: IncomingMessage, url: URL): [bucket: string, key: string] {
    const path = decodeURIComponent(url.pathname.slice(1));
    const host = request.headers.host!.split(":")[0]!;
    const virtual = /^([a-z0-9.-]+)\.localhost$/.exec(host)?.[1];
    if (virtual !== undefined) return [virtual, path];
    const slash = path.indexOf("/");
    return slash < 0 ? [path, ""] : [path.slice(0, slash), path.slice(slash + 1)];
  }

  /** Signature Version 4 in headers, as the Authorization header's documentation describes it. */
  function signatureOf(request: IncomingMessage, url: URL): { region: string } {
    const given = request.headers.authorization;
    if (!given) throw new Refused(403, "AccessDenied", "Access Denied");
    const parts =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/.exec(
        given,
      );
    if (!parts)
      throw new Refused(400, "AuthorizationHeaderMalformed", "The authorization header is malformed.");
    const [, id, day, region, service, names, signature] = parts as unknown as string[];
    if (id !== fake.accessKeyId)
      throw new Refused(
        403,
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
      );
    if (region !== fake.region || service !== "s3")
      throw new Refused(
        400,
        "AuthorizationHeaderMalformed",
        `The authorization header is malformed; the region '${region}' is wrong; expecting '${fake.region}'`,
      );
    const date = String(request.headers["x-amz-date"] ?? "");
    const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date) ?? [];
    const at = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
    if (!date.startsWith(day!) || !(Math.abs(Date.now() - at) < skewMs))
      throw new Refused(
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
      );
    const list = names!.split(";");
    if (list.join() !== [...list].sort().join())
      throw new Refused(400, "AuthorizationHeaderMalformed", "SignedHeaders must be sorted");
    if (!list.includes("host")) throw new Refused(403, "SignatureDoesNotMatch", "host is not signed");
    for (const name of Object.keys(request.headers))
      if (name.startsWith("x-amz-") && !list.includes(name))
        throw new Refused(
          403,
          "AccessDenied",
          `There were headers present in the request which were not signed: ${name}`,
        );
    const hash = request.headers["x-amz-content-sha256"];
    if (hash === undefined)
      throw new Refused(
        400,
        "InvalidRequest",
        "Missing required header for this request: x-amz-content-sha256",
      );
    const query = [...url.searchParams]
      .map(([name, value]) => `${strict(name)}=${strict(value)}`)
      .sort()
      .join("&");
    const canonical = [
      request.method,
      // As it came: S3 does not normalise a path, and encodes it once.
      url.pathname
        .split("/")
        .map((step) => strict(decodeURIComponent(step)))
        .join("/"),
      query,
      ...list.map(
        (name) =>
          `${name}:${String(request.headers[name] ?? "")
            .trim()
            .replace(/ +/g, " ")}`,
      ),
      "",
      names,
      hash,
    ].join("\n");
    const scope = `${day}/${region}/s3/aws4_request`;
    const text = ["AWS4-HMAC-SHA256", date, scope, sha256(canonical)].join("\n");
    let secret: Buffer = Buffer.from(`AWS4${fake.secretAccessKey}`);
    for (const step of [day!, region!, "s3", "aws4_request"])
      secret = createHmac("sha256", secret).update(step).digest();
    const expected = createHmac("sha256", secret).update(text).digest();
    if (!timingSafeEqual(expected, Buffer.from(signature!, "hex")))
      throw new Refused(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
      );
    return { region: region! };
  }

  /** The bytes that are meant, once every checksum that was sent with them holds. */
  function payloadOf({ headers, method }: IncomingMessage, raw: Buffer): Buffer {
    const hash = String(headers["x-amz-content-sha256"]);
    if (method === "PUT" && headers["content-length"] === undefined)
      throw new Refused(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
    if (hash.startsWith("STREAMING-"))
      throw new Refused(
        501,
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
      );
    if (hash !== "UNSIGNED-PAYLOAD" && hash !== sha256(raw))
      throw new Refused(
        400,
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
      );
    const md5 = headers["content-md5"];
    if (md5 !== undefined && md5 !== createHash("md5").update(raw).digest("base64"))
      throw new Refused(400, "BadDigest", "The Content-MD5 you specified did not match what we received.");
    for (const [name, compute] of Object.entries(checksums)) {
      const given = headers[name];
      if (given !== undefined && given !== compute(raw))
        throw new Refused(
          400,
          "BadDigest",
          `The ${name.slice(15).toUpperCase()} you specified did not match the calculated checksum.`,
        );
    }
    return raw;
  }

  function put(
    request: IncomingMessage,
    response: ServerResponse,
    key: string,
    body: Buffer,
    fault?: Fault,
  ): void {
    if (key === "" || Buffer.byteLength(key) > 1024)
      throw new Refused(400, "KeyTooLongError", "Your key is too long");
    let stored = body;
    if (fault?.how === "partial") stored = body.subarray(0, body.length >> 1);
    if (fault?.how === "corrupt") stored = Buffer.concat([body.subarray(0, -1), Buffer.of(body.at(-1)! ^ 1)]);
    const md5 = createHash("md5").update(stored).digest("hex");
    const sums = Object.keys(checksums).filter((name) => request.headers[name] !== undefined);
    kept.set(key, {
      etag: plainTags ? `"${md5.slice(0, 12)}-enc"` : `"${md5}"`,
      // It computes them of what it has.
      checksums: plainTags ? {} : Object.fromEntries(sums.map((name) => [name, checksums[name]!(stored)])),
    });
    fake.objects.set(key, Buffer.from(stored));
    response.writeHead(200, { etag: kept.get(key)!.etag }).end();
  }

  function headersOf(request: IncomingMessage, key: string): Record<string, string> {
    const { etag, checksums: sums } = kept.get(key) ?? {
      etag: `"${createHash("md5").update(fake.objects.get(key)!).digest("hex")}"`,
      checksums: {},
    };
    // They are of the whole object, so a range has none.
    const asked = request.headers["x-amz-checksum-mode"] === "ENABLED" && !request.headers.range;
    return { etag, "accept-ranges": "bytes", "content-type": "application/octet-stream", ...(asked && sums) };
  }

  function head(request: IncomingMessage, response: ServerResponse, key: string): void {
    const object = fake.objects.get(key);
    if (!object) return void response.writeHead(404).end();
    response.writeHead(200, { ...headersOf(request, key), "content-length": object.length }).end();
  }

  function get(request: IncomingMessage, response: ServerResponse, key: string, fault?: Fault): void {
    const object = fake.objects.get(key);
    if (!object) throw new Refused(404, "NoSuchKey", "The specified key does not exist.");
    const headers = headersOf(request, key);
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    const first = Number(from ?? 0);
    if (first >= object.length && object.length > 0 && from !== undefined)
      throw new Refused(416, "InvalidRange", "The requested range is not satisfiable");
    const last = Math.min(to ? Number(to) : Number.POSITIVE_INFINITY, object.length - 1);
    let bytes = object.subarray(first, last + 1);
    const length = bytes.length;
    if (fault?.how === "corrupt") bytes = Buffer.from(bytes).fill(0);
    const shown = fault?.how === "partial" ? last - (length >> 1) : last;
    if (fault?.how === "partial") bytes = bytes.subarray(0, shown - first + 1);
    response.writeHead(from === undefined ? 200 : 206, {
      ...headers,
      "content-length": fault?.how === "reset" ? length : bytes.length,
      ...(from !== undefined && { "content-range": `bytes ${first}-${shown}/${object.length}` }),
    });
    if (fault?.how !== "reset") return void response.end(bytes);
    response.write(bytes.subarray(0, length >> 1), () => request.socket.destroy());
  }

  function list(response: ServerResponse, { searchParams: query }: URL): void {
    if (query.get("list-type") !== "2") throw new Refused(501, "NotImplemented", "ListObjectsV2 only");
    const url = query.get("encoding-type") === "url";
    const after = query.get("continuation-token") ?? "";
    const most = Math.min(1000, Number(query.get("max-keys") ?? 1000));
    const all = [...fake.objects.keys()]
      .filter((key) => key.startsWith(query.get("prefix") ?? "") && (after === "" || key > unsealed(after)))
      .sort();
    const page = all.slice(0, most);
    const more = all.length > most;
    const shown = (key: string) => (url ? strict(key).replaceAll("%2F", "/") : escaped(key));
    const contents = page
      .map(
        (key) =>
          `<Contents><Key>${shown(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;x&quot;</ETag><Size>${fake.objects.get(key)!.length}</Size><StorageClass>STANDARD</StorageClass></Contents>`,
      )
      .join("");
    const next = more ? `<NextContinuationToken>${sealed(page.at(-1)!)}</NextContinuationToken>` : "";
    response
      .writeHead(200, { "content-type": "application/xml" })
      .end(
        `<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>${fake.bucket}</Name><Prefix></Prefix><KeyCount>${page.length}</KeyCount><MaxKeys>${most}</MaxKeys>${url ? "<EncodingType>url</EncodingType>" : ""}<IsTruncated>${more}</IsTruncated>${contents}${next}</ListBucketResult>`,
      );
  }

  const server = http.createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      const refused =
        error instanceof Refused
          ? error
          : new Refused(500, "InternalError", String((error as Error).message));
      fake.refused.push(`${request.method} ${request.url}: ${refused.code} ${refused.message}`);
      if (response.headersSent || request.socket.destroyed) return void request.socket.destroy();
      response
        .writeHead(refused.status, {
          "content-type": "application/xml",
          ...(refused.code === "AuthorizationHeaderMalformed" && { "x-amz-bucket-region": fake.region }),
        })
        .end(request.method === "HEAD" ? undefined : errorXml(refused.code, refused.message, fake.region));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    ...fake,
    endpoint: `http://127.0.0.1:${port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

const checksums: Readonly<Record<string, (bytes: Buffer) => string>> = {
  "x-amz-checksum-sha256": (bytes) => createHash("sha256").update(bytes).digest("base64"),
  "x-amz-checksum-sha1": (bytes) => createHash("sha1").update(bytes).digest("base64"),
  "x-amz-checksum-crc32": (bytes) => {
    const out = Buffer.alloc(4);
    out.writeUInt32BE(crc32(bytes));
    return out.toString("base64");
  },
};

function errorXml(code: string, message: string, region?: string): string {
  const hint = code === "AuthorizationHeaderMalformed" ? `<Region>${region}</Region>` : "";
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${escaped(message)}</Message>${hint}<RequestId>0</RequestId></Error>`;
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
  return Buffer.concat(pieces);
}

const sha256 = (data: string | Buffer) => createHash("sha256").update(data).digest("hex");
const sealed = (key: string) => Buffer.from(key).toString("base64url");
const unsealed = (token: string) => Buffer.from(token, "base64url").toString();
const escaped = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

/** Everything but RFC 3986's unreserved characters in percent signs. */
function strict(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
