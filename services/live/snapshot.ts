import { mkdir, stat, utimes } from "node:fs/promises";
import { dirname } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { Failure } from "../lib/errors.ts";
import { requestInternal } from "../lib/http.ts";
import type { Running } from "../lib/lifecycle.ts";
import { linesFrom } from "../lib/lines.ts";
import type { Log } from "../lib/log.ts";
import { backoffMs, pause } from "../lib/retry.ts";
import type { ProfileName } from "../packager/profiles.ts";
import { type Delta, Kept } from "./kept.ts";
import type { LadderChoice } from "./ladder.ts";

/** What ingest knows of a live input: enough to let an encoder in, not enough to be one. */
export interface IngestInput {
  readonly uid: string;
  readonly enabled: boolean;
  /** Lower-case hex SHA-256 of the stream key. */
  readonly keyHash: string;
}

/** What the origin knows of a live input. */
export interface OriginInput {
  readonly uid: string;
  readonly name: string;
  readonly enabled: boolean;
  /** How long a broadcast waits for an encoder that vanished. */
  readonly timeoutSeconds: number;
  readonly profile: ProfileName;
  /** Absent: as this installation is set. */
  readonly ladder?: LadderChoice;
  /** What it demands of viewers; also of those who watch one of its videos that demands nothing of its own. */
  readonly requireSignedURLs: boolean;
  readonly allowedOrigins: readonly string[];
  /** Whether its broadcasts stay as recordings. */
  readonly record: boolean;
  /** Whether the public is not told how many watch. */
  readonly hideLiveViewerCount?: boolean;
}

/** What whoever lets viewers in knows besides the live inputs. `uid` is the kind, a colon and its name. Moments are epoch ms. */
export type GateRecord = { readonly uid: string } & (
  | { readonly kind: "key"; readonly alg: string; readonly jwk: Readonly<Record<string, string>> }
  /** A token that is revoked, by the SHA-256 of what was signed. */
  | { readonly kind: "token"; readonly until: number }
  /** A viewer whose permissions up to this version are revoked. */
  | { readonly kind: "viewer"; readonly version: number; readonly until: number }
  /** Captions that were uploaded for a video, by language. */
  | {
      readonly kind: "captions";
      readonly captions: readonly {
        readonly id: string;
        readonly language: string;
        readonly label: string;
      }[];
    }
  /** A video that has something of its own; a policy of null is as its live input says. */
  | {
      readonly kind: "video";
      readonly requireSignedURLs: boolean | null;
      readonly allowedOrigins: readonly string[] | null;
      /** Which moment of it stands for it, as a share of its length. */
      readonly thumbnail?: number | undefined;
    }
);

export interface SnapshotOptions {
  /** The slice asked for: "ingest", "origin" or "gate". */
  readonly role: string;
  /** Names this process among its likes; control tells people by it who is behind. */
  readonly node: string;
  /** Control's internal address. */
  readonly control: string;
  /** The copy on disk; its folder is made when missing. */
  readonly file: string;
  readonly secret?: string | undefined;
  readonly log: Log;
}

/** Control's last word, kept current, and kept on disk for the time when control is away. */
export interface Snapshot<Input> extends Running {
  /** Settles once there is anything to decide by: a copy on disk or control's first word. Rejects only when closed before. */
  readonly ready: Promise<void>;
  get(uid: string): Input | undefined;
  values(): IterableIterator<Input>;
  /** Calls `listener` after each change with the uids whose records came, went or differ. Returns its end. */
  onChange(listener: (uids: ReadonlySet<string>) => void): () => void;
  /** The version in force; 0 before the first. */
  readonly version: number;
  /** How long ago control was last heard, also before a restart; Infinity when never. */
  readonly contactMs: number;
}

interface Line<Input> extends Delta<Input> {
  readonly whole?: { readonly inputs: Record<string, Input> };
}

/** One link to control, and the version that it was last told is kept here. */
interface Heard {
  readonly signal: AbortSignal;
  acknowledged: number | undefined;
}

/** More changes than these that wait for the disk are written as the whole that they make. */
const maxUnwritten = 1_000;

