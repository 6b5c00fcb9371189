import { defineConfig } from "vitest/config";

const processes = ["test/integration/**/*.test.ts", "test/e2e/**/*.test.ts", "test/faults/**/*.test.ts"];
/** Of those, the ones that wait for more than they compute, and hold nobody to a tight time. */
const unhurried = [
  "test/integration/{bucket,certificates,control,files,gate,health,hostile-http,ingest-ffmpeg}.test.ts",
  "test/integration/{mux,operate,outputs,supervisor,token-abuse,views}.test.ts",
  "test/e2e/{certificates,dashboard,embed}.test.ts",
  "test/faults/{clip-kill,hostile-rtmp,webhooks}.test.ts",
];
const timeouts = { testTimeout: 60_000, hookTimeout: 60_000 };

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
          include: unhurried,
          maxWorkers: 2,
          ...timeouts,
          sequence: { groupOrder: 2 },
        },
      },
      {
        // Clocks: one file after another, and nothing beside them.
        test: {
          name: "real-time",
          include: processes,
          exclude: ["**/node_modules/**", ...unhurried],
          fileParallelism: false,
          ...timeouts,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
