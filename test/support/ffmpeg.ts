import { spawn } from "node:child_process";
import { ffmpegArguments } from "../../services/transcode/ffmpeg.ts";

/** A real ffmpeg that publishes in real time. */
export interface Publisher {
  readonly pid: number;
  /** Everything that it wrote to standard error. */
  log(): string;
  /** Ends the publish as a person does with `q`: FCUnpublish, then the socket. Resolves with its end. */
  stop(): Promise<PublisherEnd>;
  /** kill -9: the socket goes without a word. Resolves with its end. */
  kill(): Promise<PublisherEnd>;
  /** Settles when it ended by itself, was refused or stopped. */
  readonly ended: Promise<PublisherEnd>;
}

export interface PublisherEnd {
  readonly code: number | string;
  readonly log: string;
}

/**
 * Publishes a moving test pattern with a tone to `url` (base URL and stream key). Small and cheap by default: 320x180, 30 fps,
 * keyframe every `gop` seconds. `video` and `audio` replace the encoder options, `false` leaves the track out; `extra` goes before the output.
 */
export function publish(options: {
  readonly url: string;
  readonly seconds?: number;
  readonly size?: string;
  readonly rate?: number;
  readonly gop?: number;
  readonly video?: readonly string[] | false;
  readonly audio?: readonly string[] | false;
  readonly extra?: readonly string[];
}): Publisher {
  const { url, seconds, size = "320x180", rate = 30, gop = 1, video, audio, extra = [] } = options;
  const frames = String(Math.round(gop * rate));
  const x264 = [
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-tune",
    "zerolatency",
    "-pix_fmt",
    "yuv420p",
    "-b:v",
    "400k",
  ];
  const picture = video ?? [...x264, "-g", frames, "-keyint_min", frames, "-sc_threshold", "0"];
  const sound = audio ?? ["-c:a", "aac", "-b:a", "64k", "-ac", "2"];
  const args = ffmpegArguments({
    global: ["-hide_banner", "-nostats", "-loglevel", "info"],
    inputs: [
      ...(picture
        ? [{ source: `testsrc2=size=${size}:rate=${rate}`, format: "lavfi", options: ["-re"] }]
        : []),
      ...(sound
        ? [{ source: "sine=frequency=440:sample_rate=48000", format: "lavfi", options: ["-re"] }]
        : []),
    ],
    outputs: [
      {
        target: url,
        format: "flv",
        options: [
          ...(picture || []),
          ...(sound || []),
          ...(seconds === undefined ? [] : ["-t", String(seconds)]),
          ...["-flvflags", "no_duration_filesize"],
          ...extra,
        ],
      },
    ],
  });
  return runFfmpeg(args);
}

/** Runs ffmpeg with `args` as a publisher; it ends when this process does. */
function runFfmpeg(args: readonly string[]): Publisher {
  const child = spawn("ffmpeg", args, { stdio: ["pipe", "ignore", "pipe"] });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log = (log + text).slice(-50_000);
  });
  child.stdin.on("error", () => undefined);
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const ended = new Promise<PublisherEnd>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      process.off("exit", kill);
      resolve({ code: signal ?? code ?? -1, log });
    });
  });
  ended.catch(() => undefined);
  return {
    pid: child.pid ?? 0,
    log: () => log,
    ended,
    stop() {
      child.stdin.write("q");
      return ended;
    },
    kill() {
      kill();
      return ended;
    },
  };
}
