import { expect, test, vi } from "vitest";
import { fuzz, targets } from "./run.ts";

vi.setConfig({ testTimeout: 60_000 });

/** A second in all on an idle machine; `node test/fuzz/run.ts --runs 1000000` is the long form. */
test.for(targets)("$name: hostile bytes are refused or read, never worse", (target) => {
  const { accepted, runs } = fuzz(target, 5000, 1);
  expect(accepted / runs).toBeGreaterThan(0.01);
});
