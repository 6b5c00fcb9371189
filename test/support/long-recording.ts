import { existsSync } from "node:fs";
import { join } from "node:path";
import { createLog } from "../../services/lib/log.ts";
import { Broadcast } from "../../services/live/broadcast.ts";
import { profiles } from "../../services/packager/profiles.ts";
import { planName } from "../../services/recording/plans.ts";
import { Recorder } from "../../services/recording/recorder.ts";
import { makeFlv } from "./flv.ts";

const pieceSeconds = 10;

/** Records `seconds` of 180p30 at 0.4 Mb/s with sound into `folder`, as fast as the disk takes it, in the name of `input`. */
export async function recordLong(folder: string, input: string, seconds: number): Promise<string> {
  const video = "fedcba9876543210fedcba9876543210";
  const { tags } = await makeFlv({ seconds: pieceSeconds, width: 320, height: 180, kbps: 400 });
  const log = createLog("bench", "silent", false);
  const recorder = await Recorder.open({
    folder,
    durability: "none",
    floorBytes: 0,
    log,
    patienceMs: 60_000,
  });
  const tape = recorder.begin({ video, input, targetDuration: 4, temporary: false });
  const broadcast = new Broadcast({
    ...{ input, video, tape, profile: profiles.low, dvrSeconds: 0, changed: () => undefined },
  });
  const startMs = Date.now() - seconds * 1000;
  broadcast.begin(startMs, 0);
  for (let loop = 0; loop * pieceSeconds < seconds; loop++) {
    for (const tag of tags) {
      // The second byte of an AVC or AAC tag is 0 for a configuration, which comes once.
      if (loop > 0 && (tag.type === "script" || tag.payload[1] !== 1)) continue;
      const timestampMs = tag.timestampMs + loop * pieceSeconds * 1000;
      broadcast.push({ ...tag, timestampMs }, startMs + timestampMs);
    }
    await broadcast.shown();
  }
  await broadcast.end(startMs + seconds * 1000);
  // A while after its end it is ready to be had as one file.
  for (let tries = 0; !existsSync(join(folder, video, planName)); tries++) {
    if (tries > 600) throw new Error("the recording was not planned");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await recorder.close();
  return video;
}
