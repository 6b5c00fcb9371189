import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { MoqClient } from "./client.ts";
import { Line } from "./line.ts";

beforeEach(
  () =>
    void vi.useFakeTimers({
      toFake: ["setTimeout", "setInterval", "clearTimeout", "clearInterval", "performance"],
    }),
);
afterEach(() => void vi.useRealTimers());

type End = MoqClient & { closed: boolean; readonly asked: (() => void)[] };

/** A session of which the test is the relay. */
function end(): End {
  const asked: (() => void)[] = [];
  return {
    ...{ closed: false, asked, subscribe: () => () => {}, fetch: () => () => {} },
    ...{ onLost: undefined, onLeave: undefined },
    ping: () => new Promise<void>((answer) => void asked.push(answer)),
    close() {
      this.closed = true;
    },
  };
}

/** A line over `first` whose next sessions are `next`, in turn; undefined is one that cannot be had. */
function lineOver(first: End, next: (End | undefined)[] = []) {
  const heard: unknown[] = [];
  const addresses: (string | undefined)[] = [];
  const line = new Line(
    first,
    async (address) => {
      addresses.push(address);
      const one = next.shift();
      if (!one) throw new Error("there is none");
      return one;
    },
    { moved: () => heard.push("moved"), lost: (loss) => heard.push(loss) },
  );
  return { line, heard, addresses };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

test("a session that is renewed goes on over the one before until nothing comes over that any more", async () => {
  const [first, second] = [end(), end()];
  const { line, heard } = lineOver(first, [second]);
  line.renew();
  await pass(0);
  expect(heard).toEqual(["moved"]);
  expect(line.client).toBe(second);
  expect(first.closed).toBe(false);
  line.settle();
  expect(first.closed).toBe(true);
  expect(second.closed).toBe(false);
});

test("one that cannot be had is tried again while this one lasts", async () => {
  const { line, heard, addresses } = lineOver(end(), [undefined, undefined, end()]);
  line.renew();
  await pass(2_500);
  expect(heard).toEqual(["moved"]);
  expect(addresses).toEqual([undefined, undefined, undefined]);
});

test("a relay that leaves is followed to where it says", async () => {
  const [first, second] = [end(), end()];
  const { heard, addresses } = lineOver(first, [second]);
  first.onLeave?.("https://elsewhere:8443/playback");
  await pass(0);
  expect(addresses).toEqual(["https://elsewhere:8443/playback"]);
  expect(heard).toEqual(["moved"]);
  // It is nobody's any more.
  expect(first.onLost).toBeUndefined();
});

test("one that leaves with nowhere to go is lost in good order, and others are not", async () => {
  const first = end();
  const one = lineOver(first);
  first.onLeave?.(undefined);
  await pass(100);
  first.onLost?.("it stops");
  expect(one.heard).toEqual([{ reason: "it stops", asked: true }]);
  await pass(5_000);
  expect(one.addresses).toHaveLength(1);
  const second = end();
  const other = lineOver(second);
  second.onLost?.("it is cut");
  expect(other.heard).toEqual([{ reason: "it is cut", asked: false }]);
});

test("one that goes while another is sought is lost only if that cannot be had", async () => {
  for (const next of [end(), undefined]) {
    const first = end();
    const { heard, addresses } = lineOver(first, [next]);
    first.onLeave?.("https://elsewhere:8443/playback");
    first.onLost?.("it stops");
    expect(heard).toEqual([]);
    await pass(5_000);
    expect(heard).toEqual(next ? ["moved"] : [{ reason: "it stops", asked: true }]);
    expect(addresses).toHaveLength(1);
  }
});

test("a relay from which nothing comes is asked, and given up when it does not answer", async () => {
  const first = end();
  const { line, heard } = lineOver(first);
  await pass(700);
  line.check();
  expect(first.asked).toHaveLength(0);
  await pass(200);
  line.check();
  expect(first.asked).toHaveLength(1);
  first.asked[0]!();
  await pass(500);
  line.check();
  expect(first.asked).toHaveLength(1);
  // It has answered, which is no media.
  expect(line.silentMs).toBe(1_400);
  await pass(400);
  line.check();
  expect(first.asked).toHaveLength(2);
  await pass(1_100);
  expect(heard).toEqual([{ reason: "the relay does not answer", asked: false }]);
  expect(first.closed).toBe(true);
});

test("while media comes nobody is given up", async () => {
  const first = end();
  const { line, heard } = lineOver(first);
  await pass(900);
  line.check();
  for (let i = 0; i < 30; i++) {
    line.heard();
    await pass(100);
  }
  expect(heard).toEqual([]);
});
