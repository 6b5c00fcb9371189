import { type CompiledQuery, Kysely, type Selectable, sql } from "kysely";
import type { Jwk } from "../../auth/keys.ts";
import type { Log } from "../../lib/log.ts";
import type { Tally } from "../../live/tally.ts";
import { captionOf, captionRecords, captionsOf } from "./captions.ts";
import { gapsOf } from "./gaps.ts";
import { gateRecords } from "./grants.ts";
import {
  type ApiToken,
  type Change,
  doomed,
  Inputs,
  inputOf,
  type LiveInput,
  type Parts,
  type Recording,
  versionOf,
} from "./inputs.ts";
import { migrate } from "./migrations.ts";
import type { Endpoint, Notice } from "./outbox.ts";
import { outputRecords, outputsOf } from "./outputs.ts";
import type { PassKind } from "./passes.ts";
import { type Opened, sqlite } from "./sqlite.ts";
import {
  type GapRow,
  type InputRow,
  type KeyRow,
  now,
  type StatusRow,
  type Tables,
  type VideoRow,
} from "./tables.ts";
import { readWatched, type WatchedFilter } from "./watched.ts";

export type Status = Selectable<StatusRow>;
export type Video = Selectable<VideoRow>;
/** What a video has of its live input, as long as that exists. */
export type Owner = Pick<LiveInput, "name" | "defaultCreator" | "recording">;

/** Who asks with an API token. */
export interface Holder {
  readonly name: string;
  readonly scopes: readonly string[];
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
}

/** How much of a list. */
export interface Page {
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
}

/** The store of control: the truth about live inputs, videos and tokens. What a promise of it has resolved is on disk. */
export class Records {
  /** Told of every change in the order of their versions; whoever is set here passes them to the roles. */
  onChange: (change: Change) => void = () => undefined;
  /** Told after every write. */
  onWrite: () => void = () => undefined;
  readonly #db: Kysely<Tables>;
  readonly #store: Opened;
  readonly #inputOf: (uid: string) => Promise<readonly Selectable<InputRow>[]>;
  readonly #statusOf: (uid: string) => Promise<readonly Status[]>;
  /** Who holds the token with this hash, while nothing of tokens is changed: every request asks. */
  #holders = new Map<string, Holder>();
  /** Committed, and perhaps not on the disk yet. */
  readonly #untold: Change[] = [];
  #last: Promise<unknown> = Promise.resolve();
  /** Settles once the disk has, or has refused, everything that is committed. */
  #safe: Promise<unknown> = Promise.resolve();
  #broken: string | undefined;

