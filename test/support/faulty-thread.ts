import { isMainThread, workerData } from "node:worker_threads";

// Loaded before anything else by every process of Sluice (`faultyDisk`): gives the recorder's thread, and it alone, the file
// system that FAULTY_FILES names.

const thread = workerData as { durability?: unknown; through?: string } | null;
const { FAULTY_FILES } = process.env;
if (!isMainThread && thread?.durability !== undefined && FAULTY_FILES) thread.through = FAULTY_FILES;
