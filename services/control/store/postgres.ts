import { PostgresDialect } from "kysely";
import pg from "pg";
import { Failure, messageOf } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Opened } from "./sqlite.ts";

const int8 = 20;

/** PostgreSQL at `url`; throws `Failure` when nobody answers there. What a commit has acknowledged is on the server's disk. */
export async function postgres(url: string, log: Log | undefined): Promise<Opened> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 8,
    connectionTimeoutMillis: 5_000,
    // Counters stay far below 2^53; the driver would hand them over as text.
    types: { getTypeParser: (oid, format) => (oid === int8 ? Number : pg.types.getTypeParser(oid, format)) },
  });
  // A server that restarts ends idle connections; the next query opens another.
  pool.on("error", (error) => log?.warn({ error: error.message }, "PostgreSQL ended a connection"));
  try {
    await pool.query("select 1");
  } catch (error) {
    await pool.end();
    throw new Failure("unavailable", `databaseUrl: the database cannot be opened: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const nothing = async () => undefined;
  return { dialect: new PostgresDialect({ pool }), durable: nothing, roomy: nothing, quiet: nothing };
}
