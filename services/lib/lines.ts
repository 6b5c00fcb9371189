import { Failure } from "./errors.ts";

/** No line that a role writes to another is longer. */
const maxLineBytes = 64 * 1024 * 1024;

/** The JSON lines of `body`, those that came together at once, so that one write to disk serves them all. */
export async function* linesOf<T>(body: AsyncIterable<Buffer>): AsyncGenerator<T[]> {
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
