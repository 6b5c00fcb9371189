import { connect, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { makeFlv } from "../support/flv.ts";
import { startSender } from "../support/sender.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { untilLive } from "../support/viewer.ts";
import { descendants, usageOf } from "./processes.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const CLIENTS = 1000;
const WARM_SECONDS = 10;
/** Half-second parts in segments of two seconds, as the sender's keyframes have it. */
const PARTS = 4;

/** A moment of a playlist that many wait for. */
interface Update {
  first: number;
  readonly delays: number[];
}

/** Many clients that all wait for the next part of one playlist: how late the last is answered, and what each costs. */
export async function fanout({ seconds = 30 }: BenchOptions): Promise<Report> {
  const made = await makeFlv({ seconds: 10, width: 640, height: 360, kbps: 800 });
  const sluice = await startSluice();
  const sender = await startSender(`${sluice.ready.rtmp}/${sluice.ready.streamKey}`, made.tags);
  const clients: Socket[] = [];
  try {
    const list = await firstList(sluice);
    await wait(WARM_SECONDS * 1000);
    const pids = descendants(sluice.pid, "role origin");
    const alone = await during(seconds, pids);
    const updates = new Map<string, Update>();
    let counting = false;
    let answers = 0;
    const begin = await whereItStands(list);
    for (let i = 0; i < CLIENTS; i++)
      clients.push(
        follow(list, begin, (update, at) => {
          if (!counting) return;
          answers++;
          const known = updates.get(update) ?? { first: at, delays: [] };
          updates.set(update, known);
          known.delays.push(at - known.first);
        }),
      );
    await wait(WARM_SECONDS * 1000);
    const before = await madeSoFar(sluice);
    counting = true;
    const crowd = await during(seconds, pids);
    counting = false;
    const after = await madeSoFar(sluice);
    // The first and the last update were not seen by everybody.
    const whole = [...updates.values()].slice(1, -1);
    const missed = 1 - whole.reduce((sum, one) => sum + one.delays.length, 0) / (whole.length * CLIENTS);
    if (!(missed < 0.05))
      throw new Error(
        `this machine is too busy: ${Math.round(missed * 100)} % of the answers came too late to count`,
      );
    const delays = spread(whole.flatMap((one) => one.delays));
    const p99 = at(
      whole.flatMap((one) => one.delays),
      0.99,
    );
    const microseconds = ((crowd - alone) * 1e6) / answers;
    const each = (what: "text" | "gzip"): number => (after[what] - before[what]) / updates.size;
    const wasted = each("text") > 1.1 || each("gzip") > 1.1;
    if (wasted) throw new Error(`rendered ${each("text")} and compressed ${each("gzip")} times an update`);
    return {
      name: "fanout",
      load: `${CLIENTS} clients that are held for each part of one playlist over HTTP/1.1 with gzip, ${whole.length} updates in ${seconds} s after ${WARM_SECONDS} s of warm-up; lateness counts from the first client that is answered and includes the load generator`,
      lines: [
        ["lateness", `${showSpread(delays)}; p99 ${p99.toFixed(0)} ms`, "p99 <= 60 ms"],
        ["origin, each answer", `${microseconds.toFixed(0)} us`, "<= 55 us"],
        ["texts rendered, each update", each("text").toFixed(2), "1"],
        ["texts compressed, each update", each("gzip").toFixed(2), "1"],
      ],
      figures: {
        clients: CLIENTS,
        seconds,
        answers,
        latenessMs: { ...delays, p99 },
        microseconds,
        rendered: each("text"),
        compressed: each("gzip"),
      },
    };
  } finally {
    for (const client of clients) client.destroy();
    await sender.close();
    await sluice.stop();
  }
}

interface Standing {
  readonly number: number;
  readonly part: number;
}

/** The address of the source's media playlist, once it lists a segment. */
async function firstList({ ready }: Sluice): Promise<URL> {
  const base = `${ready.http}/${ready.uid}`;
  await untilLive(base);
  const offer = new URL(`${base}/manifest/video.m3u8`);
  const uri = (await (await fetch(offer)).text()).split("\n").find((line) => line && !line.startsWith("#"));
  const list = new URL(uri ?? "", offer);
  await (await fetch(list)).text();
  return list;
}

/** The number under construction; clients begin with the one after it. */
async function whereItStands(list: URL): Promise<Standing> {
  const text = await (await fetch(list)).text();
  const first = Number(/#EXT-X-MEDIA-SEQUENCE:(\d+)/.exec(text)?.[1]);
  return { number: first + (text.match(/^#EXTINF/gm)?.length ?? 0) + 1, part: 0 };
}

/** Asks for each part as soon as it has the one before; `heard` is told of each answer. */
function follow(list: URL, begin: Standing, heard: (update: string, atMs: number) => void): Socket {
  let { number, part } = begin;
  let waiting = 0;
  let head = "";
  const socket = connect(Number(list.port), list.hostname);
  socket.setNoDelay(true);
  const ask = (): void => {
    socket.write(
      `GET ${list.pathname}?_HLS_msn=${number}&_HLS_part=${part} HTTP/1.1\r\nhost: ${list.host}\r\naccept-encoding: gzip\r\n\r\n`,
    );
  };
  socket.on("connect", ask);
  socket.on("data", (bytes) => {
    if (waiting === 0) {
      head += bytes.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      if (!head.startsWith("HTTP/1.1 200")) throw new Error(head.slice(0, 200));
      waiting = Number(/content-length: (\d+)/i.exec(head)?.[1]) - (head.length - end - 4);
      head = "";
    } else waiting -= bytes.length;
    if (waiting > 0) return;
    waiting = 0;
    heard(`${number}.${part}`, performance.now());
    if (++part === PARTS) {
      part = 0;
      number++;
    }
    ask();
  });
  socket.on("error", () => {});
  return socket;
}

/** Seconds of CPU that these processes use in the next `seconds`. */
async function during(seconds: number, pids: readonly number[]): Promise<number> {
  const before = usageOf(pids).cpuSeconds;
  await wait(seconds * 1000);
  return usageOf(pids).cpuSeconds - before;
}

async function madeSoFar({ ready }: Sluice): Promise<{ text: number; gzip: number }> {
  const text = await (await fetch(`${ready.metrics}/metrics`)).text();
  const of = (what: string): number =>
    Number(
      new RegExp(`^sluice_playlists_made_total\\{[^}]*what="${what}"[^}]*\\} (\\d+)`, "m").exec(text)?.[1] ??
        0,
    );
  return { text: of("text"), gzip: of("gzip") };
}

function at(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}
