import { defineConfig } from "vitest/config";

const realTime = ["test/integration/**/*.test.ts", "test/e2e/**/*.test.ts", "test/faults/**/*.test.ts"];

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
          exclude: ["**/node_modules/**", ...realTime],
          sequence: { groupOrder: 0 },
        },
      },
      {
        // Clocks and processes: one file after another, and nothing beside them.
        test: {
          name: "real-time",
          include: realTime,
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
