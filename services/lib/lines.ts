import { Failure } from "./errors.ts";
import { openInternal } from "./http.ts";

/** No line that a role writes to another is longer. */
const maxLineBytes = 64 * 1024 * 1024;

/**
 * The JSON lines of an endless answer of another role, those that came together at once, so that one write to disk serves them all.
 * Throws when the answer cannot be had or breaks, and a `Failure` when nothing came for `quietMs`: a link is dead then, whatever TCP
 * believes.
 */
export async function* linesFrom<T>(from: {
  readonly address: string;
  readonly path: string;
  readonly secret: string | undefined;
  readonly signal: AbortSignal;
  readonly quietMs: number;
}): AsyncGenerator<T[]> {
  const { address, path, secret, quietMs } = from;
  const quiet = new AbortController();
  const signal = AbortSignal.any([from.signal, quiet.signal]);
  const watchdog = setTimeout(
    () => quiet.abort(new Failure("unavailable", `${address} went quiet`)),
    quietMs,
  );
  try {
    for await (const lines of linesOf<T>(await openInternal(address, path, { signal, secret }))) {
      watchdog.refresh();
      yield lines;
    }
  } catch (error) {
    throw quiet.signal.aborted ? quiet.signal.reason : error;
  } finally {
    clearTimeout(watchdog);
  }
}

async function* linesOf<T>(body: AsyncIterable<Buffer>): AsyncGenerator<T[]> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  for await (const bytes of body) {
    const end = bytes.lastIndexOf(0x0a);
    if (end >= 0) {
      const text = Buffer.concat([...held, bytes.subarray(0, end)]).toString("utf8");
      held = [bytes.subarray(end + 1)];
      heldBytes = held[0]!.length;
      yield text.split("\n").map((line) => JSON.parse(line) as T);
    } else {
      held.push(bytes);
      heldBytes += bytes.length;
    }
    if (heldBytes > maxLineBytes) throw new Failure("too_large", "a line from another role exceeds 64 MiB");
  }
}
