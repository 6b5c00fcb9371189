import { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";

const db = new DatabaseSync((workerData as { file: string }).file);
db.exec("PRAGMA synchronous = NORMAL");
// PASSIVE is in nobody's way, and nobody in its.
const checkpoint = db.prepare("PRAGMA wal_checkpoint(PASSIVE)");

parentPort!.on("message", (word: "checkpoint" | "close") => {
  if (word === "close") {
    db.close();
    parentPort!.close();
    return;
  }
  parentPort!.postMessage(run());
});

/** How many pages the journal had when it began. */
function run(): number {
  try {
    return Number(checkpoint.get()!.log);
  } catch {
    // A disk that is full or broken: commits meet it too and say so, and the next checkpoint tries again.
    return 0;
  }
}
