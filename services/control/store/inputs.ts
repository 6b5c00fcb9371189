import { randomBytes } from "node:crypto";
import type { Insertable, Kysely, Selectable, Transaction, Updateable } from "kysely";
import type { LadderChoice } from "../../live/ladder.ts";
import type { FoundRecording } from "../../live/recordings.ts";
import type { GateRecord } from "../../live/snapshot.ts";
import type { ProfileName } from "../../packager/profiles.ts";
import { removeCaptions } from "./captions.ts";
import { replaceGaps } from "./gaps.ts";
import { restoreVideo } from "./grants.ts";
import { type OutputRecord, outputRecords, removeOutputs } from "./outputs.ts";
import { clipping, type InputRow, now, type Tables } from "./tables.ts";

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

export type Writer = Transaction<Tables>;

/** An API token, without what makes it one. */
export interface ApiToken {
  readonly name: string;
  readonly scopes: string[];
  readonly created: string;
}

/** In place of 1 for a recording whose files are to go: nobody is shown it any more. */
export const doomed = 2;

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

export async function versionOf(db: Kysely<Tables>): Promise<number> {
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

export function inputOf(row: Selectable<InputRow>): LiveInput {
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
