import ffmpeg from "fluent-ffmpeg";

/** One ffmpeg command: what goes in, what comes out, each with its options in ffmpeg's own words. */
export interface Job {
  readonly global?: readonly string[];
  readonly inputs: readonly {
    readonly source: string;
    readonly format?: string;
    readonly options?: readonly string[];
  }[];
  readonly outputs: readonly {
    readonly target: string;
    readonly format: string;
    readonly options: readonly string[];
  }[];
}

/**
 * The arguments of a job, for a process that we spawn ourselves: fluent-ffmpeg's own runner cannot open further pipes, loses a
 * kill that comes early, and refuses device formats of ffmpeg 7 and later.
 */
export function ffmpegArguments(job: Job): string[] {
  const command = ffmpeg({ logger: undefined });
  for (const { source, format, options = [] } of job.inputs) {
    command.input(source).inputOptions([...options]);
    if (format) command.inputFormat(format);
  }
  for (const { target, format, options } of job.outputs)
    command
      .output(target)
      .format(format)
      .outputOptions([...options]);
  // Not in its types: the one synchronous way to a command line, held by a golden test.
  const builder = command as unknown as { _getArguments(): string[] };
  return [...(job.global ?? quiet), ...builder._getArguments()];
}

/** Nothing but what went wrong on standard error, nothing read from the terminal. */
const quiet = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"];

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
