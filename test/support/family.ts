import { readFileSync } from "node:fs";

/** The processes under `pid` by what they are: a role's name, or redis. */
export function family(pid: number): Record<string, number> {
  const found: Record<string, number> = {};
  for (const child of read(`/proc/${pid}/task/${pid}/children`)
    .trim()
    .split(" ")
    .filter(Boolean)
    .map(Number)) {
    const line = read(`/proc/${child}/cmdline`).split("\0");
    const role = line.indexOf("role");
    if (role > 0) found[line[role + 1]!] = child;
    else if (/redis|valkey/.test(line[0]!)) found.redis = child;
  }
  return found;
}

/** A file of /proc; empty when its process has just gone. */
export function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
