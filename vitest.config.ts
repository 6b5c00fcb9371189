import { defineConfig } from "vitest/config";

const processes = ["test/integration/**/*.test.ts", "test/e2e/**/*.test.ts", "test/faults/**/*.test.ts"];
/** Of those, the ones that hold somebody to a time and leave half of the machine free: two at once. */
const pairs = [
  "test/e2e/{codecs,stream-react,views,watch}.test.ts",
  "test/integration/{ladder-sparse,supervisor}.test.ts",
];
/** And the ones that take all there is of the processor: one after another, and nothing beside them. */
const clocks = [
  "test/integration/{ladder,ladder-codecs,ladder-machines,ladder-on-air,ladder-slow,moq-links}.test.ts",
  "test/e2e/{drops,ladder,moq,moq-ladder,other-browsers,outside,renewal}.test.ts",
  "test/faults/ladder.test.ts",
];
const timeouts = { testTimeout: 60_000, hookTimeout: 60_000, expect: { poll: { timeout: 15_000 } } };

export default defineConfig({
  test: {
    pool: "forks",
    projects: [
      {
        test: {
          name: "unit",
          include: [
            "services/**/*.test.ts",
            "player/**/*.test.ts",
            "infra/**/*.test.ts",
            "test/**/*.test.ts",
          ],
          exclude: ["**/node_modules/**", ...processes],
          // Vitest would leave one core alone, which of two is half.
          maxWorkers: "100%",
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: "processes",
          include: processes,
          exclude: ["**/node_modules/**", ...pairs, ...clocks],
          maxWorkers: 3,
          ...timeouts,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: "pairs",
          include: pairs,
          maxWorkers: 2,
          ...timeouts,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: "real-time",
          include: clocks,
          fileParallelism: false,
          ...timeouts,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