  private constructor(db: Kysely<Tables>, store: Opened) {
    this.#db = db;
    this.#store = store;
    this.#inputOf = once(db, (uid) =>
      db.selectFrom("live_inputs").selectAll().where("uid", "=", uid).where("deleted", "is", null),
    );
    this.#statusOf = once(db, (uid) =>
      db.selectFrom("input_status").selectAll().where("live_input", "=", uid),
    );
  }

  /** Opens the database, makes a file when missing, and brings it to this version's shape. */
  static async open(where: Place): Promise<Records> {
    const store =
      "file" in where
        ? sqlite(where.file, where.sync)
        : await (await import("./postgres.ts")).postgres(where.databaseUrl, where.log);
    const db = new Kysely<Tables>({ dialect: store.dialect });
    try {
      await migrate(db);
      await db
        .insertInto("counters")
        .values({ name: "snapshot", value: 0 })
        .onConflict((c) => c.doNothing())
        .execute();
      return new Records(db, store);
    } catch (error) {
      await store.quiet();
      await db.destroy();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#safe;
    await this.#store.quiet();
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
  async write<T>(
    work: (tx: Inputs) => Promise<T>,
  ): Promise<{ readonly result: T; readonly version: number }> {
    try {
      const { safe, ...done } = await this.#inTurn(() => this.#commit(work));
      await safe;
      this.#broken = undefined;
      this.onWrite();
      return done;
    } catch (error) {
      if (cannotWrite(error)) this.#broken = `the store refuses writes: ${(error as Error).message}`;
      throw error;
    }
  }

  /** `safe` resolves when the disk has it and the roles have heard; the next write need not wait for that. */
  async #commit<T>(work: (tx: Inputs) => Promise<T>) {
    await this.#store.roomy();
    const { tokens, change, ...done } = await this.#db.transaction().execute(async (tx) => {
      const inputs = new Inputs(tx);
      const result = await work(inputs);
      return { result, ...(await inputs.change()), tokens: inputs.tokensChanged };
    });
    if (tokens) this.#holders = new Map();
    if (change) this.#untold.push(change);
    const safe = this.#store.durable().then(() => {
      // Also those before whose own way to the disk has failed: they are committed, and have come there with this one.
      while (this.#untold[0] && this.#untold[0].version <= done.version) this.onChange(this.#untold.shift()!);
    });
    this.#safe = safe.catch(() => undefined);
    return { ...done, safe };
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
    const [row] = await this.#inputOf(uid);
    return row && inputOf(row);
  }

  async inputs({ limit, oldestFirst, ...filter }: InputFilter & Page): Promise<readonly LiveInput[]> {
    const rows = await this.#inputsLike(filter)
      .selectAll()
      .orderBy("created", oldestFirst ? "asc" : "desc")
      .orderBy("uid")
      .limit(limit)
      .execute();
    return rows.map(inputOf);
  }

  /** How many there are of these in all. */
  async inputCount(filter: InputFilter): Promise<number> {
    const { total } = await this.#inputsLike(filter)
      .select((e) => e.fn.countAll<number>().as("total"))
      .executeTakeFirstOrThrow();
    return Number(total);
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

  async status(uid: string): Promise<Status | undefined> {
    const [row] = await this.#statusOf(uid);
    return row;
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
  async videos({
    limit,
    oldestFirst,
    ...filter
  }: VideoFilter & Page): Promise<readonly (Video & { readonly owner: Owner | undefined })[]> {
    const order = oldestFirst ? "asc" : "desc";
    const page = this.#videosLike(filter).selectAll().orderBy("started", order).orderBy("uid").limit(limit);
    const rows = await this.#db
      .selectFrom(page.as("page"))
      .leftJoin("live_inputs", (join) =>
        join.onRef("live_inputs.uid", "=", "page.live_input").on("live_inputs.deleted", "is", null),
      )
      .selectAll("page")
      .select([
        "live_inputs.name as owner_name",
        "live_inputs.default_creator as owner_creator",
        "live_inputs.recording as owner_recording",
      ])
      .orderBy("page.started", order)
      .orderBy("page.uid")
      .execute();
    return rows.map(({ owner_name, owner_creator, owner_recording, ...video }) => ({
      ...video,
      owner:
        owner_recording === null
          ? undefined
          : {
              name: owner_name ?? "",
              defaultCreator: owner_creator,
              recording: JSON.parse(owner_recording) as Recording,
            },
    }));
  }

  /** How many there are of these in all, and how long they are together. */
  async videoTotals(filter: VideoFilter): Promise<{ readonly count: number; readonly seconds: number }> {
    const { count, seconds } = await this.#videosLike(filter)
      .select((e) => [e.fn.countAll<number>().as("count"), e.fn.sum<number | null>("seconds").as("seconds")])
      .executeTakeFirstOrThrow();
    return { count: Number(count), seconds: Number(seconds ?? 0) };
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

  #inputsLike(filter: InputFilter) {
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
    return some;
  }

  #videosLike(filter: VideoFilter) {
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
    return some;
  }

  #watchable() {
    return this.#db
      .selectFrom("videos")
      .where((e) => e.or([e("state", "=", "live-inprogress"), e("recorded", "=", 1)]));
  }
}

/** A query for the rows of one name, put together once: that costs more than to run it, and each call of the API asks for some of these. */
function once<Row>(
  db: Kysely<Tables>,
  query: (name: string) => { compile(): CompiledQuery<Row> },
): (name: string) => Promise<readonly Row[]> {
  const compiled = query("").compile();
  return async (name) => (await db.executeQuery<Row>({ ...compiled, parameters: [name] })).rows;
}

/** Text as it is, inside a pattern of LIKE. */
function likely(text: string): string {
  return text.replace(/[!%_]/g, "!$&");
}

/** SQLite's results that speak of what was to be written, not of where: too big, a constraint, a mismatch, misuse, out of range. */
const ofTheStatement = new Set([18, 19, 20, 21, 25]);

/** Whether the store takes no writes, and not only this one: SQLite's own errors, PostgreSQL's classes of a server that cannot, sockets that end. */
function cannotWrite(error: unknown): boolean {
  const { code, errcode, message } = error as { code?: unknown; errcode?: number; message?: string };
  // What is behind the last eight bits tells more of the same.
  if (code === "ERR_SQLITE_ERROR") return !ofTheStatement.has((errcode ?? 0) & 0xff);
  if (code === undefined) return /^(Connection terminated|timeout exceeded when trying)/.test(message ?? "");
  return /^(08|53|57|58)...$|^E[A-Z]+$/.test(String(code));
}
