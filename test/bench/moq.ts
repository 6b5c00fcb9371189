import { setTimeout as wait } from "node:timers/promises";
import { Peer } from "../../services/moq/session.ts";
import { connectWebTransport } from "../../services/moq/webtransport.ts";
import { readVideo } from "../../services/packager/flv.ts";
import { makeFlv } from "../support/flv.ts";
import { wayTo } from "../support/moq-viewer.ts";
import { chunked, connectRtmp } from "../support/rtmp-client.ts";
import { startSluice } from "../support/sluice.ts";
import { glass } from "./latency.ts";
import { descendants, usageOf } from "./processes.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const WARM_SECONDS = 4;
const SUBSCRIBERS = 40;
const CHUNK_BYTES = 65_536;
/** Enough of a picture's end to know it by. */
const TAIL = 24;

/**
 * Media over QUIC: what a viewer in Chromium sees, and how long an object is on its way inside. A chunk needs the next picture, whose
 * arrival is what times count from.
 */
export async function moq({ seconds = 60 }: BenchOptions): Promise<Report> {
  const seen = await glass({ seconds, profile: "low", env: { SLUICE_MOQ: "true" } });
  const inside = await relayed(Math.min(seconds, 20));
  return {
    name: "moq",
    load: `${seen.load}; then ${SUBSCRIBERS} subscribers of 2.1 Mb/s in one process for ${inside.seconds} s after ${WARM_SECONDS} s`,
    lines: [
      ["encoder to glass", showSpread(seen.toGlass), "p50 <= 350, p95 <= 600 ms"],
      ["stalls", `${seen.stalls}`, "0"],
      ["engine", seen.engine ?? "none"],
      [
        "next picture sent to object received, one subscriber",
        showSpread(inside.alone, "ms", 1),
        "p50 <= 5 ms",
      ],
      [`the same, ${SUBSCRIBERS} subscribers`, showSpread(inside.delays, "ms", 1)],
      ["objects", `${inside.objects} of ${inside.expected}`],
      [
        "relay",
        `${inside.cpuPercent.toFixed(1)} % of a core, ${(inside.cpuPercent / SUBSCRIBERS).toFixed(2)} % a subscriber, ${inside.megabytes.toFixed(0)} MB`,
        "<= 0.35 % a subscriber",
      ],
    ],
    figures: { seconds, toGlassMs: seen.toGlass, stalls: seen.stalls, engine: seen.engine, inside },
  };
}

/** Sends pictures at their times and notes when, and when each of their chunks reaches subscribers. */
async function relayed(seconds: number) {
  const { tags } = await makeFlv({ seconds: 4, width: 1280, height: 720, kbps: 2000 });
  const sluice = await startSluice({ env: { SLUICE_MOQ: "true" } });
  const { hostname, port, pathname } = new URL(`${sluice.ready.rtmp}/${sluice.ready.streamKey}`);
  const [app = "", ...key] = pathname.slice(1).split("/");
  const rtmp = await connectRtmp({ host: hostname, port: Number(port), chunkBytes: CHUNK_BYTES });
  await rtmp.publish(app, key.join("/"));
  /** When the picture after this one was sent, by the end of its bytes. */
  const nextSentAt = new Map<string, number>();
  let before: string | undefined;
  const began = performance.now();
  const lengthMs = Math.round((tags.at(-1)!.timestampMs / 33 + 1) * 33);
  let next = 0;
  let loop = 0;
  const sending = setInterval(() => {
    for (;;) {
      const tag = tags[next]!;
      const timestampMs = tag.timestampMs + loop * lengthMs;
      if (timestampMs > performance.now() - began) return;
      const isFrame = tag.type !== "script" && tag.payload[1] === 1;
      if (loop === 0 || isFrame) {
        rtmp.raw(
          chunked(
            { type: { audio: 8, video: 9, script: 18 }[tag.type], timestampMs, payload: tag.payload },
            CHUNK_BYTES,
          ),
        );
        if (tag.type === "video" && readVideo(tag.payload).type === "frame") {
          if (before) nextSentAt.set(before, performance.now());
          before = tailOf(tag.payload);
        }
      }
      if (++next < tags.length) continue;
      next = 0;
      loop++;
    }
  }, 2);
  const peers: Peer[] = [];
  try {
    const way = await wayTo(sluice.ready, sluice.ready.uid!);
    let delays: number[] = [];
    let objects = 0;
    let measuring = false;
    const heard = (payload: Uint8Array) => {
      if (!measuring) return;
      objects++;
      const sentAt = nextSentAt.get(tailOf(payload));
      if (sentAt !== undefined) delays.push(performance.now() - sentAt);
    };
    const measure = async () => {
      delays = [];
      objects = 0;
      await wait(WARM_SECONDS * 1000);
      measuring = true;
      await wait(seconds * 1000);
      measuring = false;
      return spread(delays);
    };
    const join = async () => {
      const transport = await connectWebTransport({
        ...{ host: "127.0.0.1", port: way.port, path: `/${sluice.ready.uid}`, protocols: ["moqt-16"] },
      });
      const peer = new Peer({ transport, side: "client", on: {} });
      peers.push(peer);
      for (const name of ["source.0", "audio.0"])
        peer.subscribe(
          { namespace: [way.namespace], name },
          { filter: { from: "next group" } },
          {
            ok: () => {},
            refused: ({ reason }) => {
              throw new Error(reason);
            },
            group: () => ({
              object: ({ payload }) => name === "source.0" && heard(payload),
              end: () => {},
              gone: () => {},
            }),
            done: () => {},
          },
        );
    };
    await join();
    const alone = await measure();
    while (peers.length < SUBSCRIBERS) await join();
    const pids = descendants(sluice.pid, "role relay");
    const from = usageOf(pids);
    const delaysOfAll = await measure();
    const to = usageOf(pids);
    return {
      ...{ seconds, alone, delays: delaysOfAll, objects },
      expected: SUBSCRIBERS * 30 * seconds,
      cpuPercent: ((to.cpuSeconds - from.cpuSeconds) / (seconds + WARM_SECONDS)) * 100,
      megabytes: to.rssBytes / 2 ** 20,
    };
  } finally {
    clearInterval(sending);
    for (const peer of peers) peer.close("noError", "");
    await rtmp.finish();
    await sluice.stop();
  }
}

const tailOf = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(-TAIL)).toString("latin1");
