import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeSelfSigned, type Pair } from "../../infra/x509.ts";
import { type Ingest, type IngestOptions, startIngest } from "../../services/ingest/ingest.ts";
import { Failure } from "../../services/lib/errors.ts";
import { listenInternal, openInternal, readJson, sendJson } from "../../services/lib/http.ts";
import { createLog } from "../../services/lib/log.ts";
import { createMetrics } from "../../services/lib/metrics.ts";
import type { Fact } from "../../services/live/events.ts";
import type { IngestInput } from "../../services/live/snapshot.ts";
import { FlvReader, type FlvTag, readScript } from "../../services/packager/flv.ts";

/** What an origin saw of one publish. */
export interface ReadFeed {
  readonly publish: string;
  readonly uid: string;
  readonly tags: FlvTag[];
  /** Settles when the feed ends, with the reason of its last tag if that was onPublishEnd. */
  readonly ended: Promise<string | undefined>;
  /** Resolves when `enough` is true of what has come so far. */
  until(enough: (tags: readonly FlvTag[]) => boolean): Promise<void>;
  /** Hangs up, as an origin that dies. */
  abort(): void;
}

export interface IngestWorld {
  readonly ingest: Ingest;
  readonly facts: Fact[];
  /** Feeds in the order in which their publishes were posted. */
  readonly feeds: ReadFeed[];
  /** Resolves with the feed number `index` once it has been posted. */
  feed(index: number): Promise<ReadFeed>;
  /** Adds or changes a live input and returns its stream key. */
  input(uid: string, change?: { readonly enabled?: boolean; readonly key?: string }): string;
  /** How the origin answers posts from now on; undefined is away. */
  originAnswers(answer: { readonly status: number; readonly message?: string } | undefined): void;
  /** Resolves at the next post to the origin. */
  posted(): Promise<void>;
  setCertificate(pair: Pair): void;
  readonly certificate: Pair;
  metrics(): Promise<string>;
  close(): Promise<void>;
}

/** A whole ingest on free ports, with live inputs held in memory and an origin that reads what it is told of. */
export async function startIngestWorld(
  options: Partial<Pick<IngestOptions, "limits" | "rtmpsPort">> = {},
): Promise<IngestWorld> {
  const folder = await mkdtemp(join(tmpdir(), "slu-"));
  const inputs = new Map<string, IngestInput>();
  const listeners = new Set<(uids: ReadonlySet<string>) => void>();
  const facts: Fact[] = [];
  const feeds: ReadFeed[] = [];
  const waiting: { index: number; resolve: (feed: ReadFeed) => void }[] = [];
  let answer: { readonly status: number; readonly message?: string } | undefined = { status: 200 };

  let onPost: () => void = () => undefined;

  let certificate = await makeSelfSigned(Date.now());
  const certificateListeners = new Set<(pair: Pair) => void>();

  const origin = await listenInternal(`unix:${join(folder, "origin.sock")}`, async (request, response) => {
    const posted = (await readJson(request)) as { uid: string; publish: string; feed: string; path: string };
    onPost();
    if (!answer) throw new Failure("unavailable", "away");
    sendJson(
      response,
      answer.status,
      answer.status === 200 ? { epoch: 1 } : { code: "x", message: answer.message },
    );
    if (answer.status !== 200) return;
    const feed = readFeed(posted);
    feeds.push(feed);
    for (const { index, resolve } of waiting) if (index === feeds.length - 1) resolve(feed);
  });

  const metrics = createMetrics("ingest");
  const ingest = await startIngest({
    host: "127.0.0.1",
    rtmpPort: 0,
    rtmpsPort: options.rtmpsPort,
    certificates: {
      current: () => certificate,
      onChange(listener) {
        certificateListeners.add(listener);
        return () => certificateListeners.delete(listener);
      },
    },
    snapshot: {
      ready: Promise.resolve(),
      get: (uid) => inputs.get(uid),
      values: () => inputs.values(),
      onChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    events: { send: (fact) => facts.push(fact) },
    address: `unix:${join(folder, "ingest.sock")}`,
    originFor: () => origin.address,
    limits: options.limits ?? { connections: 200, connectionsPerAddress: 20 },
    log: createLog("ingest", process.env.TEST_LOG ?? "silent", false),
    metrics,
  });

  return {
    ingest,
    facts,
    feeds,
    feed(index) {
      const known = feeds[index];
      return known ? Promise.resolve(known) : new Promise((resolve) => waiting.push({ index, resolve }));
    },
    input(uid, { enabled = true, key = randomBytes(16).toString("hex") } = {}) {
      inputs.set(uid, { uid, enabled, keyHash: createHash("sha256").update(key).digest("hex") });
      for (const listener of listeners) listener(new Set([uid]));
      return key;
    },
    originAnswers(next) {
      answer = next;
    },
    posted() {
      return new Promise((resolve) => {
        onPost = resolve;
      });
    },
    setCertificate(pair) {
      certificate = pair;
      for (const listener of certificateListeners) listener(pair);
    },
    get certificate() {
      return certificate;
    },
    metrics: () => metrics.text(),
    async close() {
      await ingest.close();
      await origin.close();
      await rm(folder, { recursive: true });
    },
  };
}

function readFeed(posted: { uid: string; publish: string; feed: string; path: string }): ReadFeed {
  const tags: FlvTag[] = [];
  const abort = new AbortController();
  let check: () => void = () => undefined;
  async function read(): Promise<string | undefined> {
    const reader = new FlvReader();
    try {
      const body = await openInternal(posted.feed, posted.path, { signal: abort.signal });
      for await (const bytes of body as AsyncIterable<Buffer>) {
        tags.push(...reader.push(bytes));
        check();
      }
    } catch (error) {
      if (!abort.signal.aborted) throw error;
    }
    const last = tags.at(-1);
    if (last?.type !== "script") return undefined;
    const { name, value } = readScript(last.payload);
    if (name !== "onPublishEnd" || value === null || typeof value !== "object") return undefined;
    return String((value as Readonly<Record<string, unknown>>).reason);
  }
  const ended = read();
  // Not every test asks how it ended.
  ended.catch(() => undefined);
  return {
    publish: posted.publish,
    uid: posted.uid,
    tags,
    ended,
    until(enough) {
      return new Promise((resolve, reject) => {
        check = () => {
          if (enough(tags)) resolve();
        };
        ended.then(() => (enough(tags) ? resolve() : reject(new Error("the feed ended before"))), reject);
        check();
      });
    },
    abort: () => abort.abort(),
  };
}
