import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { disk, type Files } from "./files.ts";
import { type Durability, type Job, type Said, Scribe } from "./scribe.ts";

// The recorder's thread. What has queued up is written in one go and answered in one message, or in several where that takes long.

const { durability, through } = workerData as { durability: Durability; through: string | undefined };
const port = parentPort as MessagePort;
const files: Files = through ? ((await import(through)) as { files: Files }).files : disk;

let said: Said[] = [];
const say = (one: Said): void => {
  // Inside a round they go together; what a sync has to say comes by itself.
  if (said.push(one) === 1) queueMicrotask(flush);
};
function flush(): void {
  if (said.length > 0) port.postMessage(said);
  said = [];
}

/** How long what is written waits for what is written after it: a part waits for it, and when many broadcasts end at once, more comes all the time. */
const roundMs = 1;

const scribe = new Scribe(files, durability, say);
port.on("message", (job: Job) => {
  let fromMs = performance.now();
  for (let next: Job | undefined = job; next; ) {
    scribe.take(next);
    if (performance.now() - fromMs > roundMs) {
      flush();
      fromMs = performance.now();
    }
    next = (receiveMessageOnPort(port) as { message: Job } | undefined)?.message;
  }
});
