import http from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Broadcast } from "../../services/live/broadcast.ts";
import { Directory } from "../../services/live/directory.ts";
import type { Rung } from "../../services/live/ladder.ts";
import { noTape } from "../../services/live/tape.ts";
import { http1 } from "../../services/origin/exchange.ts";
import type { FlvTag } from "../../services/packager/flv.ts";
import { profiles } from "../../services/packager/profiles.ts";
import { productFolder } from "../../services/supervisor/programs.ts";
import { makeFlv } from "./flv.ts";
import { openHandler } from "./handler.ts";

const input = "0123456789abcdef0123456789abcdef";
const video = "fedcba9876543210fedcba9876543210";
const tickMs = 15;

export interface PremadeSize {
  readonly width: number;
  readonly height: number;
  readonly kbps: number;
}

/** A broadcast whose source and rungs were encoded beforehand: what a browser is shown costs no encoder. */
export interface Premade {
  /** Base of the playback, e.g. http://127.0.0.1:8080/{uid}. */
  readonly playback: string;
  /** Gives up the rung of this height. */
  drop(height: number): void;
  close(): Promise<void>;
}

/** Sends it in real time through the packager and the origin's own routes, over and over. */
export async function startPremade(source: PremadeSize, smaller: readonly PremadeSize[]): Promise<Premade> {
  const seconds = 10;
  const made = await makeFlv({ seconds, ...source });
  const rungs: { rung: Rung; tags: readonly FlvTag[] }[] = [];
  for (const size of smaller) {
    const { tags, bitsPerSecond } = await makeFlv({ seconds, ...size });
    const rung: Rung = {
      name: `${size.height}p`,
      width: size.width,
      height: size.height,
      frameRate: 30,
      maxFrameRate: undefined,
      codec: "h264",
      codecs: "avc1.64001e",
      videoKbps: size.kbps,
      bandwidth: { peak: Math.round(bitsPerSecond * 1.2), average: Math.round(bitsPerSecond) },
    };
    rungs.push({ rung, tags: tags.filter(({ type }) => type === "video") });
  }
  const directory = new Directory();
  const broadcast = new Broadcast({
    input,
    video,
    profile: profiles.low,
    tape: noTape,
    plan: () => rungs.map(({ rung }) => rung),
    changed: (one) => directory.notify(one),
  });
  directory.add(broadcast);
  const began = Date.now();
  broadcast.begin(began, 0);

  const dropped = new Set<string>();
  const feeds = [
    looped(made.tags, seconds, (tag) => broadcast.push(tag, Date.now())),
    ...rungs.map(({ rung, tags }) => {
      broadcast.beginRung(rung.name);
      return looped(tags, seconds, (tag) => !dropped.has(rung.name) && broadcast.pushRung(rung.name, tag));
    }),
  ];
  const timer = setInterval(() => {
    const now = Date.now();
    for (const feed of feeds) feed(now - began);
    broadcast.clock(now);
  }, tickMs);

  const failures: unknown[] = [];
  const server = http.createServer(
    http1(openHandler({ directory, playerDir: join(productFolder, "player/dist"), failures })),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    playback: `http://127.0.0.1:${(server.address() as AddressInfo).port}/${input}`,
    drop(height) {
      dropped.add(`${height}p`);
      broadcast.dropRungs([`${height}p`], "too slow", Date.now());
    },
    async close() {
      clearInterval(timer);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      if (failures.length > 0) throw failures[0];
    },
  };
}

/** Gives what is due `ms` after the beginning, again from the first when the tags end; configurations once. */
function looped(tags: readonly FlvTag[], seconds: number, give: (tag: FlvTag) => void): (ms: number) => void {
  let next = 0;
  let loop = 0;
  return (ms) => {
    for (;;) {
      const tag = tags[next]!;
      const timestampMs = tag.timestampMs + loop * seconds * 1000;
      if (timestampMs > ms) return;
      // The second byte of an AVC or AAC tag is 0 for a configuration.
      if (loop === 0 || (tag.type !== "script" && tag.payload[1] === 1)) give({ ...tag, timestampMs });
      if (++next < tags.length) continue;
      next = 0;
      loop++;
    }
  };
}