/** Control writes a line at least every 5 s, so a link this quiet is dead whatever TCP believes. */
const quietMs = 20_000;

/** Opens the copy on disk and follows control until closed. Never rejects for want of control. */
export function openSnapshot<Input extends { readonly uid: string }>(
  options: SnapshotOptions,
): Snapshot<Input> {
  return new Copy<Input>(options);
}

class Copy<Input extends { readonly uid: string }> implements Snapshot<Input> {
  readonly ready: Promise<void>;
  readonly closed: Promise<void>;
  readonly #options: SnapshotOptions;
  readonly #stop = new AbortController();
  readonly #ready = Promise.withResolvers<void>();
  readonly #listeners = new Set<(uids: ReadonlySet<string>) => void>();
  #inputs = new Map<string, Input>();
  #version = 0;
  readonly #kept: Kept<Input>;
  /** In force and not on disk yet: these changes, or all of it. */
  #unwritten: Delta<Input>[] | "whole" = [];
  #contactAt = Number.NEGATIVE_INFINITY;

  constructor(options: SnapshotOptions) {
    this.#options = options;
    this.#kept = new Kept(options.file);
    this.ready = this.#ready.promise;
    // A role that stops before it was ready need not handle that twice.
    this.ready.catch(() => undefined);
    this.closed = this.#run();
  }

  get version(): number {
    return this.#version;
  }

  get contactMs(): number {
    return Math.max(0, Date.now() - this.#contactAt);
  }

  get(uid: string): Input | undefined {
    return this.#inputs.get(uid);
  }

  values(): IterableIterator<Input> {
    return this.#inputs.values();
  }

  onChange(listener: (uids: ReadonlySet<string>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    this.#stop.abort();
    return this.closed;
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#stop;
    await this.#load();
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#follow(() => {
          if (failures > 0) log.info({ failures, version: this.#version }, "control is back");
          failures = 0;
        });
        if (!signal.aborted) log.warn("control ended the link; working from the last snapshot");
      } catch (error) {
        if (signal.aborted) break;
        // One line when it begins; the rest of an outage says nothing new.
        if (failures === 0) log.warn({ err: error }, "control is away; working from the last snapshot");
      }
      await pause(backoffMs(failures++, 100, 2_000), signal);
    }
    await this.#kept.close();
    this.#ready.reject(new Failure("unavailable", "closed before the first snapshot came"));
  }

