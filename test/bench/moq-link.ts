import { setTimeout as wait } from "node:timers/promises";
import { wayTo } from "../support/moq-viewer.ts";
import { startSluice } from "../support/sluice.ts";
import { openUdpLink } from "../support/udp-link.ts";
import { startSource, subscribe } from "./moq-load.ts";
import type { BenchOptions, Report } from "./report.ts";

const RTT_MS = 50;
const LOSS = 0.05;
const KBPS = 800;
/** Of the sound in `makeFlv`. */
const SAMPLE_RATE = 48_000;
/** What the catalog asks players to stay behind. */
const BEHIND_MS = 300;
const SILENT_MS = 200;

/** What a viewer has over a line that loses packets, and of one whose address changes. */
export async function moqLink({ seconds = 60 }: BenchOptions): Promise<Report> {
  const found = await overLines(seconds);
  const { lossy, moved } = found;
  const minutes = seconds / 60;
  return {
    name: "moq-link",
    load: `a broadcast of ${KBPS} kb/s for ${seconds} s: a line with ${LOSS * 100} % loss and ${RTT_MS} ms round trip, then one whose client moves to another port`,
    lines: [
      ["packets lost", `${lossy.lost} of ${lossy.packets}`],
      [
        `silence over ${SILENT_MS} ms in a player ${BEHIND_MS} ms behind, a minute`,
        `${(lossy.silences / minutes).toFixed(1)}; sound came up to ${lossy.latestMs.toFixed(0)} ms later than at best`,
        "0",
      ],
      ["groups of pictures", `${lossy.whole} whole, ${lossy.cut} dropped`],
      ["longest without a picture", `${lossy.longestVideoMs.toFixed(0)} ms`, "never for good"],
      [
        "longest without a picture when the address changes",
        `${moved.longestVideoMs.toFixed(0)} ms`,
        "<= 500 ms",
      ],
    ],
    figures: { seconds, ...found },
  };
}

/** The same for tests: what came over a lossy line in `seconds`, and around a change of address. */
export async function overLines(seconds: number) {
  const sluice = await startSluice({ env: { SLUICE_MOQ: "true" } });
  const source = await startSource(sluice, { width: 640, height: 360, kbps: KBPS - 100 });
  try {
    const way = await wayTo(sluice.ready, sluice.ready.uid!);
    const lossy = await watchOver({ to: way.port, uid: way.namespace, seconds, loss: LOSS });
    const moved = await watchOver({
      ...{ to: way.port, uid: way.namespace, seconds: Math.min(seconds, 10), loss: 0, moves: true },
    });
    return { lossy, moved };
  } finally {
    await source.stop();
    await sluice.stop();
  }
}

/** When the sound of a chunk is due, by its tfdt (ISO/IEC 14496-12 8.8.12). */
function decodeMs(chunk: Uint8Array): number {
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const at = bytes.indexOf("tfdt") + 4;
  const ticks = bytes[at] === 1 ? Number(bytes.readBigUInt64BE(at + 4)) : bytes.readUInt32BE(at + 4);
  return (ticks / SAMPLE_RATE) * 1000;
}

/** How often a player that stays behind the soonest arrival has nothing to play for too long. */
function silences(lags: readonly number[]) {
  const soonest = Math.min(...lags);
  const late = lags.map((lag) => lag - soonest);
  const starts = late.filter(
    (ms, i) => ms > BEHIND_MS + SILENT_MS && !((late[i - 1] ?? 0) > BEHIND_MS + SILENT_MS),
  );
  return { silences: starts.length, latestMs: Math.max(...late) };
}

async function watchOver(options: {
  readonly to: number;
  readonly uid: string;
  readonly seconds: number;
  readonly loss: number;
  readonly moves?: boolean;
}) {
  const { to, uid, seconds, loss, moves } = options;
  const link = await openUdpLink({ to, rttMs: RTT_MS, loss });
  const last = new Map<string, number>();
  const gaps = new Map<string, number[]>();
  /** Of each object of sound: its arrival less its media time. */
  let lags: number[] = [];
  let [whole, cut] = [0, 0];
  const peer = await subscribe({
    ...{ port: link.port, uid, tracks: ["source.0", "audio.0"] },
    heard: ({ track, payload }) => {
      const now = performance.now();
      if (track === "audio.0") lags.push(now - decodeMs(payload));
      const before = last.get(track);
      if (before !== undefined) gaps.set(track, [...(gaps.get(track) ?? []), now - before]);
      last.set(track, now);
    },
    ended: (track, _group, isWhole) => {
      if (track !== "source.0") return;
      if (isWhole) whole++;
      else cut++;
    },
  });
  try {
    await wait(2_000);
    for (const one of gaps.values()) one.length = 0;
    lags = [];
    await wait((seconds * 1000) / 2);
    if (moves) link.move();
    await wait((seconds * 1000) / 2);
    const now = performance.now();
    const longest = (track: string) => {
      let most = now - (last.get(track) ?? 0);
      for (const gap of gaps.get(track) ?? []) most = Math.max(most, gap);
      return most;
    };
    return {
      ...{ lost: link.lost, packets: link.packets, whole, cut },
      ...silences(lags),
      longestAudioMs: longest("audio.0"),
      longestVideoMs: longest("source.0"),
      over: peer.closed,
    };
  } finally {
    peer.close("noError", "");
    link.close();
  }
}
