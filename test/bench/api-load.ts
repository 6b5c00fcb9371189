import { Agent, request } from "node:http";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";

/** One kind of request; `share` of all of them. */
export interface Kind {
  readonly name: string;
  readonly share: number;
  readonly method: string;
  readonly path: string;
  /** `{i}` in it stands for the number of the request, so that no two say the same. */
  readonly body?: object;
}

export interface LoadOrder {
  readonly base: string;
  readonly token: string;
  readonly kinds: readonly Kind[];
  readonly perSecond: number;
  readonly seconds: number;
}

/** From the moment at which a request was due to the end of its answer, whether or not those before it had theirs. */
export interface Timed {
  readonly name: string;
  readonly ms: number;
  readonly status: number;
}

/** Everything that was timed, and how late this thread itself was: no answer is taken up sooner. */
export interface Load {
  readonly timed: readonly Timed[];
  readonly ownDelayMs: { readonly p50: number; readonly p99: number };
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 });

/** Sends requests at their times, however long answers take. */
async function run({ base, token, kinds, perSecond, seconds }: LoadOrder): Promise<Timed[]> {
  const done: Promise<Timed>[] = [];
  const began = performance.now();
  const count = Math.round(perSecond * seconds);
  let due = 0;
  for (let i = 0; i < count; i++) {
    // In turn by their shares, so that each second has the same of each.
    due = began + (i * 1_000) / perSecond;
    const ahead = due - performance.now();
    if (ahead > 0) await wait(ahead);
    done.push(ask(pick(kinds, i), i, due));
  }
  return Promise.all(done);

  function ask({ name, method, path, body }: Kind, i: number, dueMs: number): Promise<Timed> {
    return new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      const sent = request(`${base}${path}`, { agent, method, headers }, (response) => {
        response.resume();
        response.once("end", () =>
          resolve({ name, ms: performance.now() - dueMs, status: response.statusCode ?? 0 }),
        );
      });
      sent.on("error", reject);
      sent.end(body && JSON.stringify(body).replaceAll("{i}", String(i)));
    });
  }
}

function pick(kinds: readonly Kind[], i: number): Kind {
  // The golden ratio spreads them evenly in any stretch of the run.
  let at = (i * 0.618_033_988_75) % 1;
  for (const kind of kinds) {
    at -= kind.share;
    if (at < 0) return kind;
  }
  return kinds.at(-1)!;
}

const stepMs = 1;
const delays = monitorEventLoopDelay({ resolution: stepMs });
delays.enable();
run(workerData as LoadOrder).then(
  (timed) => {
    const late = (percentile: number) => Math.max(0, delays.percentile(percentile) / 1e6 - stepMs);
    const load: Load = { timed, ownDelayMs: { p50: late(50), p99: late(99) } };
    parentPort!.postMessage(load);
  },
  (error: unknown) => {
    throw error;
  },
);
