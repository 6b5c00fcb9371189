import { randomBytes } from "node:crypto";
import { type Insertable, Kysely, type Selectable, sql, type Transaction, type Updateable } from "kysely";
import type { Jwk } from "../../auth/keys.ts";
import type { Log } from "../../lib/log.ts";
import type { LadderChoice } from "../../live/ladder.ts";
import type { FoundRecording } from "../../live/recordings.ts";
import type { GateRecord } from "../../live/snapshot.ts";
import type { Tally } from "../../live/tally.ts";
import type { ProfileName } from "../../packager/profiles.ts";
import { captionOf, captionRecords, captionsOf, removeCaptions } from "./captions.ts";
import { gapsOf, replaceGaps } from "./gaps.ts";
import { gateRecords, restoreVideo } from "./grants.ts";
import { migrate } from "./migrations.ts";
import type { Endpoint, Notice } from "./outbox.ts";
import { type OutputRecord, outputRecords, outputsOf, removeOutputs } from "./outputs.ts";
import type { PassKind } from "./passes.ts";
import { sqlite } from "./sqlite.ts";
import {
  clipping,
  type GapRow,
  type InputRow,
  type KeyRow,
  now,
  type StatusRow,
  type Tables,
  type VideoRow,
} from "./tables.ts";
import { readWatched, type WatchedFilter } from "./watched.ts";

export interface Recording {
  readonly mode: "off" | "automatic";
  /** null follows the configured default. */
  readonly timeoutSeconds: number | null;
  readonly requireSignedURLs: boolean;
  readonly allowedOrigins: readonly string[];
  readonly hideLiveViewerCount: boolean;
}

/** What may be said of a live input when it is made, and again later. */
export interface InputSettings {
  readonly meta: Readonly<Record<string, unknown>>;
  readonly enabled: boolean;
  readonly recording: Recording;
  readonly defaultCreator: string | null;
  readonly deleteRecordingAfterDays: number | null;
  readonly preferLowLatency: boolean;
  /** null follows the configured default. */
  readonly ladder: LadderChoice | null;
  readonly profile: ProfileName;
}

export interface LiveInput extends InputSettings {
  readonly uid: string;
  readonly name: string;
  readonly keyGeneration: number;
  readonly keysRotatedAt: string | null;
  readonly created: string;
  readonly modified: string;
}

/** Everything that slices are made of, or the part of it that changed. */
export interface Parts {
  readonly inputs: readonly LiveInput[];
  readonly gate: readonly GateRecord[];
  readonly outputs: readonly OutputRecord[];
}

/** What the roles must know of one committed change. `remove` names live inputs, outputs and records of the gate. */
export interface Change {
  readonly version: number;
  readonly set: Parts;
  readonly remove: readonly string[];
}

export type Status = Selectable<StatusRow>;
export type Video = Selectable<VideoRow>;
export type Writer = Transaction<Tables>;

/** Who asks with an API token. */
export interface Holder {
  readonly name: string;
  readonly scopes: readonly string[];
}

/** An API token, without what makes it one. */
export interface ApiToken {
  readonly name: string;
  readonly scopes: string[];
  readonly created: string;
}

/** Where the store is: a file of SQLite, or a PostgreSQL. */
export type Place =
  | {
      readonly file: string;
      /** In place of the system's own way to bring what was written to a descriptor onto the disk. */
      readonly sync?: (fd: number) => Promise<void>;
    }
  | { readonly databaseUrl: string; readonly log?: Log | undefined };

export interface InputFilter {
  /** Whose recordings are this creator's unless they say otherwise. */
  readonly creator?: string | undefined;
  readonly enabled?: boolean | undefined;
  /** Part of its uid or its name, in any case. */
  readonly search?: string | undefined;
  /** Was made after, or before, this moment. */
  readonly after?: string | undefined;
  readonly before?: string | undefined;
  readonly limit: number;
  readonly oldestFirst: boolean;
}

