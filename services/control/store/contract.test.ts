import { generateKeyPairSync } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { onEachStore } from "../../../test/support/stores.ts";
import { publicHalf } from "../../auth/keys.ts";
import type { Fact } from "../../live/events.ts";
import { noSums, type Tally } from "../../live/tally.ts";
import { newInput } from "../resources.ts";
import { applyFacts } from "./facts.ts";
import { addClip, addKey, announceClip, editVideo, keepPolicies, removeKey, revoke } from "./grants.ts";
import type { Change } from "./inputs.ts";
import { putEndpoint, removeEndpoint, replay, settle } from "./outbox.ts";
import type { Records } from "./records.ts";
import { foldWatched, keepWatched } from "./watched.ts";

let records: Records;
let changes: Change[];
let count = 0;
const input = "a".repeat(32);

onEachStore((store) => {
  beforeEach(async () => {
    records = await store.open();
    changes = [];
    records.onChange = (change) => changes.push(change);
  });
  afterEach(async () => {
    await records.close();
    await store.renew();
  });

  const tell = (...facts: Fact[]) =>
    records.write((tx) =>
      applyFacts(
        tx,
        { node: "n" },
        facts.map((fact) => ({ id: String(count++), at: 1_000 * count, ...fact })),
      ),
    );
  const onAir = (video: string, uid = input): Fact => ({ type: "broadcast.started", uid, video });
  const list = async (filter: object) => {
    const videos = await records.videos({ limit: 10, oldestFirst: true, ...filter });
    return videos.map(({ uid }) => uid);
  };

  test("what was watched is counted once however often it is told, and in hours when it is old", async () => {
    const tally = (seconds: number, more: Partial<Tally> = {}): Tally => ({
      ...{ video: "v", uid: input, at: 0, source: "n/1.1", revision: 1, ...more },
      sums: { ...noSums(), views: 1, peak: 2, watchedMs: { hls: seconds * 1000, dash: 0, moq: 0 } },
    });
    const keep = (...tallies: Tally[]) => records.write((tx) => keepWatched(tx, tallies));
    const all = async (filter = {}) => {
      const found = await records.watched({ since: 0, until: 1e12, ...filter });
      return found.map(({ at, sums }) => [at, sums.watchedMs.hls / 1000, sums.views]).sort();
    };
    await keep(tally(5), tally(7, { source: "n/1.2" }));
    await keep(tally(9, { revision: 3 }));
    // Of the run before, sent again by the next one.
    await keep(tally(8, { revision: 2 }));
    await keep(
      tally(1, { at: 3_300_000 }),
      tally(2, { at: 3_600_000 }),
      tally(3, { video: "w", uid: "other" }),
    );
    expect(await all({ input })).toEqual([
      [0, 7, 1],
      [0, 9, 1],
      [3_300_000, 1, 1],
      [3_600_000, 2, 1],
    ]);
    expect(await all({ video: "w" })).toEqual([[0, 3, 1]]);
    expect(await all({ since: 1, until: 3_600_000 })).toEqual([[3_300_000, 1, 1]]);
    for (let i = 0; i < 2; i++) await records.write((tx) => foldWatched(tx, 3_700_000));
    expect(await all({ input })).toEqual([
      [0, 17, 3],
      [3_600_000, 2, 1],
    ]);
    // One that came late, and is put to the others.
    await keep(tally(4, { at: 600_000 }));
    await records.write((tx) => foldWatched(tx, 3_700_000));
    expect(await all({ input })).toEqual([
      [0, 21, 4],
      [3_600_000, 2, 1],
    ]);
  });

  test("keys, revocations and the policies of videos reach the gate, and leave it", async () => {
    const jwk = publicHalf(generateKeyPairSync("ed25519").privateKey);
    await records.write((tx) => addKey(tx, { kid: "k", alg: "EdDSA", jwk }));
    await records.write((tx) => revoke(tx, { viewer: "ann", version: 3 }, 60));
    await records.write((tx) => revoke(tx, { viewer: "ann", version: 1 }, 60));
    await records.write((tx) => revoke(tx, { token: "t" }, 60));
    await records.write((tx) => revoke(tx, { token: "old" }, -1));
    await tell(onAir("v1"));
    await records.write((tx) => editVideo(tx, "v1", { require_signed_urls: 1 }));
    const { gate, version } = await records.whole();
    expect(version).toBe(6);
    expect(gate.map(({ uid }) => uid).sort()).toEqual(["key:k", "token:t", "video:v1", "viewer:ann"]);
    expect(gate.find(({ uid }) => uid === "viewer:ann")).toMatchObject({ version: 3 });
    expect(changes.at(-1)?.set.gate).toEqual([
      { uid: "video:v1", kind: "video", requireSignedURLs: true, allowedOrigins: null },
    ]);
    expect((await records.write((tx) => removeKey(tx, "k"))).result).toBe(true);
    expect((await records.write((tx) => removeKey(tx, "k"))).result).toBe(false);
    expect(changes.at(-1)?.remove).toEqual(["key:k"]);
  });

  test("a key's id is given once, also to two who ask at once, and the one who has it keeps it", async () => {
    const jwk = publicHalf(generateKeyPairSync("ed25519").privateKey);
    const add = () => records.write((tx) => addKey(tx, { kid: "k", alg: "EdDSA", jwk }));
    const both = await Promise.all([add(), add()]);
    expect(both.map(({ result }) => result)).toMatchObject([{ kid: "k" }, "taken"]);
    expect(both.map(({ version }) => version)).toEqual([1, 1]);
    expect(changes).toHaveLength(1);
    expect(records.broken).toBeUndefined();
  });

  test("a video keeps what protected it when its live input goes", async () => {
    await records.write((tx) =>
      tx.create(input, newInput({ recording: { requireSignedURLs: true, allowedOrigins: ["a.example"] } })),
    );
    await tell(onAir("v1"));
    await records.write(async (tx) => {
      const { recording } = (await tx.find(input))!;
      await keepPolicies(tx, input, recording);
      await tx.remove(input);
    });
    expect(changes.at(-1)).toMatchObject({
      remove: [input],
      set: {
        gate: [{ uid: "video:v1", requireSignedURLs: true, allowedOrigins: ["a.example"] }],
      },
    });
  });

  test("a clip of a video whose live input goes while it is copied is protected as that video", async () => {
    const other = "b".repeat(32);
    for (const uid of [input, other])
      await records.write((tx) => tx.create(uid, newInput({ recording: { requireSignedURLs: true } })));
    await tell(onAir("v1"), onAir("v2", other));
    const [first, second] = [(await records.video("v1"))!, (await records.video("v2"))!];
    await records.write((tx) => announceClip(tx, first, "c1"));
    await records.write(async (tx) => {
      await keepPolicies(tx, input, (await tx.find(input))!.recording);
      await tx.remove(input);
    });
    const clip = async (source: typeof first, uid: string) => {
      await records.write((tx) => addClip(tx, source, { uid, seconds: 1, bytes: 1 }));
      return (await records.video(uid))?.require_signed_urls;
    };
    expect([await clip(first, "c1"), await clip(second, "c2")]).toEqual([1, null]);
    expect(changes.at(-2)?.set.gate).toMatchObject([{ uid: "video:c1", requireSignedURLs: true }]);
    // Nothing says any more what protected it.
    await records.write((tx) => tx.remove(other));
    expect(await clip({ ...second, uid: "gone" }, "c3")).toBe(1);
  });

  test("videos are found by input, name, creator, moment and part of their name", async () => {
    const other = "b".repeat(32);
    await records.write((tx) =>
      tx.create(input, newInput({ meta: { name: "Main" }, defaultCreator: "ann" })),
    );
    await records.write((tx) => tx.create(other, newInput({})));
    await tell(onAir("v1"), onAir("v2", other));
    const started = (await records.videos({ limit: 1, oldestFirst: true }))[0]!.started;
    await records.write((tx) =>
      editVideo(tx, "v2", { meta: JSON.stringify({ name: "100% Finals" }), creator: "bob" }),
    );
    expect(await list({})).toEqual(["v1", "v2"]);
    expect(await list({ liveInput: other })).toEqual(["v2"]);
    expect(await list({ creator: "ann" })).toEqual(["v1"]);
    expect(await list({ creator: "bob" })).toEqual(["v2"]);
    expect(await list({ name: "100% Finals" })).toEqual(["v2"]);
    expect(await list({ name: "100% finals" })).toEqual([]);
    expect(await list({ name: `Main ${started}` })).toEqual(["v1"]);
    expect(await list({ search: "MAIN" })).toEqual(["v1"]);
    expect(await list({ search: "0% f" })).toEqual(["v2"]);
    expect(await list({ search: "0_" })).toEqual([]);
    expect(await list({ after: started })).toEqual(["v2"]);
    expect(await list({ before: started })).toEqual([]);
  });

  test("a list says whose each video is, and all of them are counted with their length", async () => {
    const gone = "b".repeat(32);
    for (const uid of [input, gone])
      await records.write((tx) =>
        tx.create(uid, newInput({ meta: { name: "Main" }, defaultCreator: "ann" })),
      );
    await tell(onAir("v1"), onAir("v2", gone), onAir("v3", "unknown"));
    const recorded = { seconds: 60.5, bytes: 1 };
    for (const [video, uid] of [
      ["v1", input],
      ["v2", gone],
    ] as const)
      await tell({ type: "broadcast.ended", uid, video, recorded });
    await records.write((tx) => tx.remove(gone));
    const owners = (await records.videos({ limit: 10, oldestFirst: true })).map(({ uid, owner }) => [
      uid,
      owner?.name,
      owner?.defaultCreator,
      owner?.recording.mode,
    ]);
    expect(owners).toEqual([
      ["v1", "Main", "ann", "off"],
      ["v2", undefined, undefined, undefined],
      ["v3", undefined, undefined, undefined],
    ]);
    expect(await records.videoTotals({})).toEqual({ count: 3, seconds: 121 });
    expect(await records.videoTotals({ state: "ready", liveInput: input })).toEqual({
      count: 1,
      seconds: 60.5,
    });
    expect(await records.videoTotals({ creator: "nobody" })).toEqual({ count: 0, seconds: 0 });
  });

  test("the outbox has a row for each endpoint, in order, and forgets with its endpoint", async () => {
    for (const id of ["x", "y"])
      await records.write((tx) => putEndpoint(tx, { id, url: "https://x.example/", sealedSecret: "s" }));
    await tell(
      { type: "publish.started", uid: input, publish: "1", peer: "p" },
      { type: "publish.ended", uid: input, publish: "1", reason: "clean" },
    );
    expect(await records.waiting()).toHaveLength(2);
    const first = (await records.nextNotice("x", input))!;
    expect(first.type).toBe("live_input.connected");
    expect(typeof first.seq).toBe("number");
    await records.write((tx) => settle(tx, first.seq, { state: "waiting", error: "e", nextAt: "2999" }));
    expect(await records.nextNotice("x", input)).toMatchObject({
      seq: first.seq,
      attempts: 1,
      last_error: "e",
    });
    await records.write((tx) => settle(tx, first.seq, { state: "dead", error: "e", nextAt: "2999" }));
    expect((await records.nextNotice("x", input))?.type).toBe("live_input.disconnected");
    expect((await records.write((tx) => replay(tx, "x", undefined))).result).toBe(1);
    expect((await records.nextNotice("x", input))?.seq).toBe(first.seq);
    expect((await records.write((tx) => removeEndpoint(tx, "x"))).result).toBe(true);
    expect(await records.waiting()).toEqual([{ endpoint: "y", live_input: input }]);
  });

  test("an event that fails half way leaves no word of it in the outbox", async () => {
    await records.write((tx) => putEndpoint(tx, { id: "x", url: "https://x.example/", sealedSecret: "s" }));
    const failed = records.write(async (tx) => {
      await applyFacts(tx, { node: "n" }, [
        { id: "f", at: 0, type: "publish.started", uid: input, publish: "1", peer: "p" },
      ]);
      throw new Error("half way");
    });
    await expect(failed).rejects.toThrow("half way");
    expect(await records.waiting()).toEqual([]);
    expect(await records.status(input)).toBeUndefined();
  });
});
