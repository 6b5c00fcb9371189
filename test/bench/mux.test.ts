import { expect, test } from "vitest";
import { benchMux, reportMux } from "./mux.ts";

test("a chunk costs microseconds, not a share of a core", () => {
  const costs = benchMux(2000);
  console.log(reportMux(costs));
  // Ten times what an idle laptop needs: a busy machine passes, an accidental copy of everything does not.
  for (const { us } of costs) expect(us[0]).toBeLessThan(40);
});
