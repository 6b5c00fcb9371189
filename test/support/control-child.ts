/** Control in a process of its own, for tests that kill it: `control-child.ts <dataDir> <address> [<options as JSON>]` prints what is ready as one JSON line. */
import { startControl } from "../../services/control/control.ts";
import { createLog } from "../../services/lib/log.ts";

const [dataDir, address, more = "{}"] = process.argv.slice(2);
const control = await startControl({
  dataDir: dataDir!,
  address: address!,
  publicUrls: {},
  defaults: { timeoutSeconds: 10, ladder: "default" },
  log: createLog("control", "silent", false),
  ...(JSON.parse(more) as object),
});
console.log(JSON.stringify(control.ready));
// The test that started it is gone.
process.stdin.on("end", () => process.exit(0)).resume();
