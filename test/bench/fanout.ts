import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { setTimeout as wait } from "node:timers/promises";
import { makeFlv } from "../support/flv.ts";
import { startSender } from "../support/sender.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";
import { untilLive } from "../support/viewer.ts";
import type { Given } from "./bare.ts";
import { descendants, usageOf } from "./processes.ts";
import { type BenchOptions, type Report, type Spread, showSpread, spread } from "./report.ts";

const CLIENTS = 1000;
const WARM_SECONDS = 10;
/** Half-second parts in segments of two seconds, as the sender's keyframes have it. */
const PARTS = 4;

/** A moment of a playlist that many wait for. */
interface Update {
  first: number;
  readonly delays: number[];
}

/**
 * Many clients that all wait for the next part of one playlist: how late the last is answered, and what each costs. Then the same
 * clients at a server that does nothing but hold and answer, which says what the machine and node:http cost by themselves.
 */
export async function fanout({ seconds = 30 }: BenchOptions): Promise<Report> {
  const made = await makeFlv({ seconds: 10, width: 640, height: 360, kbps: 800 });
  const ours = await ofSluice(made.tags, seconds);
  const bare = await ofBare(ours.given, seconds);
  const ratio = ours.microseconds / bare.microseconds;
  return {
    name: "fanout",
    load: `${CLIENTS} clients that are held for each part of one playlist over HTTP/1.1 with gzip, ${ours.updates} updates in ${seconds} s after ${WARM_SECONDS} s of warm-up; lateness counts from the first client that is answered and includes the load generator; bare is node:http that holds and answers the same bytes`,
    lines: [
      ["lateness", showLateness(ours), "p99 <= 60 ms"],
      ["lateness of bare", showLateness(bare)],
      ["origin, each answer", `${ours.microseconds.toFixed(0)} us`, "<= 55 us"],
      ["bare, each answer", `${bare.microseconds.toFixed(0)} us`],
      ["origin to bare", ratio.toFixed(2)],
      ["texts rendered, each update", ours.rendered.toFixed(2), "1"],
      ["texts compressed, each update", ours.compressed.toFixed(2), "1"],
    ],
    figures: {
      clients: CLIENTS,
      seconds,
      answers: ours.answers,
      latenessMs: ours.latenessMs,
      microseconds: ours.microseconds,
      bare: { latenessMs: bare.latenessMs, microseconds: bare.microseconds, answers: bare.answers },
      ratio,
      rendered: ours.rendered,
      compressed: ours.compressed,
    },
  };
}

interface Measured {
  readonly answers: number;
  /** That all have heard. */
  readonly updates: number;
  readonly latenessMs: Spread & { readonly p99: number };
  /** Of the server's CPU, each answer. */
  readonly microseconds: number;
}

async function ofSluice(
  tags: Parameters<typeof startSender>[1],
  seconds: number,
): Promise<Measured & { readonly rendered: number; readonly compressed: number; readonly given: Given }> {
  const sluice = await startSluice();
  const sender = await startSender(`${sluice.ready.rtmp}/${sluice.ready.streamKey}`, tags);
  try {
    const list = await firstList(sluice);
    await wait(WARM_SECONDS * 1000);
    const pids = descendants(sluice.pid, "role origin");
    const alone = await during(seconds, pids);
    const given = await answerOf(list);
    let before = await madeSoFar(sluice);
    const began = async (): Promise<void> => {
      before = await madeSoFar(sluice);
    };
    const crowd = await measure({ list, begin: await whereItStands(list), pids, seconds, alone, began });
    const after = await madeSoFar(sluice);
    const each = (what: "text" | "gzip"): number => (after[what] - before[what]) / (crowd.updates + 2);
    const [rendered, compressed] = [each("text"), each("gzip")];
    if (rendered > 1.1 || compressed > 1.1)
      throw new Error(`rendered ${rendered} and compressed ${compressed} times an update`);
    return { ...crowd, rendered, compressed, given };
  } finally {
    await sender.close();
    await sluice.stop();
  }
}

async function ofBare(given: Given, seconds: number): Promise<Measured> {
  const child: ChildProcess = fork(new URL("bare.ts", import.meta.url), { serialization: "advanced" });
  try {
    child.send(given);
    const [port] = (await once(child, "message")) as [number];
    const list = new URL(`http://127.0.0.1:${port}${given.path}`);
    const begin = { number: 1, part: 0 };
    return await measure({ list, begin, pids: [child.pid!], seconds, alone: 0, began: async () => {} });
  } finally {
    child.kill();
  }
}

/** What the crowd sees and costs, from `begin` on; `began` is called when it has warmed up. */
async function measure(options: {
  readonly list: URL;
  readonly begin: Standing;
  readonly pids: readonly number[];
  readonly seconds: number;
  /** Seconds of CPU that the server uses in this time without the crowd. */
  readonly alone: number;
  readonly began: () => Promise<void>;
}): Promise<Measured> {
  const { list, begin, pids, seconds, alone, began } = options;
  const updates = new Map<string, Update>();
  const clients: Socket[] = [];
  let counting = false;
  let answers = 0;
  try {
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
    await began();
    counting = true;
    const crowd = await during(seconds, pids);
    counting = false;
    // The first and the last update were not seen by everybody.
    const whole = [...updates.values()].slice(1, -1);
    const missed = 1 - whole.reduce((sum, one) => sum + one.delays.length, 0) / (whole.length * CLIENTS);
    if (!(missed < 0.05))
      throw new Error(
        `this machine is too busy: ${Math.round(missed * 100)} % of the answers came too late to count`,
      );
    const delays = whole.flatMap((one) => one.delays);
    return {
      answers,
      updates: whole.length,
      latenessMs: { ...spread(delays), p99: at(delays, 0.99) },
      microseconds: ((crowd - alone) * 1e6) / answers,
    };
  } finally {
    for (const client of clients) client.destroy();
  }
}

function showLateness({ latenessMs }: Measured): string {
  return `${showSpread(latenessMs)}; p99 ${latenessMs.p99.toFixed(0)} ms`;
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

/** What a list is answered with, but for what node:http adds by itself. */
async function answerOf(list: URL): Promise<Given> {
  // A body as it goes over the wire, which fetch would have unpacked.
  const { number, part } = await whereItStands(list);
  const asked = `${list.pathname}?_HLS_msn=${number}&_HLS_part=${part}`;
  const [response] = (await once(
    get({ host: list.hostname, port: list.port, path: asked, headers: { "accept-encoding": "gzip" } }),
    "response",
  )) as [IncomingMessage];
  const body = await buffer(response);
  const added = new Set(["date", "connection", "keep-alive"]);
  const headers = Object.entries(response.headers).filter(([name]) => !added.has(name));
  return { path: list.pathname, headers: Object.fromEntries(headers) as Given["headers"], body };
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
