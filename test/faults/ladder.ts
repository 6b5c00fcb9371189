import { parseArgs } from "node:util";
import { type Spread, showSpread, spread } from "../bench/report.ts";
import { type Blow, type Cost, openScene } from "../support/kills.ts";

export interface Series {
  readonly blow: Blow;
  readonly workers: 1 | 2;
}

export interface Toll extends Series {
  readonly costs: readonly Cost[];
  /** What no viewer may ever see. */
  readonly faults: readonly string[];
  /** Streams of writers of the past that the origin refused meanwhile. */
  readonly refused: number;
}

/** All that may befall whoever writes a rung. Redis and draining are tried less often: each takes long. */
export const allSeries: readonly (Series & { readonly share: number })[] = [
  { blow: "kill the worker", workers: 2, share: 1 },
  { blow: "kill the worker", workers: 1, share: 1 },
  { blow: "kill ffmpeg", workers: 1, share: 1 },
  { blow: "stop the worker", workers: 2, share: 0.25 },
  { blow: "drain the worker", workers: 2, share: 0.25 },
  { blow: "kill Redis", workers: 1, share: 0.1 },
];

/** Strikes `times` before one viewer who watches the rung each time. */
export async function strikeAgain(
  { blow, workers }: Series,
  times: number,
  onCost: (cost: Cost, number: number) => void = () => undefined,
): Promise<Toll> {
  const scene = await openScene({ workers });
  try {
    const costs: Cost[] = [];
    for (let number = 1; number <= times; number++) {
      const cost = await scene.strike(blow);
      costs.push(cost);
      onCost(cost, number);
    }
    return { blow, workers, costs, faults: await scene.faults(), refused: await scene.refused() };
  } finally {
    await scene.close();
  }
}

export const backOf = ({ costs }: Toll): Spread => spread(costs.map(({ backMs }) => backMs));
export const stallOf = ({ costs }: Toll): Spread => spread(costs.map(({ stallMs }) => stallMs));

if (import.meta.main) {
  const { values } = parseArgs({
    options: { kills: { type: "string", default: "20" }, only: { type: "string" } },
  });
  let faults = 0;
  for (const series of allSeries) {
    const { blow, workers, share } = series;
    const name = `${blow}, ${workers === 1 ? "one worker" : "two workers"}`;
    if (values.only && !name.includes(values.only)) continue;
    const times = Math.max(1, Math.round(Number(values.kills) * share));
    const toll = await strikeAgain(series, times, ({ backMs, stallMs }, number) =>
      process.stderr.write(`\r${name}: ${number} of ${times}: ${backMs} ms, stall ${stallMs} ms   `),
    );
    process.stderr.write("\n");
    console.log(`${name}, ${times} times`);
    console.log(`  a part is listed again  ${showSpread(backOf(toll))}`);
    console.log(`  picture stands still    ${showSpread(stallOf(toll))}`);
    console.log(`  stale streams refused   ${toll.refused}`);
    console.log(`  faults                  ${toll.faults.length ? toll.faults.join("; ") : "none"}`);
    faults += toll.faults.length;
  }
  process.exit(faults ? 1 : 0);
}
