import { afterEach, beforeEach, expect, test } from "vitest";
import { onEachStore, tellerOf } from "../../../test/support/stores.ts";
import type { Fact } from "../../live/events.ts";
import { newInput } from "../resources.ts";
import type { Change } from "./inputs.ts";
import { putEndpoint } from "./outbox.ts";
import { addOutput, removeOutputs, switchOutput } from "./outputs.ts";
import type { Records } from "./records.ts";

let records: Records;
let changes: Change[];
let tell: (...facts: Fact[]) => Promise<unknown>;
const input = "a".repeat(32);

const add = (uid: string, liveInput = input) =>
  records.write((tx) =>
    addOutput(tx, {
      uid,
      live_input: liveInput,
      url: "rtmp://x.example/live",
      stream_key: "sealed",
      enabled: 1,
    }),
  );
const changed = (state: "connected" | "reconnecting" | "disconnected", more: object = {}): Fact => ({
  ...{ type: "output.changed", uid: input, output: "o", state, reason: "connected" },
  ...more,
});
const states = async () =>
  (await records.outputs(input))[0]?.states.map(({ state, reason, error }) => [state, reason, error]);

onEachStore((store) => {
  beforeEach(async () => {
    records = await store.open();
    changes = [];
    records.onChange = (change) => changes.push(change);
    tell = tellerOf(() => records);
    await records.write((tx) => tx.create(input, newInput({ recording: { timeoutSeconds: 7 } })));
  });
  afterEach(async () => {
    await records.close();
    await store.renew();
  });

  test("whoever sends hears of an output that comes, is switched, follows its live input and goes", async () => {
    await add("o");
    const record = { uid: "o", input, url: "rtmp://x.example/live", sealedKey: "sealed", timeoutSeconds: 7 };
    expect(changes.at(-1)).toMatchObject({ set: { inputs: [], outputs: [{ ...record, enabled: true }] } });
    await records.write((tx) => switchOutput(tx, { uid: "o", liveInput: input }, false));
    expect(changes.at(-1)?.set.outputs).toEqual([{ ...record, enabled: false }]);
    await records.write((tx) => tx.update(input, () => newInput({ recording: { timeoutSeconds: 9 } })));
    expect(changes.at(-1)?.set.outputs).toMatchObject([{ uid: "o", timeoutSeconds: 9 }]);
    expect((await records.whole()).outputs).toHaveLength(1);
    const other = await records.write((tx) => removeOutputs(tx, "b".repeat(32), "o"));
    expect(other.result).toBe(0);
    await records.write((tx) => removeOutputs(tx, input, "o"));
    expect(changes.at(-1)).toMatchObject({ set: { outputs: [] }, remove: ["o"] });
  });

  test("with its live input an output goes, and what was told of it", async () => {
    await add("o");
    await tell(changed("connected"));
    await records.write((tx) => tx.remove(input));
    expect(changes.at(-1)?.remove.toSorted()).toEqual([input, "o"]);
    expect((await records.whole()).outputs).toEqual([]);
    expect(await records.outputs(input)).toEqual([]);
  });

  test("fifty outputs are as many as a live input has", async () => {
    for (let i = 0; i < 50; i++) expect((await add(`o${i}`)).result).toBeDefined();
    expect((await add("o50")).result).toBeUndefined();
  });

  test("the newest of its states is what it does, each is told once, and the oldest are forgotten", async () => {
    await add("o");
    await records.write((tx) => putEndpoint(tx, { id: "x", url: "https://x.example/", sealedSecret: "s" }));
    // Said of an output that has never had anything to send, and of one that is not there.
    await tell(changed("disconnected", { reason: "idle" }), changed("connected", { output: "none" }));
    expect(await states()).toEqual([]);
    const lost = { reason: "lost", error: "x.example closed the connection." };
    await tell(changed("connected"), changed("reconnecting", lost), changed("reconnecting", lost));
    expect(await states()).toEqual([
      ["reconnecting", "lost", "x.example closed the connection."],
      ["connected", "connected", null],
    ]);
    await tell(changed("disconnected", { reason: "idle" }), changed("disconnected", { reason: "idle" }));
    const notices = await records.notices("x", 10);
    expect(notices.map(({ type }) => type)).toEqual([
      "live_input.output.disconnected",
      "live_input.output.errored",
      "live_input.output.connected",
    ]);
    expect(JSON.parse(notices[1]!.payload)).toMatchObject({
      text: "x.example closed the connection.",
      data: {
        input_id: input,
        output_id: "o",
        event_type: "live_input.output.errored",
        output_errored: { error: { code: "ERR_OUTPUT_LOST", message: "x.example closed the connection." } },
      },
    });
    for (let i = 0; i < 30; i++) await tell(changed("reconnecting", { reason: "lost", error: `${i}` }));
    expect(await states()).toHaveLength(20);
    expect((await states())![0]).toEqual(["reconnecting", "lost", "29"]);
  });
});