  async #load(): Promise<void> {
    const { file, log } = this.#options;
    try {
      const { version, inputs } = await this.#kept.read();
      this.#inputs = new Map(inputs);
      this.#version = version;
      // The copy's mtime is kept at the last contact, so that staleness counts over a restart.
      this.#contactAt = (await stat(file)).mtimeMs;
      this.#ready.resolve();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        log.warn({ err: error, file }, "the snapshot on disk cannot be read; waiting for control");
    }
  }

  /** One link to control, from its first line to its end or failure. */
  async #follow(onHeard: () => void): Promise<void> {
    const { control: address, node, role, secret } = this.#options;
    const link = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, link.signal]);
    const heard: Heard = { signal, acknowledged: undefined };
    const path = `/internal/slice?role=${encodeURIComponent(role)}&node=${encodeURIComponent(node)}`;
    let written: Promise<void> | undefined;
    try {
      let first = true;
      for await (const lines of linesFrom<Line<Input>>({ address, path, secret, signal, quietMs })) {
        // What is in force never waits for a disk: a revocation would, behind the change before it.
        const news = this.#take(lines, first);
        if (!news && !written) await this.#touch();
        if (heard.acknowledged !== this.#version)
          written ??= this.#write(heard)
            .catch((error: unknown) => link.abort(error))
            .finally(() => {
              written = undefined;
            });
        if (first) onHeard();
        first = false;
      }
    } catch (error) {
      throw link.signal.aborted ? link.signal.reason : error;
    } finally {
      // Nobody is there to hear what was written.
      link.abort();
      await written;
    }
  }

  /** Puts what came in force, at once. True when there is news to write down. */
  #take(lines: readonly Line<Input>[], first: boolean): boolean {
    const { log } = this.#options;
    const changed = new Set<string>();
    let news = false;
    for (const [i, line] of lines.entries()) {
      if (!Number.isSafeInteger(line.version) || line.version < 0)
        throw new Failure("bad_request", "control sent no version");
      if (first && i === 0) {
        if (!line.whole) throw new Failure("bad_request", "control's first line is not a whole snapshot");
        if (line.version < this.#version)
          log.warn(
            { ours: this.#version, theirs: line.version },
            "control's store is an older or another one; taking its word",
          );
        this.#replace(line.whole.inputs, changed);
        this.#unwritten = "whole";
        news = true;
      } else if (line.version > this.#version) {
        this.#note(this.#apply(line, changed));
        news = true;
      } else if (line.version < this.#version || line.set || line.remove) {
        throw new Failure("conflict", "control's versions went backwards within one link");
      }
      this.#version = line.version;
    }
    this.#contactAt = Date.now();
    if (changed.size > 0) for (const listener of [...this.#listeners]) listener(changed);
    if (news) this.#ready.resolve();
    return news;
  }

  /**
   * Makes what is in force last, and only then tells control so; what comes meanwhile goes with the next write, whatever became of the
   * link. A version that changes nothing here needs no disk.
   */
  async #write(heard: Heard): Promise<void> {
    const { signal } = heard;
    let failed: unknown;
    const unheard = () => !failed && !signal.aborted && heard.acknowledged !== this.#version;
    while (this.#unwritten.length > 0 || unheard()) {
      const version = this.#version;
      if (this.#unwritten.length > 0) await this.#keep();
      if (!unheard()) continue;
      heard.acknowledged = version;
      await this.#acknowledge(version, signal).catch((error: unknown) => {
        failed = error;
      });
    }
    if (failed) throw failed;
  }

  async #keep(): Promise<void> {
    const unwritten = this.#unwritten;
    this.#unwritten = [];
    const held = { version: this.#version, inputs: this.#inputs };
    if (unwritten !== "whole") return this.#kept.write(held, unwritten);
    await mkdir(dirname(this.#options.file), { recursive: true, mode: 0o700 });
    await this.#kept.write(held);
  }

  async #acknowledge(version: number, signal: AbortSignal): Promise<void> {
    const { control, node, role, secret } = this.#options;
    const { status } = await requestInternal(control, "/internal/ack", {
      method: "POST",
      json: { role, node, version },
      signal,
      secret,
    });
    if (status >= 300) throw new Failure("unavailable", `control answered ${status} to an acknowledgement`);
  }

  /** Notes on the copy that control was heard. */
  async #touch(): Promise<void> {
    const now = new Date();
    await utimes(this.#options.file, now, now).catch(() => undefined);
  }

  #replace(inputs: Record<string, Input>, changed: Set<string>): void {
    const fresh = new Map(Object.entries(inputs));
    for (const uid of this.#inputs.keys()) if (!fresh.has(uid)) changed.add(uid);
    for (const [uid, input] of fresh) if (!isDeepStrictEqual(input, this.#inputs.get(uid))) changed.add(uid);
    this.#inputs = fresh;
  }

  /** What of a change is one here, if anything is. */
  #apply({ version, set = {}, remove = [] }: Line<Input>, changed: Set<string>): Delta<Input> | undefined {
    const removed = remove.filter((uid) => this.#inputs.delete(uid));
    const fresh = Object.entries(set).filter(
      ([uid, input]) => !isDeepStrictEqual(input, this.#inputs.get(uid)),
    );
    for (const [uid, input] of fresh) this.#inputs.set(uid, input);
    for (const uid of [...removed, ...fresh.map(([uid]) => uid)]) changed.add(uid);
    if (removed.length + fresh.length === 0) return undefined;
    return { version, set: Object.fromEntries(fresh), remove: removed };
  }

  #note(delta: Delta<Input> | undefined): void {
    if (!delta || this.#unwritten === "whole") return;
    if (this.#unwritten.length >= maxUnwritten) this.#unwritten = "whole";
    else this.#unwritten.push(delta);
  }
}
