import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const launcher = fileURLToPath(new URL("launch.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "sluice-launch-"));
afterAll(() => rmSync(folder, { recursive: true }));

const script = join(folder, "script.ts");
writeFileSync(
  script,
  `const code: number = Number(process.argv[2]);
   if (code < 0) {
     process.once("SIGTERM", () => process.exit(7));
     setInterval(() => undefined, 1000);
   }
   console.log(JSON.stringify({ major: Number.parseInt(process.versions.node, 10), args: process.argv.slice(2) }));
   if (code >= 0) process.exit(code);`,
);

/** A Node before 24, where this machine has one: it spawns the pinned one; a newer one becomes the script itself. */
const oldNode = (process.env.PATH ?? "")
  .split(delimiter)
  .map((place) => join(place, "node"))
  .find((node) => {
    try {
      return (
        Number.parseInt(execFileSync(node, ["-p", "process.versions.node"], { encoding: "utf8" }), 10) < 24
      );
    } catch {
      return false;
    }
  });

const nodes = [
  { name: "this Node", node: process.execPath },
  ...(oldNode ? [{ name: "an older Node", node: oldNode }] : []),
];

function launch(
  node: string,
  args: readonly string[],
): { child: ChildProcess; line: Promise<string>; ended: Promise<number | string> } {
  const child = spawn(node, [launcher, script, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const line = new Promise<string>((resolve) => child.stdout?.once("data", (data) => resolve(String(data))));
  const ended = new Promise<number | string>((resolve) =>
    child.once("exit", (code, signal) => resolve(signal ?? code ?? -1)),
  );
  return { child, line, ended };
}

test.for(nodes)("$name runs TypeScript with the arguments, and ends with its exit code", async ({ node }) => {
  const { line, ended } = launch(node, ["3", "--flag", "two words"]);
  const { major, args } = JSON.parse(await line);
  expect(args).toEqual(["3", "--flag", "two words"]);
  expect(major).toBeGreaterThanOrEqual(24);
  expect(await ended).toBe(3);
});

test.for(nodes)("$name passes signals on, and ends by the signal that ended the script", async ({ node }) => {
  const asked = launch(node, ["-1"]);
  await asked.line;
  asked.child.kill("SIGTERM");
  expect(await asked.ended).toBe(7);
  const shot = launch(node, ["-1"]);
  await shot.line;
  shot.child.kill("SIGUSR2");
  expect(await shot.ended).toBe("SIGUSR2");
});
