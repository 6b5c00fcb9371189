import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

// `npm run check`: what can be known without running the product. Two at a time, so that two cores are busy.

const launcher = fileURLToPath(new URL("../infra/launch.mjs", import.meta.url));
const root = fileURLToPath(new URL("..", import.meta.url));

const checks: readonly { readonly name: string; readonly command: readonly string[] }[] = [
  { name: "types (tsc)", command: ["tsc", "--noEmit", "-p", "."] },
  { name: "format and lint (biome)", command: ["biome", "check", "."] },
  { name: "who imports whom", command: ["vitest", "run", "--project", "unit", "test/architecture.test.ts"] },
  { name: "unused code (knip)", command: ["knip"] },
];

function run(command: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [launcher, ...command], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
      });
    child.once("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

let failed = 0;
const queue = [...checks];
async function work(): Promise<void> {
  for (let next = queue.shift(); next; next = queue.shift()) {
    const began = performance.now();
    const { code, output } = await run(next.command);
    if (code !== 0) {
      failed++;
      console.log(output.trimEnd());
    }
    console.log(
      `${code === 0 ? "✓" : "✗"} ${next.name}: ${((performance.now() - began) / 1000).toFixed(1)} s`,
    );
  }
}
await Promise.all([work(), work()]);
console.log(`checks: ${checks.length - failed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
