import type { DatabaseSync } from "node:sqlite";
import { Worker } from "node:worker_threads";

/** So many commits are brought from the journal into the file at once: about as many as SQLite would take itself. */
const commits = 100;
/** Pages in the journal from which on the next commit waits until it may begin anew: no checkpoint comes to its end beside commits that never pause. */
const longJournal = 4_000;
/** It waits too when so many have come since a checkpoint began that is still under way. */
const mostCommits = 200;

/**
 * Brings what is committed from SQLite's journal into its file on a thread of its own. SQLite would do so within a commit, and
 * everybody would wait for the syncs: up to a tenth of a second.
 */
export class Checkpoints {
  readonly #db: DatabaseSync;
  readonly #file: string;
  #commits = 0;
  #running: Promise<number> | undefined;
  #worker: Worker | undefined;
  #full: Promise<unknown> | undefined;

  constructor(db: DatabaseSync, file: string) {
    this.#db = db;
    this.#file = file;
    db.exec("PRAGMA wal_autocheckpoint = 0");
  }

  /** There is another commit, and it is on the disk. */
  committed(): void {
    if (++this.#commits < commits || this.#running) return;
    this.#commits = 0;
    this.#running = this.#checkpoint();
    void this.#running.then((pages) => {
      this.#running = undefined;
      // What was committed meanwhile is left, and keeps the journal from beginning anew. The next one finds it at rest, and little to do.
      if (pages > longJournal)
        this.#full = this.#checkpoint().finally(() => {
          this.#full = undefined;
        });
    });
  }

  /** Settles when there may be another commit. */
  async roomy(): Promise<void> {
    if (this.#commits >= mostCommits) await this.#running;
    await this.#full;
  }

  /** Ends the thread; the journal is left to whoever closes the file last. */
  async close(): Promise<void> {
    await this.#running;
    await this.#full;
    const worker = this.#worker;
    if (!worker) return;
    const ended = new Promise((resolve) => worker.once("exit", resolve));
    worker.ref();
    worker.postMessage("close");
    await ended;
  }

  /** How many pages the journal had; 0 where the thread is gone. */
  #checkpoint(): Promise<number> {
    const worker = this.#worker ?? this.#start();
    return new Promise((resolve) => {
      const gone = () => resolve(0);
      worker.once("exit", gone);
      worker.once("message", (pages: number) => {
        worker.off("exit", gone);
        resolve(pages);
      });
      worker.postMessage("checkpoint");
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL("./checkpoint-thread.ts", import.meta.url), {
      workerData: { file: this.#file },
    });
    this.#worker = worker;
    worker.unref();
    // Without it SQLite does so itself again, as long as no other one is there.
    worker.once("error", () => this.#db.exec("PRAGMA wal_autocheckpoint = 1000"));
    worker.once("exit", () => {
      this.#worker = undefined;
    });
    return worker;
  }
}
