import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { profileNames } from "../../services/packager/profiles.ts";
import { type BenchOptions, print, type Report } from "./report.ts";

type Bench = (options: BenchOptions) => Promise<Report>;

const benches: Record<string, () => Promise<Bench>> = {
  startup: async () => (await import("./startup.ts")).startup,
  latency: async () => (await import("./latency.ts")).latency,
  moq: async () => (await import("./moq.ts")).moq,
  "moq-glass": async () => (await import("./moq.ts")).moqGlass,
  "moq-relay": async () => (await import("./moq-relay.ts")).moqRelay,
  "moq-tree": async () => (await import("./moq-tree.ts")).moqTree,
  "moq-start": async () => (await import("./moq-start.ts")).moqStart,
  "moq-link": async () => (await import("./moq-link.ts")).moqLink,
  density: async () => (await import("./density.ts")).density,
  gate: async () => (await import("./gate.ts")).gate,
  api: async () => (await import("./api.ts")).api,
  fanout: async () => (await import("./fanout.ts")).fanout,
  packager: async () => (await import("./packager.ts")).packager,
  drops: async () => (await import("./drops.ts")).drops,
  ladder: async () => (await import("./ladder.ts")).ladder,
  recording: async () => (await import("./recording.ts")).recording,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean" },
    seconds: { type: "string" },
    profile: { type: "string" },
    only: { type: "string" },
  },
});
const [name = ""] = positionals;
const load = benches[name];
if (!load) {
  console.error(
    `npm run bench -- NAME [--json] [--seconds N] [--profile P] [--only ROW,ROW]; NAME is ${Object.keys(benches).join(", ")}`,
  );
  process.exit(2);
}
const seconds = values.seconds === undefined ? undefined : Number(values.seconds);
if (seconds !== undefined && !(seconds >= 1 && seconds <= 86_400)) {
  console.error(`--seconds is ${values.seconds}; give a number from 1 to 86400`);
  process.exit(2);
}
const profile = profileNames.find((one) => one === values.profile);
if (values.profile !== undefined && !profile) {
  console.error(`--profile is ${values.profile}; give one of ${profileNames.join(", ")}`);
  process.exit(2);
}
const before = loadavg()[0]!;
const only = values.only?.split(",");
const report = await (await load())({
  ...(seconds && { seconds }),
  ...(profile && { profile }),
  ...(only && { only }),
});
const machine = {
  cpus: cpus().length,
  model: cpus()[0]?.model.trim(),
  loadBefore: before,
  loadAfter: loadavg()[0]!,
};
if (values.json)
  console.log(JSON.stringify({ name: report.name, load: report.load, machine, ...report.figures }));
else {
  console.log(print(report));
  console.log(`  on ${machine.cpus} x ${machine.model}; load ${before.toFixed(1)} before`);
}
process.exit(0);
