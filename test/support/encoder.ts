import { spawn } from "node:child_process";
import type { Running } from "../../services/lib/lifecycle.ts";

export interface Encoder extends Running {
  /** Ends as an encoder that lost power does; `close` ends as one whose user pressed stop. */
  drop(): Promise<void>;
}

export interface EncoderOptions {
  /** RTMP address with the stream key. */
  readonly url: string;
  readonly video?: boolean;
  readonly audio?: boolean;
  readonly gopSeconds?: number;
  readonly size?: string;
  readonly fps?: number;
  readonly bFrames?: number;
  /** Seconds after which the encoder ends by itself, cleanly. */
  readonly seconds?: number;
}

/** Publishes a moving test picture with a tone through ffmpeg, in real time, as a person would from a terminal. */
export function startEncoder(options: EncoderOptions): Encoder {
  const {
    url,
    video = true,
    audio = true,
    gopSeconds = 2,
    size = "640x360",
    fps = 30,
    bFrames = 0,
    seconds,
  } = options;
  const gop = `${Math.round(gopSeconds * fps)}`;
  const x264 = [
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-pix_fmt",
    "yuv420p",
    "-b:v",
    "800k",
    "-threads",
    "1",
  ];
  const child = spawn(
    "ffmpeg",
    [
      ...["-hide_banner", "-nostats", "-loglevel", "error"],
      ...(video ? ["-re", "-f", "lavfi", "-i", `testsrc2=size=${size}:rate=${fps}`] : []),
      ...(audio ? ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"] : []),
      ...(seconds ? ["-t", `${seconds}`] : []),
      ...(video ? [...x264, "-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-bf", `${bFrames}`] : []),
      ...(audio ? ["-c:a", "aac", "-b:a", "128k", "-ac", "2"] : []),
      ...["-f", "flv", "-flvflags", "no_duration_filesize", url],
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  const closed = Promise.withResolvers<void>();
  let said = "";
  let ending = seconds !== undefined;
  child.stderr.on("data", (data: Buffer) => {
    said = (said + data).slice(-2000);
  });
  child.on("error", closed.reject);
  child.on("exit", (code, signal) => {
    if (ending) closed.resolve();
    else closed.reject(new Error(`ffmpeg ended by itself (${code ?? signal}): ${said}`));
  });
  // Nobody may be waiting yet when it ends; whoever closes it hears of it.
  closed.promise.catch(() => {});
  const end = async (signal: NodeJS.Signals) => {
    ending = true;
    child.kill(signal);
    await closed.promise;
  };
  return { closed: closed.promise, close: () => end("SIGINT"), drop: () => end("SIGKILL") };
}
