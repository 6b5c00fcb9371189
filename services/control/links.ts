import type { ServerResponse } from "node:http";
import { Failure } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { OutputTarget } from "../live/output.ts";
import type { GateRecord, IngestInput, OriginInput } from "../live/snapshot.ts";
import { type Keys, sha256Hex } from "./keys.ts";
import type { Change, Parts } from "./store/inputs.ts";

/** What a role learns of everything, or of a change. */
export type Slice = (parts: Parts) => readonly (IngestInput | OriginInput | GateRecord | OutputTarget)[];
type Whole = () => Promise<Parts & { readonly version: number }>;

/** One role's slice: no role gets what it does not need. */
export function slicesOf(
  keys: Keys,
  defaults: { readonly timeoutSeconds: number },
): Readonly<Record<string, Slice>> {
  return {
    ingest: ({ inputs }) =>
      inputs.map((input) => ({
        uid: input.uid,
        enabled: input.enabled,
        keyHash: sha256Hex(keys.streamKey(input)),
      })),
    origin: ({ inputs }) =>
      inputs.map((input) => ({
        uid: input.uid,
        name: input.name,
        enabled: input.enabled,
        timeoutSeconds: input.recording.timeoutSeconds ?? defaults.timeoutSeconds,
        record: input.recording.mode === "automatic",
        profile: input.profile,
        requireSignedURLs: input.recording.requireSignedURLs,
        allowedOrigins: input.recording.allowedOrigins,
        hideLiveViewerCount: input.recording.hideLiveViewerCount,
        ...(input.ladder !== null && { ladder: input.ladder }),
      })),
    gate: ({ gate }) => gate,
    outputs: ({ outputs }) =>
      outputs.map(({ sealedKey, timeoutSeconds, ...output }) => ({
        ...output,
        streamKey: keys.unseal(sealedKey),
        timeoutSeconds: timeoutSeconds ?? defaults.timeoutSeconds,
      })),
  };
}

interface Link {
  readonly name: string;
  readonly slice: Slice;
  readonly response: ServerResponse;
  /** Changes that came while the whole was being read; undefined once it is written. */
  early: Change[] | undefined;
  /** The last version of which it was told, and the last that it has on disk. */
  sent: number;
  acked: number;
  /** When it broke (monotonic ms): its role may still serve by an older copy. */
  lostAt: number | undefined;
}

const heartbeatMs = 5_000;
/** A role that was here this recently is waited for as if it were: it is likely to be alive and about to call again. */
const lostMs = 10_000;
const maxBufferedBytes = 32 * 1024 * 1024;

/** The roles that follow this control: each gets the whole of its slice, then every change, and says what it has on disk. */
export class Links {
  readonly #links = new Map<string, Link>();
  readonly #waiting = new Set<() => void>();
  readonly #slices: Readonly<Record<string, Slice>>;
  readonly #whole: Whole;
  readonly #log: Log;
  readonly #heartbeat: NodeJS.Timeout;

  constructor(options: {
    readonly slices: Readonly<Record<string, Slice>>;
    readonly whole: Whole;
    readonly log: Log;
  }) {
    this.#slices = options.slices;
    this.#whole = options.whole;
    this.#log = options.log;
    this.#heartbeat = setInterval(() => {
      for (const link of this.#links.values()) if (!link.early) this.#say(link, { version: link.sent });
    }, heartbeatMs).unref();
  }

  /** Serves `response` until its role goes away. A role that calls again replaces its older link. */
  async open(role: string, node: string, response: ServerResponse): Promise<void> {
    const slice = Object.hasOwn(this.#slices, role) ? this.#slices[role] : undefined;
    if (!slice) throw new Failure("bad_request", `there is no slice for the role "${role}"`);
    const key = JSON.stringify([role, node]);
    this.#links.get(key)?.response.destroy();
    const link: Link = {
      name: `${role} (${node})`,
      slice,
      response,
      early: [],
      sent: -1,
      acked: -1,
      lostAt: undefined,
    };
    this.#links.set(key, link);
    response.once("close", () => {
      link.lostAt = performance.now();
      if (this.#links.get(key) === link) this.#log.info({ follower: role, node }, "role left");
      this.#wake();
    });
    const { version, ...parts } = await this.#whole();
    if (link.lostAt !== undefined) return;
    response.writeHead(200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
    const records = slice(parts);
    this.#say(link, { version, whole: { inputs: byUid(records) } });
    link.sent = version;
    const early = link.early ?? [];
    link.early = undefined;
    for (const change of early) this.#tell(link, change);
    this.#log.info({ follower: role, node, version, records: records.length }, "role follows");
  }

  /** A role has `version` on disk. */
  ack(role: string, node: string, version: number): void {
    const link = this.#links.get(JSON.stringify([role, node]));
    // A version that this link never carried is of another store, or of a link before it.
    if (!link || version > link.sent) return;
    link.acked = Math.max(link.acked, version);
    this.#wake();
  }

  /** Passes a committed change to every role. */
  changed(change: Change): void {
    for (const link of this.#links.values()) {
      if (link.early) link.early.push(change);
      else this.#tell(link, change);
    }
  }

  /** Waits at most `ms` until every role has `version` on disk; names those that have not. */
  async settled(version: number, ms: number): Promise<readonly string[]> {
    const late = AbortSignal.timeout(ms);
    for (;;) {
      const behind = this.#behind(version);
      if (behind.length === 0 || late.aborted) return behind;
      await new Promise<void>((resolve) => {
        const done = () => {
          this.#waiting.delete(done);
          late.removeEventListener("abort", done);
          resolve();
        };
        this.#waiting.add(done);
        late.addEventListener("abort", done, { once: true });
      });
    }
  }

  close(): void {
    clearInterval(this.#heartbeat);
    for (const link of this.#links.values()) link.response.end();
    this.#links.clear();
    this.#wake();
  }

  #behind(version: number): string[] {
    const behind: string[] = [];
    for (const [key, link] of this.#links) {
      if (link.lostAt !== undefined && performance.now() - link.lostAt > lostMs) this.#links.delete(key);
      else if (link.early || link.acked < Math.min(version, link.sent)) behind.push(link.name);
    }
    return behind;
  }

  #tell(link: Link, change: Change): void {
    const { version, remove } = change;
    if (version <= link.sent) return;
    const set = link.slice(change.set);
    // Nothing of its slice: it need not write, nor say so, and nobody waits for it.
    if (set.length + remove.length === 0) return;
    this.#say(link, { version, set: byUid(set), remove });
    link.sent = version;
  }

  #say(link: Link, line: object): void {
    if (link.lostAt !== undefined) return;
    link.response.write(`${JSON.stringify(line)}\n`);
    // It comes back for the whole when it reads again.
    if (link.response.writableLength > maxBufferedBytes) link.response.destroy();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}

function byUid<T extends { readonly uid: string }>(records: readonly T[]): Readonly<Record<string, T>> {
  return Object.fromEntries(records.map((record) => [record.uid, record]));
}
