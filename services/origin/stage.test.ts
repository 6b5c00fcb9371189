import { mkdtemp, rm } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { publish } from "../../test/support/simulate.ts";
import { Waiters } from "../../test/support/waiters.ts";
import { type InternalServer, listenInternal, requestInternal, sendJson } from "../lib/http.ts";
import { createLog } from "../lib/log.ts";
import type { Announcement } from "../live/announcement.ts";
import { Directory } from "../live/directory.ts";
import type { Fact } from "../live/events.ts";
import { audioTag, type FlvTag, flvHeader, scriptTag, tagHeader, videoTag } from "../packager/flv.ts";
import { Ledger } from "./ledger.ts";
import { Stage } from "./stage.ts";

const uid = "0123456789abcdef0123456789abcdef";
const input = {
  ...{ uid, name: "", enabled: true, timeoutSeconds: 60, profile: "low" as const, record: false },
  ...{ requireSignedURLs: false, allowedOrigins: [] },
};
const types = { audio: audioTag, video: videoTag, script: scriptTag };

let folder: string;
let ingest: InternalServer;
let stage: Stage;
let directory: Directory;
const facts: Fact[] = [];
/** Feeds that are read, by publish. */
const feeds = new Map<string, ServerResponse>();
/** Whom ingest was told to refuse; it answers when this settles. */
const refused = new Set<string>();
let answers: Promise<void>;
const came = new Waiters();

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "stage-"));
  directory = new Directory();
  directory.onAny(() => came.wake());
  facts.length = 0;
  answers = Promise.resolve();
  ingest = await listenInternal(`unix:${join(folder, "ingest.sock")}`, (request, response) => {
    const name = request.url!.split("/").at(-1)!;
    if (request.method === "DELETE") {
      refused.add(name);
      void answers.then(() => sendJson(response, 204));
    } else {
      response.writeHead(200).write(flvHeader());
      feeds.set(name, response);
    }
    came.wake();
  });
  stage = new Stage({
    ...{
      directory,
      ledger: await Ledger.open(folder),
      recordings: undefined,
      dvrSeconds: 0,
      ladder: undefined,
    },
    snapshot: { get: (asked) => (asked === uid ? input : undefined) },
    events: { send: (fact) => facts.push(fact) },
    ...{ address: "", secret: undefined, log: createLog("test", "silent", false), refused: () => {} },
  });
});
afterEach(async () => {
  await stage.close();
  await ingest.close();
  feeds.clear();
  refused.clear();
  await rm(folder, { recursive: true });
});

const announcement = (name: string): Announcement => ({
  ...{ uid, publish: name, feed: ingest.address, path: `/feeds/${name}`, peer: "", at: Date.now() },
});

/** So many seconds of media on the feed of a publish. */
const send = (name: string, seconds: number) => {
  for (const { tag } of publish({ gop: 2, seconds, audio: 48000 })) feeds.get(name)!.write(bytesOf(tag));
};
const bytesOf = ({ type, timestampMs, payload }: FlvTag): Buffer => {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(11 + payload.length);
  return Buffer.concat([tagHeader(types[type], timestampMs, payload.length), payload, size]);
};

test("an encoder that comes back at the moment at which its broadcast ends begins another one", async () => {
  await stage.accept(announcement("one"));
  const { video } = directory.current(uid)!;
  const back = stage.accept(announcement("two"));
  await stage.complete(uid);
  await back;
  await came.until(() => directory.current(uid)?.state === "live");
  expect(directory.current(uid)!.video).not.toBe(video);
  expect(facts.map(({ type }) => type)).toEqual([
    "broadcast.started",
    "broadcast.ended",
    "broadcast.started",
  ]);
});

test("two encoders that come at once to a live input are of one broadcast, which both control and viewers know", async () => {
  await Promise.allSettled([stage.accept(announcement("one")), stage.accept(announcement("two"))]);
  await came.until(() => feeds.has("two"));
  const { video } = directory.current(uid)!;
  expect(facts).toEqual([{ type: "broadcast.started", uid, video }]);
  expect([...directory.all()].length).toBe(1);
});

test("an encoder that is back before ingest has answered that it was refused stays on air", async () => {
  const held = Promise.withResolvers<void>();
  answers = held.promise;
  await stage.accept(announcement("one"));
  await came.until(() => feeds.has("one"));
  feeds.get("one")!.write(Buffer.alloc(16, 0xff));
  await came.until(() => refused.has("one"));
  await stage.accept(announcement("two"));
  await came.until(() => feeds.has("two"));
  held.resolve();
  // Its answer is behind the one that was held.
  await requestInternal(ingest.address, "/", { method: "DELETE" });
  const broadcast = directory.current(uid)!;
  send("two", 3);
  await came.until(() => broadcast.listed);
  expect(broadcast.state).toBe("live");
});

test("media that nobody foresaw ends its feed, and nothing else", async () => {
  await stage.accept(announcement("one"));
  await came.until(() => feeds.has("one"));
  const broadcast = directory.current(uid)!;
  broadcast.push = () => {
    throw new TypeError("a mistake of ours");
  };
  send("one", 1);
  await came.until(() => broadcast.state === "reconnecting");
  await stage.accept(announcement("two"));
  expect(directory.current(uid)).toBe(broadcast);
});
