import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { addressNow, againAfterMs, askAfterMs, Renewal, readClaims } from "./renewal.ts";

const uid = "0123456789abcdef0123456789abcdef";
const other = "f".repeat(32);
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
const tokenOf = (sub: string, exp: unknown) => `${part({ alg: "RS256" })}.${part({ sub, exp })}.c2ln`;

test.for<[string, string, ReturnType<typeof readClaims>]>([
  ["a token", tokenOf(uid, 1_800_000_000), { sub: uid, untilMs: 1_800_000_000_000 }],
  ["with its end as text", tokenOf(uid, "1800000000"), { sub: uid, untilMs: 1_800_000_000_000 }],
  ["without an end", tokenOf(uid, undefined), undefined],
  ["with one that is none", tokenOf(uid, "soon"), undefined],
  ["a uid", uid, undefined],
  ["something with dots", "a.b.c", undefined],
  ["nothing", "", undefined],
])("%s is read", ([, text, claims]) => expect(readClaims(text)).toEqual(claims));

const host = "https://video.example.com:8443";
const [before, now] = [tokenOf(uid, 1_800_000_000), tokenOf(uid, 1_800_000_020)];
test.for([
  [
    "with the token before",
    `${host}/${before}/manifest/x.m3u8?_HLS_msn=1`,
    `${host}/${now}/manifest/x.m3u8?_HLS_msn=1`,
  ],
  ["of the playback itself", `${host}/${before}`, `${host}/${now}`],
  ["with the token of now", `${host}/${now}/manifest/x/1.m4s`, `${host}/${now}/manifest/x/1.m4s`],
  ["with the uid itself", `${host}/${uid}/lifecycle`, `${host}/${now}/lifecycle`],
  ["of something else", `${host}/${tokenOf(other, 1)}/lifecycle`, `${host}/${tokenOf(other, 1)}/lifecycle`],
  ["elsewhere", `https://cdn.example.com/${before}/1.m4s`, `https://cdn.example.com/${before}/1.m4s`],
])("an address %s is asked for as it is now", ([, url, asked]) =>
  expect(addressNow(url!, `${host}/${now}`)).toBe(asked),
);

test.for([
  [3_600_000, 3_540_000],
  [20_000, 12_000],
  [0, 0],
  [-5_000, 0],
])("with %i ms left it is asked after %i", ([left, after]) => expect(askAfterMs(left!)).toBe(after));

test.for([
  [60_000, 15_000],
  [8_000, 8_000 / 3],
  [1_000, 2_000],
  [-1, 15_000],
])("with %i ms left it is asked again after %i", ([left, after]) => expect(againAfterMs(left!)).toBe(after));

beforeEach(() => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
  vi.spyOn(console, "warn").mockImplementation(() => {});
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});
const inSeconds = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;

function renewed(id: string, give: () => string | undefined) {
  const fresh: string[] = [];
  let asked = 0;
  const renewal = new Renewal({
    id,
    ask: async () => {
      asked++;
      return give();
    },
    fresh: (token) => fresh.push(token),
  });
  return { renewal, fresh, asked: () => asked };
}

test("tokens of 20 s follow each other, each asked for 8 s before the end of the one before", async () => {
  const { renewal, fresh, asked } = renewed(tokenOf(uid, inSeconds(20)), () => tokenOf(uid, inSeconds(20)));
  await vi.advanceTimersByTimeAsync(11_900);
  expect(asked()).toBe(0);
  await vi.advanceTimersByTimeAsync(200);
  expect(fresh).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(36_000);
  expect(fresh).toHaveLength(4);
  expect(new Set(fresh).size).toBe(4);
  renewal.close();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked()).toBe(4);
});

test.for<[string, () => string | undefined]>([
  ["none", () => undefined],
  ["for something else", () => tokenOf(other, inSeconds(20))],
  ["that has expired", () => tokenOf(uid, inSeconds(-1))],
  ["that is none", () => "a.b.c"],
])("a token %s is not taken, and it is asked again before the end", async ([, give]) => {
  const { renewal, fresh, asked } = renewed(tokenOf(uid, inSeconds(20)), give);
  await vi.advanceTimersByTimeAsync(19_900);
  expect(asked()).toBeGreaterThan(2);
  expect(fresh).toEqual([]);
  renewal.close();
});

test("a clock that is an hour ahead of the server's asks for nothing too early once it is told", async () => {
  const { renewal, asked } = renewed(tokenOf(uid, inSeconds(20)), () => undefined);
  renewal.clock(Date.now() - 3_600_000);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked()).toBe(0);
  renewal.close();
});

test("a uid has no end, and may be replaced by a token for it where it is not taken", async () => {
  const token = tokenOf(uid, inSeconds(20));
  const { renewal, fresh, asked } = renewed(uid, () => token);
  await vi.advanceTimersByTimeAsync(100_000);
  expect(asked()).toBe(0);
  vi.setSystemTime(1_800_000_000_000);
  renewal.ask();
  await vi.advanceTimersByTimeAsync(0);
  expect(fresh).toEqual([token]);
  renewal.close();
});