export interface VideoFilter {
  readonly liveInput?: string | undefined;
  readonly state?: string | undefined;
  readonly creator?: string | undefined;
  /** Exactly its name. */
  readonly name?: string | undefined;
  /** Part of its uid or its name, in any case. */
  readonly search?: string | undefined;
  /** Began after, or before, this moment. */
  readonly after?: string | undefined;
  readonly before?: string | undefined;
  readonly limit: number;
  readonly oldestFirst: boolean;
}

/** The store of control: the truth about live inputs, videos and tokens. What a promise of it has resolved is on disk. */
export class Records {
  /** Told of every change in the order of their versions; whoever is set here passes them to the roles. */
  onChange: (change: Change) => void = () => undefined;
  /** Told after every write. */
  onWrite: () => void = () => undefined;
  readonly #db: Kysely<Tables>;
  readonly #durable: () => Promise<void>;
  /** Who holds the token with this hash, while nothing of tokens is changed: every request asks. */
  #holders = new Map<string, Holder>();
  /** Committed, and perhaps not on the disk yet. */
  readonly #untold: Change[] = [];
  #last: Promise<unknown> = Promise.resolve();
  #broken: string | undefined;

  private constructor(db: Kysely<Tables>, durable: () => Promise<void>) {
    this.#db = db;
    this.#durable = durable;
  }

  /** Opens the database, makes a file when missing, and brings it to this version's shape. */
  static async open(where: Place): Promise<Records> {
    const { dialect, durable } =
      "file" in where
        ? sqlite(where.file, where.sync)
        : await (await import("./postgres.ts")).postgres(where.databaseUrl, where.log);
    const db = new Kysely<Tables>({ dialect });
    try {
      await migrate(db);
      await db
        .insertInto("counters")
        .values({ name: "snapshot", value: 0 })
        .onConflict((c) => c.doNothing())
        .execute();
      return new Records(db, durable);
    } catch (error) {
      await db.destroy();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#db.destroy();
  }

  /** Why the store takes no writes, if it does not. */
  get broken(): string | undefined {
    return this.#broken;
  }

  /**
   * Runs `work` in one transaction. When it touched what the roles know, the snapshot's version is raised in the same
   * transaction and `onChange` hears of it before the next write starts. Resolves with the version in force.
   */
  write<T>(work: (tx: Inputs) => Promise<T>): Promise<{ readonly result: T; readonly version: number }> {
    const run = async () => {
      try {
        const done = await this.#db.transaction().execute(async (tx) => {
          const inputs = new Inputs(tx);
          const result = await work(inputs);
          return { result, ...(await inputs.change()), tokens: inputs.tokensChanged };
        });
        if (done.tokens) this.#holders = new Map();
        if (done.change) this.#untold.push(done.change);
        // A commit that did not reach the disk is there all the same: the roles hear of it with the next that does.
        await this.#durable();
        this.#broken = undefined;
        for (const change of this.#untold.splice(0)) this.onChange(change);
        this.onWrite();
        return { result: done.result, version: done.version };
      } catch (error) {
        // SQLite's own, PostgreSQL's classes of a server that cannot, and sockets that end.
        const code = String((error as { code?: unknown }).code);
        if (code === "ERR_SQLITE_ERROR" || /^(08|53|57|58)...$|^E[A-Z]+$/.test(code))
          this.#broken = `the store refuses writes: ${(error as Error).message}`;
        throw error;
      }
    };
    return this.#inTurn(run);
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const next = this.#last.then(run);
    this.#last = next.catch(() => undefined);
    return next;
  }

