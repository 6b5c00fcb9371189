import type { Kysely } from "kysely";
import { type Migration, Migrator } from "kysely/migration";
import { Failure } from "../../lib/errors.ts";
import type { Tables } from "./tables.ts";

/** Forward only: a released migration is never edited, the next change is the next entry. */
const migrations: Readonly<Record<string, Migration>> = {
  "0001_first": {
    async up(db: Kysely<unknown>) {
      const { schema } = db;
      await schema
        .createTable("settings")
        .addColumn("name", "text", (c) => c.primaryKey())
        .addColumn("value", "text", (c) => c.notNull())
        .execute();
      await schema
        .createTable("counters")
        .addColumn("name", "text", (c) => c.primaryKey())
        .addColumn("value", "bigint", (c) => c.notNull())
        .execute();
      await schema
        .createTable("live_inputs")
        .addColumn("uid", "text", (c) => c.primaryKey())
        .addColumn("name", "text", (c) => c.notNull())
        .addColumn("meta", "text", (c) => c.notNull())
        .addColumn("enabled", "integer", (c) => c.notNull())
        .addColumn("key_generation", "integer", (c) => c.notNull())
        .addColumn("keys_rotated_at", "text")
        .addColumn("recording", "text", (c) => c.notNull())
        .addColumn("default_creator", "text")
        .addColumn("delete_recording_after_days", "integer")
        .addColumn("prefer_low_latency", "integer", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .addColumn("modified", "text", (c) => c.notNull())
        .addColumn("deleted", "text")
        .execute();
      await schema
        .createTable("input_status")
        .addColumn("live_input", "text", (c) => c.primaryKey())
        .addColumn("state", "text", (c) => c.notNull())
        .addColumn("reason", "text", (c) => c.notNull())
        .addColumn("publish", "text", (c) => c.notNull())
        .addColumn("entered", "text", (c) => c.notNull())
        .addColumn("seen", "text", (c) => c.notNull())
        .addColumn("advice", "text")
        .execute();
      await schema
        .createTable("videos")
        .addColumn("uid", "text", (c) => c.primaryKey())
        .addColumn("live_input", "text", (c) => c.notNull())
        .addColumn("state", "text", (c) => c.notNull())
        .addColumn("recorded", "integer", (c) => c.notNull())
        .addColumn("started", "text", (c) => c.notNull())
        .addColumn("ended", "text")
        .addColumn("modified", "text", (c) => c.notNull())
        .execute();
      await schema.createIndex("videos_of_input").on("videos").columns(["live_input", "started"]).execute();
      await schema
        .createTable("events_seen")
        .addColumn("node", "text", (c) => c.notNull())
        .addColumn("id", "text", (c) => c.notNull())
        .addColumn("received", "text", (c) => c.notNull())
        .addPrimaryKeyConstraint("events_seen_key", ["node", "id"])
        .execute();
      await schema
        .createTable("api_tokens")
        .addColumn("name", "text", (c) => c.primaryKey())
        .addColumn("sha256", "text", (c) => c.notNull().unique())
        .addColumn("scopes", "text", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .execute();
      await schema
        .createTable("idempotency")
        .addColumn("account", "text", (c) => c.notNull())
        .addColumn("key", "text", (c) => c.notNull())
        .addColumn("uid", "text", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .addPrimaryKeyConstraint("idempotency_key", ["account", "key"])
        .execute();
      await schema
        .createTable("audit")
        .addColumn("id", "text", (c) => c.primaryKey())
        .addColumn("at", "text", (c) => c.notNull())
        .addColumn("actor", "text", (c) => c.notNull())
        .addColumn("action", "text", (c) => c.notNull())
        .addColumn("subject", "text", (c) => c.notNull())
        .execute();
      await schema.createIndex("audit_by_time").on("audit").column("at").execute();
    },
  },
  "0002_ladder": {
    async up(db: Kysely<unknown>) {
      await db.schema.alterTable("live_inputs").addColumn("ladder", "text").execute();
    },
  },
  "0003_gate": {
    async up(db: Kysely<unknown>) {
      const { schema } = db;
      await schema
        .createTable("signing_keys")
        .addColumn("kid", "text", (c) => c.primaryKey())
        .addColumn("alg", "text", (c) => c.notNull())
        .addColumn("jwk", "text", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .execute();
      await schema
        .createTable("revocations")
        .addColumn("uid", "text", (c) => c.primaryKey())
        .addColumn("version", "integer")
        .addColumn("until", "text", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .execute();
      for (const column of ["require_signed_urls", "thumbnail_ppm"] as const)
        await schema.alterTable("videos").addColumn(column, "integer").execute();
      for (const column of [
        "allowed_origins",
        "meta",
        "creator",
        "scheduled_deletion",
        "public_details",
      ] as const)
        await schema.alterTable("videos").addColumn(column, "text").execute();
    },
  },
  "0004_recordings": {
    async up(db: Kysely<unknown>) {
      await db.schema.alterTable("videos").addColumn("seconds", "double precision").execute();
      await db.schema.alterTable("videos").addColumn("bytes", "bigint").execute();
    },
  },
  "0005_webhooks": {
    async up(db: Kysely<unknown>) {
      const { schema } = db;
      await schema
        .createTable("webhook_endpoints")
        .addColumn("id", "text", (c) => c.primaryKey())
        .addColumn("url", "text", (c) => c.notNull())
        .addColumn("secret", "text", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .addColumn("modified", "text", (c) => c.notNull())
        .execute();
      await schema
        .createTable("webhook_outbox")
        .addColumn("seq", "bigint", (c) => c.primaryKey())
        .addColumn("id", "text", (c) => c.notNull())
        .addColumn("endpoint", "text", (c) => c.notNull())
        .addColumn("live_input", "text", (c) => c.notNull())
        .addColumn("type", "text", (c) => c.notNull())
        .addColumn("payload", "text", (c) => c.notNull())
        .addColumn("state", "text", (c) => c.notNull())
        .addColumn("attempts", "integer", (c) => c.notNull())
        .addColumn("next_at", "text", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .addColumn("finished", "text")
        .addColumn("last_error", "text")
        .execute();
      await schema
        .createIndex("webhook_outbox_waiting")
        .on("webhook_outbox")
        .columns(["state", "endpoint", "live_input", "seq"])
        .execute();
      await schema
        .createIndex("webhook_outbox_of_endpoint")
        .on("webhook_outbox")
        .columns(["endpoint", "seq"])
        .execute();
      await (db as Kysely<Tables>).insertInto("counters").values({ name: "outbox", value: 0 }).execute();
    },
  },
  "0006_profile": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable("live_inputs")
        .addColumn("profile", "text", (c) => c.notNull().defaultTo("low"))
        .execute();
    },
  },
  "0007_gaps": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable("video_gaps")
        .addColumn("video", "text", (c) => c.notNull())
        .addColumn("rendition", "text", (c) => c.notNull())
        .addColumn("first", "bigint", (c) => c.notNull())
        .addColumn("last", "bigint", (c) => c.notNull())
        .addColumn("at_seconds", "double precision", (c) => c.notNull())
        .addColumn("seconds", "double precision", (c) => c.notNull())
        .addColumn("told", "text", (c) => c.notNull())
        .addPrimaryKeyConstraint("video_gaps_key", ["video", "rendition", "first"])
        .execute();
    },
  },
  "0008_clips": {
    async up(db: Kysely<unknown>) {
      await db.schema.alterTable("videos").addColumn("clipped_from", "text").execute();
    },
  },
  "0009_outputs": {
    async up(db: Kysely<unknown>) {
      const { schema } = db;
      await schema
        .createTable("outputs")
        .addColumn("uid", "text", (c) => c.primaryKey())
        .addColumn("live_input", "text", (c) => c.notNull())
        .addColumn("url", "text", (c) => c.notNull())
        .addColumn("stream_key", "text", (c) => c.notNull())
        .addColumn("enabled", "integer", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .addColumn("modified", "text", (c) => c.notNull())
        .execute();
      await schema.createIndex("outputs_of_input").on("outputs").columns(["live_input", "created"]).execute();
      await schema
        .createTable("output_states")
        .addColumn("output", "text", (c) => c.notNull())
        .addColumn("seq", "integer", (c) => c.notNull())
        .addColumn("state", "text", (c) => c.notNull())
        .addColumn("reason", "text", (c) => c.notNull())
        .addColumn("error", "text")
        .addColumn("entered", "text", (c) => c.notNull())
        .addColumn("seen", "text", (c) => c.notNull())
        .addPrimaryKeyConstraint("output_states_key", ["output", "seq"])
        .execute();
    },
  },
  "0010_passes": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable("passes")
        .addColumn("sha256", "text", (c) => c.primaryKey())
        .addColumn("kind", "text", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .addColumn("expires", "text", (c) => c.notNull())
        .execute();
    },
  },
  "0011_watched": {
    async up(db: Kysely<unknown>) {
      const { schema } = db;
      await schema
        .createTable("watched")
        .addColumn("video", "text", (c) => c.notNull())
        .addColumn("live_input", "text", (c) => c.notNull())
        .addColumn("at", "bigint", (c) => c.notNull())
        .addColumn("source", "text", (c) => c.notNull())
        .addColumn("revision", "bigint", (c) => c.notNull())
        .addColumn("sums", "text", (c) => c.notNull())
        .addPrimaryKeyConstraint("watched_key", ["video", "at", "source"])
        .execute();
      await schema.createIndex("watched_of_input").on("watched").columns(["live_input", "at"]).execute();
      await schema.createIndex("watched_by_time").on("watched").column("at").execute();
    },
  },
  "0012_idempotent_answers": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable("idempotent_answers")
        .addColumn("account", "text", (c) => c.notNull())
        .addColumn("key", "text", (c) => c.notNull())
        .addColumn("request", "text", (c) => c.notNull())
        .addColumn("answer", "text", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .addPrimaryKeyConstraint("idempotent_answers_key", ["account", "key"])
        .execute();
    },
  },
  "0013_captions": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable("captions")
        .addColumn("id", "text", (c) => c.primaryKey())
        .addColumn("video", "text", (c) => c.notNull())
        .addColumn("language", "text", (c) => c.notNull())
        .addColumn("label", "text", (c) => c.notNull())
        .addColumn("webvtt", "text", (c) => c.notNull())
        .addColumn("created", "text", (c) => c.notNull())
        .addUniqueConstraint("captions_of_video", ["video", "language"])
        .execute();
    },
  },
};

/** Brings the store to this version's shape. Throws when a newer version wrote it: there is no way back. */
export async function migrate(db: Kysely<Tables>): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } });
  const { error } = await migrator.migrateToLatest();
  if (!error) return;
  const why = error instanceof Error ? error.message : String(error);
  throw new Failure(
    "conflict",
    `the store cannot be brought to this version (${why}). If a newer Sluice has written it, start that one again or restore a backup`,
    { cause: error },
  );
}
