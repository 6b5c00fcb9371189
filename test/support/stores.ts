import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe } from "vitest";
import { applyFacts } from "../../services/control/store/facts.ts";
import { Records } from "../../services/control/store/records.ts";
import type { Fact } from "../../services/live/events.ts";
import { freePort } from "./ports.ts";

/** Tells a store of facts, each under an id of its own; `at` says when they happened, in ms since 1970. */
export function tellerOf(
  records: () => Records,
  at: () => number = () => Date.now(),
): (...facts: Fact[]) => Promise<unknown> {
  let count = 0;
  return (...facts) =>
    records().write((tx) =>
      applyFacts(
        tx,
        { node: "n" },
        facts.map((fact) => ({ id: String(count++), at: at(), ...fact })),
      ),
    );
}

/** A store under test: the same one at each `open` until `renew`. */
export interface TestStore {
  open(): Promise<Records>;
  /** Where it is for a control of its own; undefined is in control's own folder. */
  databaseUrl(): Promise<string | undefined>;
  renew(): Promise<void>;
}

/** The programs of a PostgreSQL on this machine, if there is one. */
function findPostgres(): string | undefined {
  const base = "/usr/lib/postgresql";
  const versions = existsSync(base) ? readdirSync(base).sort((a, b) => Number(b) - Number(a)) : [];
  return [
    ...versions.map((version) => join(base, version, "bin")),
    "/usr/local/bin",
    "/opt/homebrew/bin",
  ].find((folder) => existsSync(join(folder, "initdb")));
}

/** Runs one suite on every store that there is here; where PostgreSQL is not installed the report says that it was left out. */
export function onEachStore(suite: (store: TestStore) => void): void {
  describe("on SQLite", () => {
    let folder: string | undefined;
    suite({
      open() {
        folder ??= mkdtempSync(join(tmpdir(), "store-"));
        return Records.open({ file: join(folder, "s.db") });
      },
      databaseUrl: async () => undefined,
      async renew() {
        if (folder) rmSync(folder, { recursive: true });
        folder = undefined;
      },
    });
  });
  const programs = findPostgres();
  describe.skipIf(programs === undefined)("on PostgreSQL (left out where it is not installed)", () => {
    let server: Server | undefined;
    let count = 0;
    let name: string | undefined;
    beforeAll(async () => {
      server = await startPostgres(programs!);
    }, 60_000);
    afterAll(() => server?.stop());
    const databaseUrl = async () => {
      if (name === undefined) {
        name = `t${count++}`;
        await server!.create(name);
      }
      return server!.url(name);
    };
    suite({
      open: async () => Records.open({ databaseUrl: await databaseUrl() }),
      databaseUrl,
      async renew() {
        name = undefined;
      },
    });
  });
}

interface Server {
  url(database: string): string;
  create(database: string): Promise<void>;
  stop(): Promise<void>;
}

/** A PostgreSQL of its own on a free port of the loopback, without fsync; it does not run as root, so root lends it another user. */
async function startPostgres(programs: string): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), "pg-"));
  const root = process.getuid?.() === 0;
  const id = (flag: string) => Number(execFileSync("id", [flag, "postgres"]).toString());
  const as = root ? { uid: id("-u"), gid: id("-g") } : {};
  if (root) chownSync(folder, as.uid!, as.gid!);
  const data = join(folder, "data");
  execFileSync(join(programs, "initdb"), ["-D", data, "-A", "trust", "-U", "sluice", "--no-sync"], {
    ...as,
    cwd: folder,
    stdio: "ignore",
  });
  const port = await freePort();
  const settings = ["fsync=off", "listen_addresses=127.0.0.1", `unix_socket_directories=${folder}`];
  const child: ChildProcess = spawn(
    join(programs, "postgres"),
    ["-D", data, "-p", String(port), ...settings.flatMap((one) => ["-c", one])],
    { ...as, cwd: folder, stdio: ["ignore", "ignore", "pipe"] },
  );
  await new Promise<void>((resolve, reject) => {
    let said = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      if (said.includes("ready to accept connections")) resolve();
    });
    child.once("exit", () => reject(new Error(`PostgreSQL ended:\n${said}`)));
  });
  const url = (database: string) => `postgres://sluice@127.0.0.1:${port}/${database}`;
  return {
    url,
    async create(database) {
      const client = new pg.Client({ connectionString: url("postgres") });
      await client.connect();
      await client.query(`create database ${database}`);
      await client.end();
    },
    async stop() {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      // Immediately: nothing of it is kept.
      child.kill("SIGQUIT");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
