import { spawnSync } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { Entry } from "../../../services/packager/track.ts";

/** One track as it is served: its init segment, then whole segments in order. */
export interface Served {
  readonly entry: Entry;
  readonly init: Uint8Array;
  readonly segments: readonly Uint8Array[];
  /** Of the picture; left out for sound. */
  readonly size?: { readonly width: number; readonly height: number };
}

/** Where a judge is wrong itself. */
export interface Mistake {
  readonly entry: Entry;
  readonly says: RegExp;
  readonly because: string;
}

/** A program of somebody else's that says what is wrong with media. */
export interface Judge {
  readonly name: string;
  /** Its executable as `get-judges.sh` names it, on PATH or in the folder that SLUICE_JUDGES names. */
  readonly program: string;
  /** What it says of a track of this sample entry that is right all the same. */
  readonly mistakes?: readonly Mistake[];
  /** What it finds wrong, a line each; none when it is content. Throws when it does not run. */
  faults(program: string, files: Files): string[];
}

interface Files {
  /** Init and all segments in one file. */
  readonly whole: string;
  readonly folder: string;
  readonly served: Served;
}

/** What may stand beside a fragment (ISO/IEC 23000-19 7.3.2). */
const topLevel = new Set(["ftyp", "styp", "moov", "prft", "emsg", "moof", "mdat"]);

export const judges: readonly Judge[] = [
  {
    name: "ISOSegmentValidator (ISO BMFF, CMAF, DASH low latency)",
    program: "ISOSegmentValidator",
    mistakes: [
      {
        entry: "hvc1",
        says: /Validate HEVC NAL Unit didn't use \d+ bits/,
        because: "it skips a VPS by bytes and then counts those of emulation prevention as left over",
      },
      {
        entry: "hvc1",
        says: /Validate_NAL_Unit_HEVC: Trailing zero bits not zero (1|2|4|8|16|32|64) *$/,
        because:
          "behind an SPS or a PPS it takes rbsp_stop_one_bit for padding; it says so of ffmpeg's own files, too",
      },
      ...(["av01", "Opus", "fLaC"] as const).map((entry) => ({
        entry,
        says: /SampleDescription sdType must be /,
        because: "it was written before this sample entry",
      })),
    ],
    faults(program, { whole, folder, served }) {
      const info = join(folder, "info.txt");
      const sizes = [`0 ${served.init.length}`, ...served.segments.map((segment) => `1 ${segment.length}`)];
      writeFileSync(info, `${sizes.join("\n")}\n`);
      const size = served.size ? ["-width", `${served.size.width}`, "-height", `${served.size.height}`] : [];
      const { output, errors } = run(
        program,
        ["-cmaf", "-dashifll", "-infofile", info, ...size, whole],
        folder,
      );
      // It always exits with 0, and says at the end that it got there.
      if (!output.includes("Finished testing file"))
        return ["it did not get to the end of the file", ...lines(errors).slice(-3)];
      return lines(errors).filter((line) => line.includes("### error"));
    },
  },
  {
    name: "ComplianceWarden (ISO BMFF)",
    program: "ComplianceWarden",
    faults(program, { whole, folder }) {
      // Its JSON leaves out what it found.
      const { output, errors } = run(program, ["-s", "isobmff", whole], folder);
      if (!/No errors|error\(s\)/.test(output))
        return ["it does not get to its end", ...lines(errors).slice(-3)];
      return lines(output).filter((line) => line.includes("] Error: "));
    },
  },
  {
    name: "Bento4 mp4dump",
    program: "mp4dump",
    faults(program, { whole, folder }) {
      const { output, errors, status } = run(program, ["--format", "json", whole], folder);
      if (status !== 0) return [`it exits with ${status}: ${errors}`];
      const boxes = JSON.parse(output) as readonly { name: string }[];
      return boxes.filter(({ name }) => !topLevel.has(name)).map(({ name }) => `a box ${name}`);
    },
  },
  {
    name: "GPAC MP4Box",
    program: "MP4Box",
    faults(program, { whole, folder }) {
      const { output, errors, status } = run(program, ["-logs=all@warning:ncl", "-info", whole], folder);
      const faults = lines(`${output}\n${errors}`).filter((line) =>
        /\b(error|invalid|corrupt|warning)\b/i.test(line),
      );
      return status === 0 ? faults : [`it exits with ${status}`, ...faults];
    },
  },
];

/** Where a judge's program is on this machine; undefined where it is not. */
export function findJudge({ program }: Judge): string | undefined {
  const folders = [process.env.SLUICE_JUDGES, ...(process.env.PATH ?? "").split(delimiter)];
  for (const folder of folders) {
    if (!folder) continue;
    const file = join(folder, program);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {}
  }
  return undefined;
}

/** What `judge` finds wrong with one track, a line each. */
export function ask(judge: Judge, program: string, served: Served): string[] {
  const folder = mkdtempSync(join(tmpdir(), "sluice-judge-"));
  try {
    const whole = join(folder, "track.mp4");
    writeFileSync(whole, Buffer.concat([served.init, ...served.segments]));
    const known = judge.mistakes?.filter(({ entry }) => entry === served.entry) ?? [];
    return judge
      .faults(program, { whole, folder, served })
      .filter((line) => !known.some(({ says }) => says.test(line)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(program: string, args: readonly string[], cwd: string) {
  const { error, stdout, stderr, status } = spawnSync(program, args, {
    cwd,
    encoding: "latin1",
    timeout: 60_000,
    maxBuffer: 256 << 20,
  });
  if (error) throw error;
  return { output: stdout, errors: stderr, status };
}

const lines = (text: string) => text.split("\n").filter((line) => line.trim() !== "");
