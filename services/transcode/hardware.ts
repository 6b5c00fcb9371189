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

/** Low delay, no B-frames, and a forced keyframe that players can begin with, in each encoder's own words. */
const hardwareWords: Readonly<Record<Hardware, string>> = {
  nvenc: "-c:v h264_nvenc -preset p3 -tune ull -zerolatency 1 -rc cbr -bf 0 -no-scenecut 1 -forced-idr 1",
  vaapi: "-c:v h264_vaapi -rc_mode CBR -bf 0 -async_depth 1",
  qsv: "-c:v h264_qsv -preset veryfast -async_depth 1 -bf 0 -look_ahead 0 -forced_idr 1",
  videotoolbox: "-c:v h264_videotoolbox -realtime 1 -prio_speed 1 -bf 0 -allow_sw 0",
};
/** What only libx264 is told; each has one value. */
const softwareOptions: readonly string[] = [
  "-c:v",
  "-preset",
  "-partitions",
  "-tune",
  "-threads",
  "-sc_threshold",
];
/** VA-API has no such option: the captions that it keeps stay as they are. */
const withoutCaptions = "-a53cc";

/** A command for libx264 as one for `encoder`; outputs of other codecs stay what they are. Golden-tested, and the trial runs these words. */
export function encodedBy(encoder: Encoder, command: Command): Command {
  if (encoder === "software") return command;
  const device = encoder === "vaapi" ? ["-vaapi_device", vaapiDevice] : [];
  const pixels = encoder === "vaapi" ? "format=nv12,hwupload" : "format=nv12";
  const unknown = new Set(encoder === "vaapi" ? [...softwareOptions, withoutCaptions] : softwareOptions);
  const mine = command.outputs.map(({ options }) => options.includes("libx264"));
  const outputs = command.outputs.map((output, index) => {
    if (!mine[index]) return output;
    const rest = output.options.filter(
      (word, at, all) => !unknown.has(word) && !unknown.has(all[at - 1] ?? ""),
    );
    const place = rest[0] === "-map" ? 2 : 0;
    const words = hardwareWords[encoder].split(" ");
    return { ...output, options: [...rest.slice(0, place), ...words, ...rest.slice(place)] };
  });
  const filter = command.filter?.replace(/format=yuv420p\[v(\d+)\]/g, (branch, index) =>
    mine[Number(index)] ? `${pixels}[v${index}]` : branch,
  );
  return {
    ...command,
    global: [...(command.global ?? []), ...device],
    outputs,
    ...(filter !== undefined && { filter }),
  };
}

/** The smallest real encode, in the words of a ladder: a driver that lists an encoder need not have the hardware for it. */
export function trialOf(kind: Hardware): Command {
  return encodedBy(kind, {
    global: ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+error"],
    inputs: [{ source: "testsrc2=size=320x240:rate=30", format: "lavfi" }],
    filter: "[0:v]format=yuv420p[v0]",
    outputs: [
      {
        target: "-",
        format: "null",
        options: ["-map", "[v0]", "-c:v", "libx264", "-profile:v", "high", "-b:v", "500k", "-frames:v", "5"],
      },
    ],
  });
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
