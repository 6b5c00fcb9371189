import { loadavg } from "node:os";
import { parseCLI, startVitest, type TestCase, type TestModule } from "vitest/node";

// `npm test -- FILTER --any-vitest-flag`: everything, or what the filter names. The last line is the count.

const { filter, options } = parseCLI(["vitest", "run", ...process.argv.slice(2)]);
const counts = { passed: 0, failed: 0, skipped: 0 };
let broken = 0;

/** Counts what really ran, and prints the load beside each test that a busy machine can disturb. */
const counter = {
  onTestCaseResult(test: TestCase) {
    const { state } = test.result();
    if (state !== "pending") counts[state]++;
    if (test.project.name === "unit" || state === "skipped") return;
    const seconds = ((test.diagnostic()?.duration ?? 0) / 1000).toFixed(1);
    console.log(`  ${state} in ${seconds} s at load ${loadavg()[0]?.toFixed(1)}: ${test.fullName}`);
  },
  onTestModuleEnd(module: TestModule) {
    // A file that does not even load has no tests to count.
    if (module.state() === "failed" && [...module.children.allTests()].every((test) => test.ok())) broken++;
  },
  onTestRunEnd(_modules: unknown, errors: readonly unknown[]) {
    broken += errors.length;
  },
};

const vitest = await startVitest([...filter], { ...options, watch: false, reporters: ["default", counter] });
await vitest.close();
const failed = counts.failed + broken;
if (failed || counts.passed === 0) process.exitCode = 1;
console.log(`${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped`);
process.exit();
