import { execFile } from "node:child_process";
import { promisify } from "node:util";
import ffmpeg from "fluent-ffmpeg";
import { Failure } from "../lib/errors.ts";

/** One ffmpeg command: what goes in, what comes out, each with its options in ffmpeg's own words. */
export interface Command {
  readonly global?: readonly string[];
  readonly inputs: readonly {
    readonly source: string;
    readonly format?: string;
    readonly options?: readonly string[];
  }[];
  /** A filter graph over all inputs, for outputs to map from. */
  readonly filter?: string;
  readonly outputs: readonly {
    readonly target: string;
    readonly format: string;
    readonly options: readonly string[];
  }[];
}

/**
 * The arguments of a command, for a process that we spawn ourselves: fluent-ffmpeg's own runner cannot open further pipes, loses a
 * kill that comes early, and refuses device formats of ffmpeg 7 and later.
 */
export function ffmpegArguments(command: Command): string[] {
  const building = ffmpeg({ logger: undefined });
  for (const { source, format, options = [] } of command.inputs) {
    building.input(source).inputOptions([...options]);
    if (format) building.inputFormat(format);
  }
  if (command.filter) building.complexFilter(command.filter);
  for (const { target, format, options } of command.outputs)
    building
      .output(target)
      .format(format)
      .outputOptions([...options]);
  // Not in its types: the one synchronous way to a command line, held by a golden test.
  const builder = building as unknown as { _getArguments(): string[] };
  return [...(command.global ?? quiet), ...builder._getArguments()];
}

/** Nothing but what went wrong on standard error, nothing read from the terminal. */
const quiet = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"];

/** As ffmpeg says it; a build from a repository is newer than any number. */
export interface Version {
  readonly major: number;
  readonly minor: number;
}

/** The ffmpeg of this machine. */
export interface Ffmpeg {
  /** Its path. */
  readonly program: string;
  readonly version: Version;
  readonly encoders: ReadonlySet<string>;
}

const run = promisify(execFile);
const known = new Map<string, Promise<Ffmpeg>>();

/**
 * What the ffmpeg at `program` is and can do, asked once in the life of this process. Rejects with a `Failure` for a person when it
 * does not run or is of no use for a ladder.
 */
export function probeFfmpeg(program: string): Promise<Ffmpeg> {
  let probe = known.get(program);
  if (!probe) {
    probe = ask(program);
    known.set(program, probe);
    // What is missing may be installed while we run.
    probe.catch(() => known.delete(program));
  }
  return probe;
}

async function ask(program: string): Promise<Ffmpeg> {
  const of = (what: string) =>
    run(program, ["-hide_banner", what], { maxBuffer: 4 << 20 }).then(({ stdout }) => stdout);
  const [said, list] = await Promise.all([of("-version"), of("-encoders")]).catch((error: Error) => {
    throw new Failure("unavailable", `${program} does not run: ${error.message.trim().split("\n")[0]}`);
  });
  const version = versionIn(said);
  if (version.major < 5)
    throw new Failure(
      "unavailable",
      `ffmpeg ${version.major}.${version.minor} is too old: install 5 or newer`,
    );
  const encoders = encodersIn(list);
  if (!encoders.has("libx264"))
    throw new Failure("unavailable", "this ffmpeg has no libx264 encoder: install a build with it");
  return { program, version, encoders };
}

/** From the first line of `ffmpeg -version`. */
export function versionIn(said: string): Version {
  const [, major, minor] = /^ffmpeg version n?(\d+)\.(\d+)/.exec(said) ?? [];
  return major ? { major: Number(major), minor: Number(minor) } : { major: 99, minor: 0 };
}

/** The names in `ffmpeg -encoders`. */
export function encodersIn(list: string): ReadonlySet<string> {
  return new Set([...list.matchAll(/^ [VAS][F.][S.][X.][B.][D.] ([\w-]+)/gm)].map(([, name]) => name!));
}

/** The command as a person can paste it into a shell, with a file for each pipe. */
export function pasteable(program: string, args: readonly string[]): string {
  const quoted = [program, ...args].map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`,
  );
  const files = args.flatMap((word) => {
    const fd = /^pipe:(\d+)$/.exec(word)?.[1];
    return fd === undefined ? [] : [fd === "0" ? "<in.flv" : `${fd}>out${fd}.flv`];
  });
  return [...quoted, ...files].join(" ");
}

const pattern = { width: 1280, height: 720, rate: 30, gopSeconds: 2 };

/**
 * A moving picture with a counter and a tone that beeps each second, published to `url` in real time at about 1.5 Mb/s.
 * With `fontFile` the wall clock is drawn into the picture.
 */
export function testPattern(options: {
  readonly url: string;
  readonly fontFile?: string | undefined;
}): string[] {
  const { width, height, rate, gopSeconds } = pattern;
  const clock = options.fontFile
    ? `,drawtext=fontfile=${options.fontFile}:text='%{localtime\\:%X}':fontsize=48:fontcolor=white:box=1:boxborderw=12:boxcolor=black@0.6:x=(w-tw)/2:y=h-96`
    : "";
  return ffmpegArguments({
    inputs: [
      { source: `testsrc2=size=${width}x${height}:rate=${rate}${clock}`, format: "lavfi", options: ["-re"] },
      { source: "sine=frequency=330:beep_factor=4:sample_rate=48000", format: "lavfi", options: ["-re"] },
    ],
    outputs: [
      {
        target: options.url,
        format: "flv",
        options: [
          "-c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p",
          `-g ${rate * gopSeconds} -keyint_min ${rate * gopSeconds} -sc_threshold 0`,
          "-b:v 1500k -maxrate 1500k -bufsize 1500k",
          "-c:a aac -b:a 96k -ac 2",
          "-flvflags no_duration_filesize",
        ].flatMap((line) => line.split(" ")),
      },
    ],
  });
}
