import { closeSync, openSync } from "node:fs";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { type Dialect, type SqliteDatabase, SqliteDialect } from "kysely";

/** SQLite of the runtime itself, in `file` (made when missing, readable by its owner only): nothing to compile or install. */
export function sqlite(file: string): Dialect {
  // SQLite gives its journals the mode of the database, so the mode is set before it opens.
  closeSync(openSync(file, "a", 0o600));
  const db = new DatabaseSync(file, { timeout: 5_000, enableForeignKeyConstraints: true });
  db.exec("PRAGMA journal_mode = WAL");
  // FULL: a commit is on the disk before it is acknowledged, so that a power cut takes nothing that a caller was told.
  db.exec("PRAGMA synchronous = FULL");
  return new SqliteDialect({ database: adapt(db) });
}

/** The shape that Kysely knows, over node:sqlite, which spreads parameters and tells readers by their columns. */
function adapt(db: DatabaseSync): SqliteDatabase {
  return {
    close: () => db.close(),
    prepare(text) {
      const statement = db.prepare(text);
      const values = (parameters: readonly unknown[]) => parameters as SQLInputValue[];
      return {
        reader: statement.columns().length > 0,
        all: (parameters) => statement.all(...values(parameters)),
        run: (parameters) => statement.run(...values(parameters)),
        iterate: (parameters) => statement.iterate(...values(parameters)),
      };
    },
  };
}
