import { createLog } from "../../services/lib/log.ts";
import { createMetrics } from "../../services/lib/metrics.ts";
import type { Fact } from "../../services/live/events.ts";
import type { OutputTarget } from "../../services/live/output.ts";
import { type OutputsOptions, startOutputs } from "../../services/outputs/outputs.ts";

type Told = Extract<Fact, { type: "output.changed" }>;

/** Outputs that send for real, with what control would tell them held in memory. */
export interface OutputsWorld {
  /** What was told of outputs, in order. */
  readonly told: readonly Told[];
  /** Resolves with the first condition, told already or not, of which `is` is true. */
  until(is: (told: Told) => boolean): Promise<Told>;
  /** Adds, changes or with undefined removes an output. */
  set(uid: string, target: Partial<OutputTarget> | undefined): void;
  /** Everything that was logged. */
  log(): string;
  close(): Promise<void>;
}

/** Starts outputs that read from this ingest and may send to this machine. */
export async function startOutputsWorld(
  options: Pick<OutputsOptions, "ingest"> &
    Partial<Pick<OutputsOptions, "allowPrivateTargets" | "limits" | "queueMs">>,
): Promise<OutputsWorld> {
  const targets = new Map<string, OutputTarget>();
  const listeners = new Set<(uids: ReadonlySet<string>) => void>();
  const told: Told[] = [];
  const waiting = new Set<(one: Told) => void>();
  const lines: string[] = [];
  const log = createLog("outputs", "silent", false);
  for (const level of ["info", "warn", "error"] as const)
    log[level] = (...args: unknown[]) => void lines.push(JSON.stringify(args));
  const outputs = await startOutputs({
    snapshot: {
      ready: Promise.resolve(),
      get: (uid) => targets.get(uid),
      values: () => targets.values(),
      onChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    events: {
      send(fact) {
        if (fact.type !== "output.changed") return;
        told.push(fact);
        for (const heard of [...waiting]) heard(fact);
      },
    },
    secret: undefined,
    allowPrivateTargets: ["127.0.0.0/8"],
    retry: { firstMs: 20, capMs: 100 },
    metrics: createMetrics("outputs"),
    log,
    ...options,
  });
  return {
    told,
    until(is) {
      const known = told.find(is);
      if (known) return Promise.resolve(known);
      return new Promise((resolve) => {
        const heard = (one: Told) => {
          if (!is(one)) return;
          waiting.delete(heard);
          resolve(one);
        };
        waiting.add(heard);
      });
    },
    set(uid, target) {
      const before = targets.get(uid);
      if (!target) targets.delete(uid);
      else
        targets.set(uid, {
          ...{ uid, input: "", url: "", streamKey: "", enabled: true, timeoutSeconds: 10 },
          ...before,
          ...target,
        });
      for (const listener of listeners) listener(new Set([uid]));
    },
    log: () => lines.join("\n"),
    close: () => outputs.close(),
  };
}
