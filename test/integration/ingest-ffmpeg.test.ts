import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import { readVideo } from "../../services/packager/flv.ts";
import { type IngestWorld, startIngestWorld } from "../support/ingest.ts";

const uid = "b".repeat(32);
let world: IngestWorld;
afterEach(() => world.close());

/** Runs ffmpeg with a small test picture and a tone for `seconds`; resolves with its exit code and what it said. */
async function ffmpeg(url: string, seconds: number, codecs: readonly string[] = []) {
  const h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "15", "-pix_fmt", "yuv420p"];
  const args = [
    ...["-hide_banner", "-loglevel", "error", "-re"],
    ...["-f", "lavfi", "-i", "testsrc2=size=192x108:rate=30", "-f", "lavfi", "-i", "sine=sample_rate=48000"],
    ...["-t", String(seconds), ...(codecs.length ? codecs : [...h264, "-c:a", "aac"]), "-f", "flv", url],
  ];
  const child = spawn("ffmpeg", args, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (text) => {
    said += text;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, said };
}

test.for(["rtmp", "rtmps"] as const)("ffmpeg publishes over %s", async (scheme) => {
  world = await startIngestWorld({ rtmpsPort: 0 });
  const key = world.input(uid);
  const { code, said } = await ffmpeg(
    `${scheme}://127.0.0.1:${world.ingest.ports[scheme]}/live/${key}?from=ffmpeg`,
    1.5,
  );
  expect({ code, said }).toEqual({ code: 0, said: "" });
  const feed = await world.feed(0);
  expect(await feed.ended).toBe("clean");
  const video = feed.tags.filter((t) => t.type === "video").map((t) => readVideo(t.payload));
  expect(video[0]).toMatchObject({ type: "config", entry: "avc1" });
  const frames = video.filter((m) => m.type === "frame");
  expect(frames).toHaveLength(45);
  expect(frames.filter((m) => m.key)).toHaveLength(3);
  expect(frames.some((m) => m.compositionMs > 0)).toBe(true);
  const audio = feed.tags.filter((t) => t.type === "audio");
  expect(audio.length).toBeGreaterThan(65);
  expect(feed.tags[0]).toMatchObject({ type: "script" });
});

test.for([
  { name: "a wrong key", path: "live/nonsense", codecs: [], says: "Stream key not accepted" },
  { name: "a wrong application", path: "stream/x", codecs: [], says: "must end in /live" },
  { name: "H.263", path: "live/KEY", codecs: ["-c:v", "flv1", "-an"], says: "set the encoder to H.264" },
])("ffmpeg prints why $name is refused", async ({ path, codecs, says }) => {
  world = await startIngestWorld();
  const key = world.input(uid);
  const url = `rtmp://127.0.0.1:${world.ingest.ports.rtmp}/${path.replace("KEY", key)}`;
  const { code, said } = await ffmpeg(url, 10, codecs);
  expect(code).not.toBe(0);
  expect(said).toContain(says);
});
