import { readdirSync, readFileSync } from "node:fs";

export interface Usage {
  /** User and system time since the process began. */
  readonly cpuSeconds: number;
  /** Memory that this process would free by ending: shared pages count by their share. */
  readonly pssBytes: number;
  readonly rssBytes: number;
}

/** Linux reports process times in ticks of this length whatever the kernel's own rate. */
const TICKS = 100;

/** What `pid` has used, from /proc. */
export function usage(pid: number): Usage {
  // The name in parentheses may hold spaces: fields are counted behind it. 14 and 15 of proc(5) are utime and stime.
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(rollup)?.[1] ?? 0);
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS,
    pssBytes: kilobytes("Pss") * 1024,
    rssBytes: kilobytes("Rss") * 1024,
  };
}

/** How long the main thread of `pid` was ready to run and had no processor, since it began (Linux' schedstat). */
export function waitedSeconds(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ")[1]) / 1e9;
}

/** Milliseconds that the threads of `pid` have run; those that have ended do not count. Finer than `usage`. */
export function threadMs(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((thread) => readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0])
    .reduce((sum, nanoseconds) => sum + Number(nanoseconds) / 1e6, 0);
}

/** The sum over several processes. */
export function usageOf(pids: readonly number[]): Usage {
  return pids.map(usage).reduce((a, b) => ({
    cpuSeconds: a.cpuSeconds + b.cpuSeconds,
    pssBytes: a.pssBytes + b.pssBytes,
    rssBytes: a.rssBytes + b.rssBytes,
  }));
}

/** Pids of all descendants of `pid` whose command line has `words` in this order, e.g. `role ingest`. */
export function descendants(pid: number, words: string): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    } catch {
      // Ended between the two looks.
    }
  }
  const found: number[] = [];
  const visit = (at: number): void => {
    for (const child of children.get(at) ?? []) {
      visit(child);
      try {
        const line = readFileSync(`/proc/${child}/cmdline`, "utf8").replaceAll("\0", " ");
        if (line.includes(words)) found.push(child);
      } catch {}
    }
  };
  visit(pid);
  return found;
}
