import { closeSync, fdatasync, fsyncSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { promisify } from "node:util";
import { type Dialect, type SqliteDatabase, SqliteDialect, type SqliteStatement } from "kysely";
import { Checkpoints } from "./checkpoints.ts";

/** Statements that are kept ready; the least recent gives way. */
const maxPrepared = 200;

/** A database of Kysely, and what makes its commits safe. */
export interface Opened {
  readonly dialect: Dialect;
  /** Resolves when what was committed so far survives a power cut. */
  durable(): Promise<void>;
  /** Resolves when there may be another commit: at once, unless commits come faster than they are put in their place. */
  roomy(): Promise<void>;
  /** Ends what goes on beside the queries; to be called before the database is closed. */
  quiet(): Promise<void>;
}

/**
 * SQLite of the runtime itself, in `file` (made when missing, readable by its owner only): nothing to compile or install. `sync`
 * brings what was written to a descriptor onto the disk.
 */
export function sqlite(file: string, sync: (fd: number) => Promise<void> = promisify(fdatasync)): Opened {
  // SQLite gives its journals the mode of the database, so the mode is set before it opens.
  closeSync(openSync(file, "a", 0o600));
  const db = new DatabaseSync(file, { timeout: 5_000, enableForeignKeyConstraints: true });
  const mode = db.prepare("PRAGMA journal_mode = WAL").get()?.journal_mode;
  // A commit is safe once its journal is on the disk. SQLite itself would wait for that here, and with it everybody who asks
  // for anything; what it has to wait for to stay whole it still does. Where it can keep no such journal it waits.
  db.exec(`PRAGMA synchronous = ${mode === "wal" ? "NORMAL" : "FULL"}`);
  const checkpoints = mode === "wal" ? new Checkpoints(db, file) : undefined;
  let journal: number | undefined;
  const openJournal = () => {
    const fd = openSync(`${file}-wal`, "r+");
    // Its name too: SQLite has made it not long ago.
    const folder = openSync(dirname(file), "r");
    fsyncSync(folder);
    closeSync(folder);
    return fd;
  };
  const synced = together(async () => {
    journal ??= openJournal();
    await sync(journal);
  });
  return {
    dialect: new SqliteDialect({
      database: adapt(db, () => {
        if (journal !== undefined) closeSync(journal);
        db.close();
      }),
    }),
    async durable() {
      if (!checkpoints) return;
      await synced();
      checkpoints.committed();
    },
    roomy: async () => checkpoints?.roomy(),
    quiet: async () => checkpoints?.close(),
  };
}

/** Runs `task` once at a time, and once for all who asked while it ran. */
function together(task: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  const run = () => {
    next = undefined;
    const mine = task().finally(() => {
      if (running === mine) running = undefined;
    });
    running = mine;
    return mine;
  };
  return () => {
    if (!running) return run();
    next ??= running.then(run, run);
    return next;
  };
}

/** The shape that Kysely knows, over node:sqlite, which spreads parameters and tells readers by their columns. */
function adapt(db: DatabaseSync, close: () => void): SqliteDatabase {
  const prepared = new Map<string, SqliteStatement>();
  return {
    close,
    prepare(text) {
      const known = prepared.get(text);
      if (known) {
        prepared.delete(text);
        prepared.set(text, known);
        return known;
      }
      const statement = db.prepare(text);
      const values = (parameters: readonly unknown[]) => parameters as SQLInputValue[];
      const made: SqliteStatement = {
        reader: statement.columns().length > 0,
        all: (parameters) => statement.all(...values(parameters)),
        run: (parameters) => statement.run(...values(parameters)),
        // One that is under way belongs to who began it.
        iterate: (parameters) => db.prepare(text).iterate(...values(parameters)),
      };
      prepared.set(text, made);
      if (prepared.size > maxPrepared) prepared.delete(prepared.keys().next().value!);
      return made;
    },
  };
}
