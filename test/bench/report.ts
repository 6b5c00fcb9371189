import type { ProfileName } from "../../services/packager/profiles.ts";

/** What one benchmark found. `figures` is what --json prints; `lines` what a person reads. */
export interface Report {
  readonly name: string;
  /** One sentence: what ran, for how long, after which warm-up. */
  readonly load: string;
  readonly lines: readonly (readonly [name: string, value: string, target?: string])[];
  readonly figures: Readonly<Record<string, unknown>>;
}

export interface BenchOptions {
  /** Length of the measurement; each benchmark has its own default. */
  readonly seconds?: number;
  /** Of the live input, where a benchmark can choose. */
  readonly profile?: ProfileName;
  /** Rows of it, where a benchmark can run some alone. */
  readonly only?: readonly string[];
}

export interface Spread {
  readonly count: number;
  readonly min: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Order statistics of `values`; throws when there are none, because a benchmark without samples measured nothing. */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0) throw new Error("nothing was measured");
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  return {
    count: sorted.length,
    min: sorted[0]!,
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    max: sorted.at(-1)!,
  };
}

export function showSpread({ min, p50, p95, max }: Spread, unit = "ms", digits = 0): string {
  const show = (value: number) => value.toFixed(digits);
  return `p50 ${show(p50)}, p95 ${show(p95)}, min ${show(min)}, max ${show(max)} ${unit}`;
}

/** The report as a table for a terminal. */
export function print({ name, load, lines }: Report): string {
  const wide = Math.max(...lines.map(([label]) => label.length));
  const rows = lines.map(([label, value, target]) => {
    return `  ${label.padEnd(wide)}  ${value}${target ? `   (target ${target})` : ""}`;
  });
  return [`${name}: ${load}`, ...rows].join("\n");
}
