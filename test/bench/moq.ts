import { glass } from "./latency.ts";
import { moqLink } from "./moq-link.ts";
import { moqRelay } from "./moq-relay.ts";
import { moqStart } from "./moq-start.ts";
import { moqTree } from "./moq-tree.ts";
import { type BenchOptions, type Report, showSpread } from "./report.ts";

/**
 * Media over QUIC: what a viewer in Chromium sees, then what a relay spends, what hops add, and what bad lines cost. Each part is a
 * benchmark of its own, too.
 */
export async function moq({ seconds = 120 }: BenchOptions): Promise<Report> {
  const parts = [await moqGlass({ seconds })];
  for (const part of [moqStart, moqRelay, moqTree, moqLink])
    parts.push(await part({ seconds: Math.min(seconds, 60) }));
  return {
    name: "moq",
    load: parts.map(({ load }) => load).join("; then "),
    lines: parts.flatMap(({ lines }) => lines),
    figures: Object.fromEntries(parts.map(({ name, figures }) => [name, figures])),
  };
}

/** Encoder to glass over Media over QUIC. */
export async function moqGlass({ seconds = 120 }: BenchOptions): Promise<Report> {
  const { load, toGlass, stalls, engine } = await glass({
    seconds,
    profile: "low",
    env: { SLUICE_MOQ: "true" },
  });
  return {
    name: "moq-glass",
    load,
    lines: [
      ["encoder to glass", showSpread(toGlass), "p50 <= 350, p95 <= 600 ms"],
      ["stalls", `${stalls}`, "0"],
      ["engine", engine ?? "none"],
    ],
    figures: { seconds, toGlassMs: toGlass, stalls, engine },
  };
}
