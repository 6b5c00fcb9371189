import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { listenInternal, openInternal, readJson, sendJson } from "../../services/lib/http.ts";
import { FlvReader } from "../../services/packager/flv.ts";
import type { Figures } from "../support/ingest-child.ts";
import { belowOf } from "../support/random.ts";
import {
  chunked,
  chunkSizeMessage,
  command,
  connectRtmp,
  greeting,
  media,
  publishCommands,
  type RtmpClient,
} from "../support/rtmp-client.ts";

export type { Figures };

const bystander = { uid: "1".repeat(32), key: "bystander" };
/** The attackers own this one: they get further than strangers. */
export const attacked = { uid: "2".repeat(32), key: "attacked" };

export interface Arena {
  readonly port: number;
  readonly alive: boolean;
  figures(): Promise<Figures>;
  /** Resolves once only the bystander is connected, with the figures of then. */
  quiet(): Promise<Figures>;
  /** Ends the bystander and tells what became of its frames. */
  finish(): Promise<{ readonly sent: number; readonly arrived: number; readonly ended: number }>;
  close(): Promise<void>;
}

/** An ingest in a process of its own, and a bystander who publishes 30 numbered frames a second to it the whole time. */
export async function openArena(): Promise<Arena> {
  const folder = await mkdtemp(join(tmpdir(), "slu-"));
  let arrived = 0;
  let ended = 0;
  const over = Promise.withResolvers<void>();
  const origin = await listenInternal(`unix:${join(folder, "origin.sock")}`, async (request, response) => {
    const posted = (await readJson(request)) as { uid: string; feed: string; path: string };
    sendJson(response, 200, { epoch: 1 });
    const body = await openInternal(posted.feed, posted.path).catch(() => undefined);
    if (posted.uid !== bystander.uid) {
      body?.resume().on("error", () => undefined);
      return;
    }
    const reader = new FlvReader();
    for await (const bytes of body as AsyncIterable<Buffer>) {
      for (const tag of reader.push(bytes)) {
        if (tag.type !== "video" || tag.payload[1] !== 1) continue;
        // Nothing that is not ours, nothing twice, nothing out of order.
        if (tag.timestampMs !== arrived * 33) throw new Error(`frame ${arrived} has time ${tag.timestampMs}`);
        arrived++;
      }
    }
    ended++;
    over.resolve();
  });
  const child = fork(
    new URL("../support/ingest-child.ts", import.meta.url).pathname,
    [folder, ...[bystander, attacked].map(({ uid, key }) => `${uid}=${key}`)],
    { execArgv: ["--expose-gc"] },
  );
  let alive = true;
  child.once("exit", () => {
    alive = false;
    over.resolve();
  });
  const answer = () =>
    new Promise<unknown>((resolve, reject) => {
      const died = (code: number | null, signal: string | null) =>
        reject(new Error(`ingest died: ${code ?? signal}`));
      child.once("exit", died);
      child.once("message", (message) => {
        child.off("exit", died);
        resolve(message);
      });
    });
  const { ports } = (await answer()) as { ports: { rtmp: number } };

  const encoder = await connectRtmp({ port: ports.rtmp, localAddress: "127.0.0.99" });
  await encoder.publish("live", bystander.key);
  encoder.video(0, media.avcConfig);
  let sent = 0;
  const timer = setInterval(() => {
    encoder.video(sent * 33, sent % 60 ? media.frame(2000) : media.keyframe(8000));
    sent++;
  }, 33);

  const arena: Arena = {
    port: ports.rtmp,
    get alive() {
      return alive;
    },
    figures() {
      const figures = answer() as Promise<Figures>;
      if (alive) child.send("figures");
      return figures;
    },
    async quiet() {
      for (;;) {
        const figures = await arena.figures();
        if (figures.connections <= 1) return figures;
      }
    },
    async finish() {
      clearInterval(timer);
      await encoder.finish();
      await over.promise;
      return { sent, arrived, ended };
    },
    async close() {
      clearInterval(timer);
      encoder.socket.destroy();
      if (alive) {
        child.disconnect();
        await once(child, "exit");
      }
      await origin.close();
      await rm(folder, { recursive: true });
    },
  };
  return arena;
}

