import { loadavg } from "node:os";
import { relative } from "node:path";
import { parseCLI, startVitest, type TestCase, type TestModule } from "vitest/node";

// `npm test -- FILTER --any-vitest-flag`: everything, or what the filter names. The last line is the count.

/** More files than these are not disturbed by a busy machine: they are broken. */
const mostAgain = 3;

const { filter, options } = parseCLI(["vitest", "run", ...process.argv.slice(2)]);
/** What really ran, by file. */
const files = new Map<string, { passed: number; failed: number; skipped: number }>();
/** Files of processes that failed: a machine that does something else for a second can be the cause. */
let again: string[] = [];
let errors = 0;

/** Counts, and prints the load beside each test that a busy machine can disturb. */
const counter = {
  onTestModuleEnd(module: TestModule) {
    const counts = { passed: 0, failed: 0, skipped: 0 };
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state !== "pending") counts[state]++;
    }
    // A file that does not even load has no tests to count.
    if (module.state() === "failed" && counts.failed === 0) counts.failed = 1;
    files.set(`${module.project.name} ${module.moduleId}`, counts);
    if (counts.failed > 0 && module.project.name !== "unit") again.push(module.moduleId);
  },
  onTestCaseResult(test: TestCase) {
    const { state } = test.result();
    if (test.project.name === "unit" || state === "skipped") return;
    const seconds = ((test.diagnostic()?.duration ?? 0) / 1000).toFixed(1);
    console.log(`  ${state} in ${seconds} s at load ${loadavg()[0]?.toFixed(1)}: ${test.fullName}`);
  },
  onTestRunEnd(_modules: unknown, unhandled: readonly unknown[]) {
    errors += unhandled.length;
  },
};

async function run(what: readonly string[]): Promise<void> {
  const reporters = ["default", counter];
  await (await startVitest([...what], { ...options, watch: false, reporters })).close();
}

const sum = (of: "passed" | "failed" | "skipped") =>
  [...files.values()].reduce((total, counts) => total + counts[of], 0);

await run(filter);
const first = again;
if (filter.length === 0 && first.length <= mostAgain && errors === 0) {
  // Alone, after everything. What fails twice has failed; what passes now is named, for it may still be a fault.
  for (const file of first) {
    again = [];
    await run([file]);
    console.log(`second try, alone, ${again.length > 0 ? "failed" : "passed"}: ${relative("", file)}`);
  }
}
const failed = sum("failed") + errors;
process.exitCode = failed > 0 || sum("passed") === 0 ? 1 : 0;
console.log(`${sum("passed")} passed, ${failed} failed, ${sum("skipped")} skipped`);
process.exit();
