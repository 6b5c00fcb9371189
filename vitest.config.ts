import { defineConfig } from "vitest/config";

export default defineConfig({ test: { include: ["services/**/*.test.ts", "player/**/*.test.ts", "test/**/*.test.ts"], pool: "forks" } });
