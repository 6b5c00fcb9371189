import { spawn } from "node:child_process";
import type { Running } from "../../services/lib/lifecycle.ts";
import { drawClock } from "./clock.ts";

export interface ClockPublisher extends Running {
  /** Epoch milliseconds that the pictures count from. */
  readonly startedAt: number;
}

export interface ClockOptions {
  /** RTMP address with the stream key. */
  readonly url: string;
  readonly width?: number;
  readonly height?: number;
  readonly fps?: number;
  readonly gopSeconds?: number;
  readonly kbps?: number;
}

/**
 * Publishes the clock picture with a tone in real time through ffmpeg, settings as OBS makes them for low latency.
 * Each picture carries the moment at which it was handed to the encoder. `close` ends the publish cleanly.
 */
export function publishClock(options: ClockOptions): ClockPublisher {
  const { url, width = 640, height = 360, fps = 30, gopSeconds = 2, kbps = 1500 } = options;
  const video = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", `${width}x${height}`, "-r", `${fps}`];
  const gop = `${Math.round(gopSeconds * fps)}`;
  const x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "main"];
  const child = spawn(
    "ffmpeg",
    [
      ...["-hide_banner", "-nostats", "-loglevel", "error", "-probesize", "32", "-analyzeduration", "0"],
      ...video,
      ...[
        "-i",
        "pipe:0",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=48000",
        "-map",
        "0:v",
        "-map",
        "1:a",
      ],
      ...x264,
      ...["-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-b:v", `${kbps}k`, "-threads", "1"],
      ...["-c:a", "aac", "-b:a", "128k", "-ac", "2", "-f", "flv", "-flvflags", "no_duration_filesize", url],
    ],
    { stdio: ["pipe", "ignore", "pipe"] },
  );
  const closed = Promise.withResolvers<void>();
  let said = "";
  let closing = false;
  child.stderr.on("data", (data: Buffer) => {
    said = (said + data).slice(-2000);
  });
  // The pipe breaks when ffmpeg ends first; its exit tells.
  child.stdin.on("error", () => {});
  child.on("error", (error) => closed.reject(error));
  child.on("exit", (code, signal) => {
    clearTimeout(timer);
    if (closing) closed.resolve();
    else closed.reject(new Error(`ffmpeg ended by itself (${code ?? signal}): ${said}`));
  });

  const startedAt = Date.now();
  const free = Array.from({ length: 4 }, () => new Uint8Array((width * height * 3) / 2).fill(128));
  let count = 0;
  let timer: NodeJS.Timeout;
  const tick = () => {
    const due = startedAt + (count * 1000) / fps;
    const frame = Date.now() >= due ? free.pop() : undefined;
    if (frame) {
      count++;
      drawClock(frame, width, height, Date.now() - startedAt);
      child.stdin.write(frame, () => free.push(frame));
    }
    const next = startedAt + (count * 1000) / fps;
    timer = setTimeout(tick, Math.max(frame ? 0 : 1, next - Date.now()));
  };
  timer = setTimeout(tick, 0);

  return {
    startedAt,
    closed: closed.promise,
    async close() {
      closing = true;
      clearTimeout(timer);
      child.kill("SIGINT");
      // It looks at the signal when its read returns.
      child.stdin.end();
      await closed.promise;
    },
  };
}