  /** Everything that slices are made of, with the version that it is. */
  whole(): Promise<Parts & { readonly version: number }> {
    // Between two writes, so that it is of one version whatever the database would isolate.
    return this.#inTurn(() =>
      this.#db.transaction().execute(async (tx) => {
        const rows = await tx.selectFrom("live_inputs").selectAll().where("deleted", "is", null).execute();
        const gate = [...(await gateRecords(tx)), ...(await captionRecords(tx))];
        const outputs = await outputRecords(tx);
        return { version: await versionOf(tx), inputs: rows.map(inputOf), gate, outputs };
      }),
    );
  }

  async input(uid: string): Promise<LiveInput | undefined> {
    const row = await this.#db
      .selectFrom("live_inputs")
      .selectAll()
      .where("uid", "=", uid)
      .where("deleted", "is", null)
      .executeTakeFirst();
    return row && inputOf(row);
  }

  /** Live inputs, and how many in all the filter lets through. */
  async inputs(
    filter: InputFilter,
  ): Promise<{ readonly inputs: readonly LiveInput[]; readonly total: number }> {
    const { after, before, creator, enabled, search } = filter;
    let some = this.#db.selectFrom("live_inputs").where("deleted", "is", null);
    if (after !== undefined) some = some.where("created", ">", after);
    if (before !== undefined) some = some.where("created", "<", before);
    if (creator !== undefined) some = some.where("default_creator", "=", creator);
    if (enabled !== undefined) some = some.where("enabled", "=", enabled ? 1 : 0);
    if (search !== undefined) {
      const part = `%${likely(search.toLowerCase())}%`;
      some = some.where(sql<boolean>`(uid like ${part} escape '!' or lower(name) like ${part} escape '!')`);
    }
    const rows = await some
      .selectAll()
      .orderBy("created", filter.oldestFirst ? "asc" : "desc")
      .orderBy("uid")
      .limit(filter.limit)
      .execute();
    const { total } = await some.select((e) => e.fn.countAll<number>().as("total")).executeTakeFirstOrThrow();
    return { inputs: rows.map(inputOf), total: Number(total) };
  }

  async oldestInput(): Promise<LiveInput | undefined> {
    const row = await this.#db
      .selectFrom("live_inputs")
      .selectAll()
      .where("deleted", "is", null)
      .orderBy("created")
      .orderBy("uid")
      .executeTakeFirst();
    return row && inputOf(row);
  }

  status(uid: string): Promise<Status | undefined> {
    return this.#db.selectFrom("input_status").selectAll().where("live_input", "=", uid).executeTakeFirst();
  }

  /** The outputs of a live input, oldest first, each with its states, newest first. */
  outputs(liveInput: string): ReturnType<typeof outputsOf> {
    return outputsOf(this.#db, liveInput);
  }

  /** The captions that were uploaded for a video, by language. */
  captions(video: string): ReturnType<typeof captionsOf> {
    return captionsOf(this.#db, video);
  }

  /** One of them, with its text. */
  caption(which: Parameters<typeof captionOf>[1]): ReturnType<typeof captionOf> {
    return captionOf(this.#db, which);
  }

  /** Videos that can be watched: those on air and those recorded. */
  async videos(filter: VideoFilter): Promise<{ readonly videos: readonly Video[]; readonly total: number }> {
    let some = this.#watchable();
    if (filter.liveInput !== undefined) some = some.where("live_input", "=", filter.liveInput);
    if (filter.state !== undefined) some = some.where("state", "=", filter.state);
    const { after, before, creator, name, search } = filter;
    if (after !== undefined) some = some.where("started", ">", after);
    if (before !== undefined) some = some.where("started", "<", before);
    if (creator !== undefined)
      some = some.where((e) =>
        e.or([
          e("creator", "=", creator),
          e.and([
            e("creator", "is", null),
            e(
              "live_input",
              "in",
              this.#db.selectFrom("live_inputs").select("uid").where("default_creator", "=", creator),
            ),
          ]),
        ]),
      );
    if (name !== undefined || search !== undefined) {
      // What a video is called: by its own meta, else after its live input and the moment when it began.
      const called = sql<string>`coalesce(meta, (select coalesce(nullif(live_inputs.name, ''), 'Live') from live_inputs where live_inputs.uid = videos.live_input) || ' ' || started)`;
      if (name !== undefined)
        some = some.where((e) =>
          e.or([
            e(called, "=", name),
            // LIKE tells case apart in one database and not in the other.
            sql<boolean>`replace(meta, ${`"name":${JSON.stringify(name)}`}, '') <> meta`,
          ]),
        );
      if (search !== undefined) {
        const part = `%${likely(search.toLowerCase())}%`;
        some = some.where(
          sql<boolean>`(uid like ${part} escape '!' or lower(${called}) like ${part} escape '!')`,
        );
      }
    }
    const videos = await some
      .selectAll()
      .orderBy("started", filter.oldestFirst ? "asc" : "desc")
      .orderBy("uid")
      .limit(filter.limit)
      .execute();
    const { total } = await some.select((e) => e.fn.countAll<number>().as("total")).executeTakeFirstOrThrow();
    return { videos, total: Number(total) };
  }

  video(uid: string): Promise<Video | undefined> {
    return this.#watchable().selectAll().where("uid", "=", uid).executeTakeFirst();
  }

  /** What a recording lacks, in the order of its time. */
  gaps(video: string): Promise<readonly Selectable<GapRow>[]> {
    return gapsOf(this.#db, video);
  }

  /** What origins counted of viewers. */
  watched(filter: WatchedFilter): Promise<readonly Tally[]> {
    return readWatched(this.#db, filter);
  }

  /** The token whose SHA-256 this is. */
  async token(sha256: string): Promise<Holder | undefined> {
    // One that is read while a change is committed goes where nobody looks any more.
    const holders = this.#holders;
    const known = holders.get(sha256);
    if (known) return known;
    const row = await this.#db
      .selectFrom("api_tokens")
      .select(["name", "scopes"])
      .where("sha256", "=", sha256)
      .executeTakeFirst();
    if (!row) return undefined;
    const holder = { name: row.name, scopes: JSON.parse(row.scopes) as string[] };
    holders.set(sha256, holder);
    return holder;
  }

  async tokens(): Promise<readonly ApiToken[]> {
    const rows = await this.#db
      .selectFrom("api_tokens")
      .select(["name", "scopes", "created"])
      .orderBy("name")
      .execute();
    return rows.map((row) => ({ ...row, scopes: JSON.parse(row.scopes) as string[] }));
  }

  /** The pass with this hash, while it is good. */
  pass(sha256: string, kind: PassKind): Promise<{ readonly expires: string } | undefined> {
    return this.#db
      .selectFrom("passes")
      .select("expires")
      .where("sha256", "=", sha256)
      .where("kind", "=", kind)
      .where("expires", ">", now())
      .executeTakeFirst();
  }

  /** Who changed what, the newest first. */
  auditLog(limit: number) {
    return this.#db
      .selectFrom("audit")
      .select(["at", "actor", "action", "subject"])
      .orderBy("at", "desc")
      .limit(limit)
      .execute();
  }

  /** Every address that wants to hear what happens, oldest first. */
  endpoints(): Promise<readonly Endpoint[]> {
    return this.#db.selectFrom("webhook_endpoints").selectAll().orderBy("created").orderBy("id").execute();
  }

  endpoint(id: string): Promise<Endpoint | undefined> {
    return this.#db.selectFrom("webhook_endpoints").selectAll().where("id", "=", id).executeTakeFirst();
  }

  /** The inputs of each endpoint that something waits for. */
  waiting(): Promise<readonly { readonly endpoint: string; readonly live_input: string }[]> {
    return this.#db
      .selectFrom("webhook_outbox")
      .select(["endpoint", "live_input"])
      .where("state", "=", "waiting")
      .groupBy(["endpoint", "live_input"])
      .execute();
  }

  /** What is to be delivered next of an input to an endpoint. */
  nextNotice(endpoint: string, liveInput: string): Promise<Notice | undefined> {
    return this.#db
      .selectFrom("webhook_outbox")
      .selectAll()
      .where("state", "=", "waiting")
      .where("endpoint", "=", endpoint)
      .where("live_input", "=", liveInput)
      .orderBy("seq")
      .limit(1)
      .executeTakeFirst();
  }

  /** The newest of what an endpoint heard or is to hear. */
  notices(endpoint: string, limit: number): Promise<readonly Notice[]> {
    return this.#db
      .selectFrom("webhook_outbox")
      .selectAll()
      .where("endpoint", "=", endpoint)
      .orderBy("seq", "desc")
      .limit(limit)
      .execute();
  }

  signingKeys(): Promise<readonly KeyRow[]> {
    return this.#db.selectFrom("signing_keys").selectAll().orderBy("created").orderBy("kid").execute();
  }

  /** The public half of a signing key. */
  async signingKey(kid: string): Promise<Jwk | undefined> {
    const row = await this.#db
      .selectFrom("signing_keys")
      .select("jwk")
      .where("kid", "=", kid)
      .executeTakeFirst();
    return row && (JSON.parse(row.jwk) as Jwk);
  }

  async setting(name: string): Promise<string | undefined> {
    const row = await this.#db
      .selectFrom("settings")
      .select("value")
      .where("name", "=", name)
      .executeTakeFirst();
    return row?.value;
  }

  /** Recordings whose files are to go. */
  async doomed(): Promise<readonly string[]> {
    const rows = await this.#db.selectFrom("videos").select("uid").where("recorded", "=", doomed).execute();
    return rows.map(({ uid }) => uid);
  }

  /** When the next recording is due to go by itself, ISO 8601. */
  async nextDeletion(): Promise<string | undefined> {
    const row = await this.#db
      .selectFrom("videos")
      .select((e) => e.fn.min<string>("scheduled_deletion").as("at"))
      .where("recorded", "=", 1)
      .executeTakeFirst();
    return row?.at ?? undefined;
  }

  #watchable() {
    return this.#db
      .selectFrom("videos")
      .where((e) => e.or([e("state", "=", "live-inprogress"), e("recorded", "=", 1)]));
  }
}

/** In place of 1 for a recording whose files are to go: nobody is shown it any more. */
const doomed = 2;

/** What a write may do. Remembers what it touched of that which the roles know. */
export class Inputs {
  readonly tx: Writer;
  readonly #touched = new Set<string>();
  readonly #gate = new Map<string, GateRecord | undefined>();
  readonly #outputs = new Set<string>();
  #tokensChanged = false;

  constructor(tx: Writer) {
    this.tx = tx;
  }

  get tokensChanged(): boolean {
    return this.#tokensChanged;
  }

  /** The gate has to know this record, or that there is none any more. */
  tell(uid: string, record: GateRecord | undefined): void {
    this.#gate.set(uid, record);
  }

  /** Whoever sends to other services has to know this output as it is now, or that it is gone. */
  tellOutput(uid: string): void {
    this.#outputs.add(uid);
  }

  async create(uid: string, settings: InputSettings): Promise<LiveInput> {
    const at = now();
    const row: Insertable<InputRow> = {
      uid,
      ...columnsOf(settings),
      key_generation: 1,
      keys_rotated_at: null,
      created: at,
      modified: at,
      deleted: null,
    };
    await this.tx.insertInto("live_inputs").values(row).execute();
    this.#touched.add(uid);
    return inputOf(row as Selectable<InputRow>);
  }

  /** Replaces by what `next` makes of the present; undefined when there is no such live input. */
  async update(uid: string, next: (present: LiveInput) => InputSettings): Promise<LiveInput | undefined> {
    const present = await this.find(uid);
    return present && this.#set(uid, columnsOf(next(present)));
  }

  /** Makes every stream key of the input so far wrong. */
  async rotate(uid: string): Promise<LiveInput | undefined> {
    const present = await this.find(uid);
    const at = now();
    return (
      present &&
      this.#set(uid, { key_generation: present.keyGeneration + 1, keys_rotated_at: at, modified: at })
    );
  }

  /** False when there is no such live input. */
  async remove(uid: string): Promise<boolean> {
    const removed = (await this.#set(uid, { deleted: now() })) !== undefined;
    if (removed) await removeOutputs(this, uid);
    return removed;
  }

  async find(uid: string): Promise<LiveInput | undefined> {
    const row = await this.tx
      .selectFrom("live_inputs")
      .selectAll()
      .where("uid", "=", uid)
      .where("deleted", "is", null)
      .executeTakeFirst();
    return row && inputOf(row);
  }

  /** Nobody is shown this recording any more, and its files are to go. False when there is no such recording. */
  async doom(video: string): Promise<boolean> {
    const { numUpdatedRows } = await this.tx
      .updateTable("videos")
      .set({ recorded: doomed, modified: now() })
      .where("uid", "=", video)
      .where("recorded", "=", 1)
      .executeTakeFirst();
    return Number(numUpdatedRows) > 0;
  }

  /** The same for a clip that was announced and came to nothing, or for all of them: what there is of its files goes. */
  async doomClips(uid?: string): Promise<void> {
    let clips = this.tx.updateTable("videos").set({ recorded: doomed, modified: now() });
    if (uid !== undefined) clips = clips.where("uid", "=", uid);
    await clips.where("state", "=", clipping).where("recorded", "=", 0).execute();
  }

  /** The same for all whose time has come. */
  async doomDue(): Promise<void> {
    await this.tx
      .updateTable("videos")
      .set({ recorded: doomed, modified: now() })
      .where("recorded", "=", 1)
      .where("scheduled_deletion", "<=", now())
      .execute();
  }

  /** There is this recording, whatever the store knew of it. False when it knew, or when it is to go. */
  async restore(found: FoundRecording): Promise<boolean> {
    const { uid, input, seconds, bytes, gaps } = found;
    const [started, ended] = [new Date(found.startedMs).toISOString(), new Date(found.endedMs).toISOString()];
    const known = await this.tx.selectFrom("videos").selectAll().where("uid", "=", uid).executeTakeFirst();
    if (known) {
      if (known.recorded === doomed || known.state === "live-inprogress") return false;
      const same = known.seconds === seconds && Number(known.bytes) === bytes;
      const told = await replaceGaps(this.tx, uid, gaps);
      if (known.recorded === 1 && same) return told;
      await this.tx
        .updateTable("videos")
        .set({ state: "ready", recorded: 1, seconds, bytes, ended: known.ended ?? ended, modified: now() })
        .where("uid", "=", uid)
        .execute();
      return true;
    }
    await replaceGaps(this.tx, uid, gaps);
    // What protected it is not known any more where its live input is not: then nobody is let in without a token.
    const owner = await this.find(input);
    await restoreVideo(this, {
      ...{
        uid,
        live_input: input,
        state: "ready",
        recorded: 1,
        seconds,
        bytes,
        started,
        ended,
        modified: now(),
      },
      ...{ require_signed_urls: owner ? null : 1, allowed_origins: null, meta: null, creator: null },
      ...{ scheduled_deletion: null, thumbnail_ppm: null, clipped_from: null, public_details: null },
    });
    return true;
  }

  /** Its files are gone. */
  async forget(video: string): Promise<void> {
    await this.tx.deleteFrom("video_gaps").where("video", "=", video).execute();
    await removeCaptions(this, video);
    await this.tx.deleteFrom("videos").where("uid", "=", video).where("recorded", "=", doomed).execute();
  }

  /** The live input that this key made before, "deleted" when it is gone since, undefined when the key is new or older than `since`. */
  async made(account: string, key: string, since: string): Promise<LiveInput | "deleted" | undefined> {
    await this.tx.deleteFrom("idempotency").where("created", "<", since).execute();
    const row = await this.tx
      .selectFrom("idempotency")
      .select("uid")
      .where("account", "=", account)
      .where("key", "=", key)
      .executeTakeFirst();
    return row && ((await this.find(row.uid)) ?? "deleted");
  }

  async remember(account: string, key: string, uid: string): Promise<void> {
    await this.tx.insertInto("idempotency").values({ account, key, uid, created: now() }).execute();
  }

  async audit(actor: string, action: string, subject: string): Promise<void> {
    const id = randomBytes(16).toString("hex");
    await this.tx.insertInto("audit").values({ id, at: now(), actor, action, subject }).execute();
  }

  async set(name: string, value: string): Promise<void> {
    await this.tx
      .insertInto("settings")
      .values({ name, value })
      .onConflict((c) => c.column("name").doUpdateSet({ value }))
      .execute();
  }

  /** Makes `sha256` the one token called `name`. */
  async setToken(name: string, sha256: string, scopes: readonly string[]): Promise<ApiToken> {
    this.#tokensChanged = true;
    const values = { sha256, scopes: JSON.stringify(scopes), created: now() };
    await this.tx
      .insertInto("api_tokens")
      .values({ name, ...values })
      .onConflict((c) => c.column("name").doUpdateSet(values))
      .execute();
    return { name, scopes: [...scopes], created: values.created };
  }

  async hasToken(name: string): Promise<boolean> {
    const row = await this.tx
      .selectFrom("api_tokens")
      .select("name")
      .where("name", "=", name)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** False when there is no such token. */
  async removeToken(name: string): Promise<boolean> {
    this.#tokensChanged = true;
    const { numDeletedRows } = await this.tx
      .deleteFrom("api_tokens")
      .where("name", "=", name)
      .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  /** The version in force after this write, and what the roles must hear. */
  async change(): Promise<{ readonly version: number; readonly change?: Change }> {
    if (this.#touched.size + this.#gate.size + this.#outputs.size === 0)
      return { version: await versionOf(this.tx) };
    const { value } = await this.tx
      .updateTable("counters")
      .set((e) => ({ value: e("value", "+", 1) }))
      .where("name", "=", "snapshot")
      .returning("value")
      .executeTakeFirstOrThrow();
    const version = Number(value);
    const uids = [...this.#touched];
    // PostgreSQL knows no empty list.
    const rows = uids.length
      ? await this.tx
          .selectFrom("live_inputs")
          .selectAll()
          .where("uid", "in", uids)
          .where("deleted", "is", null)
          .execute()
      : [];
    const alive = new Set(rows.map((row) => row.uid));
    const gate = [...this.#gate.values()].filter((record) => record !== undefined);
    const outputs = await outputRecords(this.tx, { inputs: uids, outputs: [...this.#outputs] });
    for (const { uid } of [...gate, ...outputs]) alive.add(uid);
    return {
      version,
      change: {
        version,
        set: { inputs: rows.map(inputOf), gate, outputs },
        remove: [...uids, ...this.#gate.keys(), ...this.#outputs].filter((uid) => !alive.has(uid)),
      },
    };
  }

  async #set(uid: string, values: Updateable<InputRow>): Promise<LiveInput | undefined> {
    const row = await this.tx
      .updateTable("live_inputs")
      .set({ modified: now(), ...values })
      .where("uid", "=", uid)
      .where("deleted", "is", null)
      .returningAll()
      .executeTakeFirst();
    if (row) this.#touched.add(uid);
    return row && inputOf(row);
  }
}

/** Text as it is, inside a pattern of LIKE. */
function likely(text: string): string {
  return text.replace(/[!%_]/g, "!$&");
}

async function versionOf(db: Kysely<Tables>): Promise<number> {
  const row = await db
    .selectFrom("counters")
    .select("value")
    .where("name", "=", "snapshot")
    .executeTakeFirstOrThrow();
  return Number(row.value);
}

function columnsOf(settings: InputSettings) {
  const { name } = settings.meta;
  return {
    name: typeof name === "string" ? name : "",
    meta: JSON.stringify(settings.meta),
    enabled: settings.enabled ? 1 : 0,
    recording: JSON.stringify(settings.recording),
    default_creator: settings.defaultCreator,
    delete_recording_after_days: settings.deleteRecordingAfterDays,
    prefer_low_latency: settings.preferLowLatency ? 1 : 0,
    ladder: settings.ladder && JSON.stringify(settings.ladder),
    profile: settings.profile,
  };
}

function inputOf(row: Selectable<InputRow>): LiveInput {
  return {
    uid: row.uid,
    name: row.name,
    meta: JSON.parse(row.meta) as Record<string, unknown>,
    enabled: row.enabled === 1,
    keyGeneration: row.key_generation,
    keysRotatedAt: row.keys_rotated_at,
    recording: JSON.parse(row.recording) as Recording,
    defaultCreator: row.default_creator,
    deleteRecordingAfterDays: row.delete_recording_after_days,
    preferLowLatency: row.prefer_low_latency === 1,
    profile: row.profile as ProfileName,
    ladder: row.ladder === null ? null : (JSON.parse(row.ladder) as LadderChoice),
    created: row.created,
    modified: row.modified,
  };
}
