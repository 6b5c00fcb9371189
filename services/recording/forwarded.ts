import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { z } from "../lib/schema.ts";

const count = z.int().min(0);
const hex = z.string().regex(/^[0-9a-f]+$/);
const line = z.union([
  /** A file is elsewhere, whole: its size and checksums were compared there. */
  z.object({ file: z.string().max(64), bytes: count, sha256: hex, md5: hex }),
  /** A copy of the journal's first bytes is elsewhere. */
  z.object({ journal: count, sha256: hex, md5: hex }),
  /** The init segment at the head of files that are gone, for a restart that cannot wait. */
  z.object({ init: z.string().max(64), base64: z.base64() }),
]);

type Line = z.infer<typeof line>;

/** What of a recording is elsewhere, as its list on this disk says. */
export interface Forwarded {
  readonly files: ReadonlyMap<
    string,
    { readonly bytes: number; readonly sha256: string; readonly md5: string }
  >;
  /** Of the journal: how much the copy has; 0 while there is none. */
  readonly journal: { readonly bytes: number; readonly sha256: string; readonly md5: string } | undefined;
  /** By rendition and version. */
  readonly inits: ReadonlyMap<string, Uint8Array>;
}

/** The name of that list in a recording's folder: a line of JSON for each fact, only ever appended. */
export const listName = "forwarded";

/** How the init of a rendition and version is called in the list. */
export function initName(rendition: string, version: number): string {
  return `${rendition}/${version}`;
}

/** Reads the list; empty where there is none. Lines that a power cut has torn do not count. */
export function readForwarded(folder: string): Forwarded {
  const files: Map<string, { bytes: number; sha256: string; md5: string }> = new Map();
  const inits = new Map<string, Uint8Array>();
  let journal: Forwarded["journal"];
  const path = join(folder, listName);
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  for (const each of text.split("\n")) {
    const found = lineOf(each);
    if (!found) continue;
    if ("file" in found) files.set(found.file, found);
    else if ("journal" in found) journal = { bytes: found.journal, sha256: found.sha256, md5: found.md5 };
    else inits.set(found.init, Uint8Array.from(Buffer.from(found.base64, "base64")));
  }
  return { files, journal, inits };
}

/** Adds to the list; resolves when a power cut cannot take it any more. */
export async function noteForwarded(folder: string, lines: readonly Line[]): Promise<void> {
  const handle = await open(join(folder, listName), "a", 0o600);
  try {
    // Its own line, also where the last one was torn.
    await handle.write(lines.map((each) => `\n${JSON.stringify(each)}`).join(""));
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

/** Takes files off the list. */
export function forgetForwarded(folder: string, which: (file: string) => boolean): void {
  const path = join(folder, listName);
  if (!existsSync(path)) return;
  const lines = readFileSync(path, "utf8").split("\n");
  const left = lines.filter((each) => {
    const found = lineOf(each);
    return found && !("file" in found && which(found.file));
  });
  if (left.length === lines.filter((each) => each !== "").length) return;
  writeFileSync(`${path}.new`, left.map((each) => `\n${each}`).join(""), { mode: 0o600, flush: true });
  renameSync(`${path}.new`, path);
}

function lineOf(text: string): Line | undefined {
  if (text === "") return undefined;
  try {
    const parsed = line.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
