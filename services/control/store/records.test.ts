import { fstatSync, statSync } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { onEachStore } from "../../../test/support/stores.ts";
import { newUid } from "../keys.ts";
import { newInput } from "../resources.ts";
import type { Change, LiveInput } from "./inputs.ts";
import { type InputFilter, Records } from "./records.ts";

let records: Records;
let changes: Change[];

function listen(): void {
  changes = [];
  records.onChange = (change) => changes.push(change);
}

async function create(name = "x"): Promise<LiveInput> {
  const { result } = await records.write((tx) => tx.create(newUid(), newInput({ meta: { name } })));
  return result;
}

onEachStore((store) => {
  const open = async () => {
    records = await store.open();
    listen();
  };

  beforeEach(open);

  afterEach(async () => {
    await records.close();
    await store.renew();
  });

  test("a live input comes back as it was made, also after the store is opened again", async () => {
    const made = await create("Main stage");
    expect(made).toMatchObject({ name: "Main stage", enabled: true, keyGeneration: 1, keysRotatedAt: null });
    expect(await records.input(made.uid)).toEqual(made);
    await records.close();
    await open();
    expect(await records.input(made.uid)).toEqual(made);
  });

  test("a token is good from when it is made until another has its name or it is removed", async () => {
    const scopes = ["stream:read"];
    const found = async () => [await records.token("one"), await records.token("two")];
    expect(await found()).toEqual([undefined, undefined]);
    await records.write((tx) => tx.setToken("site", "one", scopes));
    for (let i = 0; i < 2; i++) expect(await found()).toEqual([{ name: "site", scopes }, undefined]);
    await records.write((tx) => tx.setToken("site", "two", scopes));
    expect(await found()).toEqual([undefined, { name: "site", scopes }]);
    await records.write((tx) => tx.removeToken("site"));
    expect(await found()).toEqual([undefined, undefined]);
  });

  test("each write that touches live inputs is one version higher, and says what the roles must know", async () => {
    const a = await create("a");
    const b = await create("b");
    await records.write(async (tx) => {
      await tx.rotate(a.uid);
      await tx.remove(b.uid);
    });
    expect(changes.map((change) => change.version)).toEqual([1, 2, 3]);
    expect(changes[2]).toMatchObject({
      set: { inputs: [{ uid: a.uid, keyGeneration: 2 }] },
      remove: [b.uid],
    });
    expect(await records.whole()).toMatchObject({ version: 3, inputs: [{ uid: a.uid }] });
    const { version } = await records.write((tx) => tx.audit("me", "looked", "around"));
    expect(version).toBe(3);
  });

  test("writes at once are told in the order of their versions", async () => {
    await Promise.all(Array.from({ length: 20 }, () => create()));
    expect(changes.map((change) => change.version)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  });

  test("a write that fails half way leaves nothing, no version and no word to the roles", async () => {
    const a = await create();
    const failed = records.write(async (tx) => {
      await tx.update(a.uid, (present) => ({ ...present, enabled: false }));
      throw new Error("half way");
    });
    await expect(failed).rejects.toThrow("half way");
    expect(await records.input(a.uid)).toEqual(a);
    expect((await records.whole()).version).toBe(1);
    expect(changes).toHaveLength(1);
    expect(records.broken).toBeUndefined();
  });

  test("what cannot be written beside what there is fails alone, and the store is not broken", async () => {
    const a = await create();
    const again = () => records.write((tx) => tx.create(a.uid, newInput({})));
    await expect(again()).rejects.toThrow(/unique/i);
    expect(records.broken).toBeUndefined();
    await create();
    expect((await records.whole()).version).toBe(2);
  });

  test("a deleted live input is gone for everybody but its Idempotency-Key", async () => {
    const since = "2000";
    const a = await create();
    await records.write((tx) => tx.remember("acc", "key", a.uid));
    const made = async (account: string, key: string, from = since) =>
      (await records.write((tx) => tx.made(account, key, from))).result;
    expect(await made("acc", "key")).toEqual(a);
    expect(await made("other", "key")).toBeUndefined();
    expect((await records.write((tx) => tx.remove(a.uid))).result).toBe(true);
    expect(await made("acc", "key")).toBe("deleted");
    expect((await records.write((tx) => tx.remove(a.uid))).result).toBe(false);
    expect((await records.write((tx) => tx.rotate(a.uid))).result).toBeUndefined();
    expect(await records.input(a.uid)).toBeUndefined();
    expect(await records.inputs({ limit: 10, oldestFirst: false })).toEqual([]);
    expect(await records.inputCount({})).toBe(0);
    expect(await made("acc", "key", "9999")).toBeUndefined();
  });

  test("the list has the newest first, within its limit, and counts all", async () => {
    for (const name of ["a", "b", "c"]) await create(name);
    const inputs = await records.inputs({ limit: 2, oldestFirst: false });
    expect([inputs.length, await records.inputCount({})]).toEqual([2, 3]);
    expect(inputs[0]!.created >= inputs[1]!.created).toBe(true);
  });

  test("live inputs are found by part of their name or uid, by creator, by whether they are on, and by moment", async () => {
    const names = async (filter: Partial<InputFilter>) =>
      (await records.inputs({ limit: 10, oldestFirst: true, ...filter })).map(({ name }) => name).sort();
    const [a] = [await create("Main 100%"), await create("Second")];
    await records.write((tx) =>
      tx.update(a.uid, (present) => ({ ...present, defaultCreator: "ann", enabled: false })),
    );
    expect(await names({})).toEqual(["Main 100%", "Second"]);
    expect(await names({ search: "MAIN" })).toEqual(["Main 100%"]);
    expect(await names({ search: "0%" })).toEqual(["Main 100%"]);
    expect(await names({ search: "_" })).toEqual([]);
    expect(await names({ search: a.uid.slice(4, 20) })).toEqual(["Main 100%"]);
    expect(await names({ creator: "ann" })).toEqual(["Main 100%"]);
    expect(await names({ enabled: true })).toEqual(["Second"]);
    expect(await names({ enabled: false })).toEqual(["Main 100%"]);
    expect(await names({ before: a.created })).toEqual([]);
    expect(await names({ after: "9999" })).toEqual([]);
    expect(await records.inputCount({ search: "main" })).toBe(1);
  });
});

describe("SQLite alone", () => {
  let folder: string;
  const file = () => join(folder, "s.db");
  const open = async () => {
    records = await Records.open({ file: file() });
    listen();
  };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "records-"));
    await open();
  });

  afterEach(async () => {
    await records.close();
    await rm(folder, { recursive: true });
  });

  test("the file is its owner's alone", async () => {
    expect((await stat(file())).mode & 0o777).toBe(0o600);
  });

  test("nobody hears of a write before it is on the disk, and who reads does not wait for that", async () => {
    await records.close();
    const disk = { syncs: 0, reached: Promise.withResolvers<void>(), done: Promise.withResolvers<void>() };
    const sync = async (fd: number) => {
      expect(fstatSync(fd).ino).toBe(statSync(`${file()}-wal`).ino);
      disk.syncs++;
      disk.reached.resolve();
      await disk.done.promise;
    };
    records = await Records.open({ file: file(), sync });
    listen();
    let answered = false;
    const made = create("slow").finally(() => {
      answered = true;
    });
    await disk.reached.promise;
    expect(await records.inputCount({})).toBe(1);
    expect([changes, answered, disk.syncs]).toEqual([[], false, 1]);
    disk.done.resolve();
    const { uid } = await made;
    expect(changes).toMatchObject([{ set: { inputs: [{ uid }] } }]);
  });

  test("writes that wait for the disk at once wait for one sync, and are told in their order", async () => {
    await records.close();
    const syncs: (() => void)[] = [];
    records = await Records.open({ file: file(), sync: () => new Promise((done) => syncs.push(done)) });
    listen();
    const all = Array.from({ length: 9 }, () => create());
    // The last one is committed and may be read before the first one is safe.
    while ((await records.inputCount({})) < 9) await setImmediate();
    expect([syncs.length, changes.length]).toEqual([1, 0]);
    syncs[0]!();
    await all[0];
    expect(changes.map(({ version }) => version)).toEqual([1]);
    while (syncs.length < 2) await setImmediate();
    syncs[1]!();
    await Promise.all(all);
    expect(changes.map(({ version }) => version)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(syncs).toHaveLength(2);
  });

  test("the journal stays short however much is written, and nothing of it is lost", async () => {
    await records.close();
    records = await Records.open({ file: file(), sync: async () => undefined });
    const { uid } = await create();
    // Pages that stay as they are would not be written: 70 MB in all.
    const noteOf = (i: number) => String.fromCharCode(97 + (i % 26)).repeat(60_000);
    for (let i = 1; i <= 1_000; i++)
      await records.write(async (tx) => {
        await tx.update(uid, (present) => ({ ...present, meta: { note: noteOf(i) } }));
        await tx.audit("a", "b", String(i));
      });
    expect(statSync(`${file()}-wal`).size).toBeLessThan(55e6);
    await records.close();
    await open();
    expect((await records.input(uid))?.meta).toEqual({ note: noteOf(1_000) });
    expect(await records.auditLog(5_000)).toHaveLength(1_000);
  }, 30_000);

  test("a write that does not reach the disk fails, and control says that it cannot write", async () => {
    await records.close();
    const full = Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
    let failing = true;
    const sync = async () => {
      if (failing) throw full;
    };
    records = await Records.open({ file: file(), sync });
    listen();
    await expect(create()).rejects.toBe(full);
    expect(records.broken).toMatch(/refuses writes: ENOSPC/);
    failing = false;
    await create();
    expect(records.broken).toBeUndefined();
    expect(changes.map(({ version }) => version)).toEqual([1, 2]);
  });

  test("a store that a newer version wrote is refused with a sentence", async () => {
    await records.close();
    const db = new DatabaseSync(file());
    db.exec("INSERT INTO kysely_migration (name, timestamp) VALUES ('9999_later', 'x')");
    db.close();
    await expect(Records.open({ file: file() })).rejects.toThrow("If a newer Sluice has written it");
    const undo = new DatabaseSync(file());
    undo.exec("DELETE FROM kysely_migration WHERE name = '9999_later'");
    undo.close();
    await open();
  });

  test("a store that takes no writes says so until it takes one again", async () => {
    const other = new DatabaseSync(file());
    other.exec("ALTER TABLE audit RENAME TO lost");
    const audit = () => records.write((tx) => tx.audit("a", "b", "c"));
    await expect(audit()).rejects.toThrow("no such table");
    expect(records.broken).toContain("no such table: audit");
    other.exec("ALTER TABLE lost RENAME TO audit");
    other.close();
    await audit();
    expect(records.broken).toBeUndefined();
  });
});