/** Whole sessions as encoders send them, with the attackers' key: FFmpeg's and ours. */
const sessions: readonly Buffer[] = [
  Buffer.concat([
    greeting(),
    Buffer.alloc(1536, 7),
    readFileSync(new URL("../fuzz/corpus/rtmp/ffmpeg.bin", import.meta.url)),
  ]),
  Buffer.concat([
    greeting(),
    Buffer.alloc(1536, 7),
    chunked(chunkSizeMessage(4096), 128),
    ...publishCommands("live", attacked.key).map((m) => chunked(m, 4096)),
    chunked({ type: 18, timestampMs: 0, payload: media.metadata({ width: 320 }) }, 4096),
    chunked({ type: 9, timestampMs: 0, payload: media.avcConfig }, 4096),
    chunked({ type: 8, timestampMs: 0, payload: media.aacConfig }, 4096),
    ...Array.from({ length: 10 }, (_, i) =>
      chunked({ type: 9, timestampMs: i * 33, payload: i ? media.frame(900) : media.keyframe(9000) }, 4096),
    ),
    chunked(command("deleteStream", 7, null, 1), 4096),
  ]),
];

function mutated(random: (below: number) => number): Buffer {
  let bytes = Buffer.from(sessions[random(sessions.length)]!);
  // Mostly behind the handshake, where the parser is.
  const place = () =>
    random(10) === 0 ? random(bytes.length) : Math.min(bytes.length - 1, 3073 + random(1500));
  for (let left = 1 + random(8); left > 0 && bytes.length > 1; left--) {
    const at = place();
    const count = 1 + random(16);
    switch (random(6)) {
      case 0:
        bytes[at]! ^= 1 << random(8);
        break;
      case 1:
        bytes[at] = [0, 1, 2, 3, 0x7f, 0x80, 0xff][random(7)]!;
        break;
      case 2:
        bytes = bytes.subarray(0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + count)]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(count, random(256)), bytes.subarray(at)]);
        break;
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - 200))]);
    }
  }
  return bytes;
}

/** Sends `count` damaged sessions, some at a time; each is hung up on when it is sent, as often by reset as in order. */
export async function attackMutated(arena: Arena, count: number, seed: number): Promise<void> {
  const random = belowOf(seed);
  let next = 0;
  async function attacker(number: number): Promise<void> {
    while (next < count && arena.alive) {
      // Many addresses, or the delay against guessing would be all that is tested.
      const localAddress = `127.1.${number}.${1 + (next % 250)}`;
      next++;
      const bytes = mutated(random);
      const client = await connectRtmp({ port: arena.port, localAddress });
      const cut = random(bytes.length + 1);
      client.raw(bytes.subarray(0, cut));
      client.raw(bytes.subarray(cut));
      await sent(client);
      if (random(2)) client.socket.resetAndDestroy();
      else client.socket.end();
      await client.closed;
    }
  }
  await Promise.all(Array.from({ length: 8 }, (_, i) => attacker(i)));
}

/** Resolves when the kernel has everything, or the server has hung up. */
async function sent(client: RtmpClient): Promise<void> {
  if (client.socket.writableLength > 0 && !client.socket.destroyed)
    await Promise.race([once(client.socket, "drain"), client.closed]);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { sessions: { type: "string", default: "5000" }, seed: { type: "string", default: "1" } },
  });
  const arena = await openArena();
  const rounds = 5;
  const before = await arena.quiet();
  console.log(`before: RSS ${(before.rss / 1e6).toFixed(1)} MB, heap ${(before.heap / 1e6).toFixed(1)} MB`);
  for (let i = 0; i < rounds; i++) {
    const began = performance.now();
    await attackMutated(arena, Number(values.sessions) / rounds, Number(values.seed) + i);
    const { rss, heap, external, connections, publishes, accepted } = await arena.quiet();
    console.log(
      `${((i + 1) * Number(values.sessions)) / rounds} sessions, ${accepted} accepted: RSS ${(rss / 1e6).toFixed(1)} MB, heap ${(heap / 1e6).toFixed(1)} MB, ` +
        `external ${(external / 1e6).toFixed(1)} MB, ${connections} connections, ${publishes} publishes, ` +
        `${((performance.now() - began) / 1000).toFixed(1)} s`,
    );
  }
  console.log(arena.alive ? "alive" : "DEAD", await arena.finish());
  await arena.close();
}
