import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Failure } from "../lib/errors.ts";
import { type EncoderChoice, type Hardware, hardware } from "../live/encoder.ts";
import { type Command, type Ffmpeg, ffmpegArguments, probeFfmpeg } from "./ffmpeg.ts";

const run = promisify(execFile);
/** A driver that hangs is no driver. */
const trialMs = 10_000;
const vaapiDevice = "/dev/dri/renderD128";

/** What rungs are encoded with. */
export type Encoder = "software" | Hardware;

/** Tried in this order by `auto`: what is fastest where there are several. */
const order: Readonly<Record<string, readonly Hardware[]>> = {
  darwin: ["videotoolbox"],
  win32: ["nvenc", "qsv"],
  linux: ["nvenc", "qsv", "vaapi"],
};

/** The smallest real encode: a driver that lists an encoder need not have the hardware for it. */
export function trialOf(kind: Hardware): Command {
  const vaapi = kind === "vaapi";
  return {
    global: [
      ...["-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+error"],
      ...(vaapi ? ["-vaapi_device", vaapiDevice] : []),
    ],
    inputs: [{ source: "testsrc2=size=320x240:rate=30", format: "lavfi" }],
    outputs: [
      {
        target: "-",
        format: "null",
        options: [
          ...["-frames:v", "5", "-vf", vaapi ? "format=nv12,hwupload" : "format=nv12"],
          ...["-c:v", `h264_${kind}`],
        ],
      },
    ],
  };
}

/** Whether this machine really encodes with `kind`: undefined, or ffmpeg's own words for why not. */
export async function tryHardware(program: string, kind: Hardware): Promise<string | undefined> {
  try {
    await run(program, ffmpegArguments(trialOf(kind)), { timeout: trialMs, killSignal: "SIGKILL" });
    return undefined;
  } catch (error) {
    const { stderr = "", killed, message } = error as Error & { stderr?: string; killed?: boolean };
    if (killed) return `no answer within ${trialMs / 1000} s`;
    const first = stderr.split("\n").find(Boolean) ?? message.split("\n")[0]!;
    return first.replace(/^(\[[^\]]*\] )+/, "").trim();
  }
}

/**
 * The encoder that `choice` means on this machine, tried once. Throws a `Failure` for a person when it names hardware that is
 * not here; `auto` never does.
 */
export async function settleEncoder({ program }: Ffmpeg, choice: EncoderChoice): Promise<Encoder> {
  if (choice === "software") return "software";
  if (choice === "auto") {
    for (const kind of order[process.platform] ?? [])
      if ((await tryHardware(program, kind)) === undefined) return kind;
    return "software";
  }
  const why = await tryHardware(program, choice);
  if (why === undefined) return choice;
  throw new Failure(
    "unavailable",
    `encoder is ${choice}, which does not work here (${why}): ${hardware[choice]}, or set encoder to auto or software`,
  );
}

/** How a person gets an ffmpeg. */
export const installFfmpeg = "type apt-get install ffmpeg, or brew install ffmpeg";

/**
 * The ffmpeg at `program` and what it encodes with here. Throws a `Failure` that says what to change when there is none, when it is
 * of no use for a ladder, or when the hardware that was asked for is not there.
 */
export async function usableFfmpeg(
  program: string | undefined,
  choice: EncoderChoice,
): Promise<{ readonly ffmpeg: Ffmpeg; readonly encoder: Encoder }> {
  if (program === undefined) throw new Failure("unavailable", `ffmpeg is not installed: ${installFfmpeg}`);
  const ffmpeg = await probeFfmpeg(program);
  return { ffmpeg, encoder: await settleEncoder(ffmpeg, choice) };
}
