import { expect, test } from "vitest";
import { long } from "../support/long.ts";
import { allSeries, backOf, stallOf, strikeAgain } from "./ladder.ts";

// Twenty of each are `node infra/launch.mjs test/faults/ladder.ts --kills 20`; its figures are measured where nothing else runs.
const times: Readonly<Record<string, number>> = long ? { "kill the worker": 3, "kill ffmpeg": 3 } : {};
const inShort: readonly string[] = ["kill the worker, of 2"];

for (const series of allSeries) {
  const name = `${series.blow}, of ${series.workers}`;
  test.runIf(long || inShort.includes(name))(
    `${name}: whoever watches its rung watches on`,
    { timeout: 240_000 },
    async () => {
      const toll = await strikeAgain(series, times[series.blow] ?? 1);
      expect(toll.faults).toEqual([]);
      console.log(
        `${series.blow}: a part is listed again after ${backOf(toll).max} ms, a picture stands for ${stallOf(toll).max} ms`,
      );
      expect(backOf(toll).max).toBeLessThan(15_000);
      expect(stallOf(toll).max).toBeLessThan(15_000);
      // What a writer of the past still has is turned away.
      if (series.blow === "stop the worker") expect(toll.refused).toBeGreaterThan(0);
      if (series.blow === "kill Redis") expect(backOf(toll).max).toBeLessThan(3_000);
    },
  );
}
