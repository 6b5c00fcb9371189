import { type FileHandle, open, readFile } from "node:fs/promises";
import { replaceFile } from "../lib/durable.ts";

/** What a slice is at one version. */
export interface Held<Input> {
  readonly version: number;
  readonly inputs: ReadonlyMap<string, Input>;
}

/** What one version changes of the one before. */
export interface Delta<Input> {
  readonly version: number;
  readonly set?: Readonly<Record<string, Input>>;
  readonly remove?: readonly string[];
}

/** As long as what was added is not longer than this, or than the whole, it is not written anew. */
const addedBytes = 64 * 1024;

/**
 * A slice on disk: a line that is whole, and one for each change since. A change costs its own length and one sync, however
 * much there is, and a file whose last line a crash has torn is that of the version before.
 */
export class Kept<Input> {
  readonly #file: string;
  #handle: FileHandle | undefined;
  #wholeBytes = 0;
  #added = 0;

  constructor(file: string) {
    this.#file = file;
  }

  /** What is on disk. Throws where there is no file, or one that is none of these. */
  async read(): Promise<Held<Input>> {
    const [first = "", ...later] = (await readFile(this.#file, "utf8")).split("\n");
    const whole = JSON.parse(first) as { version: number; inputs: Record<string, Input> };
    if (!Number.isSafeInteger(whole.version) || typeof whole.inputs !== "object")
      throw new Error("not a snapshot");
    const inputs = new Map(Object.entries(whole.inputs));
    let { version } = whole;
    for (const line of later) {
      const delta = deltaOf<Input>(line);
      if (!delta || delta.version <= version) break;
      for (const uid of delta.remove ?? []) inputs.delete(uid);
      for (const [uid, input] of Object.entries(delta.set ?? {})) inputs.set(uid, input);
      version = delta.version;
    }
    return { version, inputs };
  }

  /** Resolves when `held` is on disk. With `since`, only those changes have come since the last write. */
  async write(held: Held<Input>, since?: readonly Delta<Input>[]): Promise<void> {
    const handle = this.#handle;
    // Whatever fails, the next write is whole: nothing is added behind half a line.
    this.#handle = undefined;
    const lines = since?.map((delta) => `${JSON.stringify(delta)}\n`).join("") ?? "";
    const bytes = Buffer.byteLength(lines);
    if (handle && since && this.#added + bytes <= Math.max(addedBytes, this.#wholeBytes)) {
      try {
        await handle.appendFile(lines);
        await handle.datasync();
      } catch (error) {
        await handle.close();
        throw error;
      }
      this.#added += bytes;
      this.#handle = handle;
      return;
    }
    // At once: `held` is as it is now.
    const whole = `${JSON.stringify({ version: held.version, inputs: Object.fromEntries(held.inputs) })}\n`;
    await handle?.close();
    await replaceFile(this.#file, whole);
    this.#handle = await open(this.#file, "a");
    this.#wholeBytes = Buffer.byteLength(whole);
    this.#added = 0;
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
  }
}

function deltaOf<Input>(line: string): Delta<Input> | undefined {
  try {
    return JSON.parse(line) as Delta<Input>;
  } catch {
    // The end of the file, or a line that was never acknowledged.
    return undefined;
  }
}
