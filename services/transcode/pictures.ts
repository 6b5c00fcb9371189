import { spawn } from "node:child_process";
import { constants, setPriority } from "node:os";
import { Failure } from "../lib/errors.ts";
import type { PictureJob, Pictures } from "../live/pictures.ts";
import { ffmpegArguments } from "./ffmpeg.ts";

/** One at a time, and few that wait: whoever watches live comes first. */
const mostWaiting = 24;
const longestMs = 8_000;
const maxBytes = 8 << 20;

/**
 * Pictures by the ffmpeg at `program`: one process at a time, at the lowest priority, which sees nothing but its standard input.
 * What waits has read nothing yet.
 */
export function openPictures(program: string): Pictures {
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  return {
    async make(job) {
      if (waiting >= mostWaiting)
        throw new Failure("limit", "Too many pictures are being made; try again in a moment");
      waiting++;
      const mine = last.then(async () => run(program, await job()));
      last = mine.catch(() => undefined);
      try {
        return await mine;
      } finally {
        waiting--;
      }
    },
  };
}

function run(program: string, job: PictureJob): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, pictureArguments(job), {
      stdio: ["pipe", "pipe", "ignore"],
      detached: true,
    });
    const out: Buffer[] = [];
    let size = 0;
    const late = setTimeout(() => child.kill("SIGKILL"), longestMs);
    const wrong = (): void => {
      clearTimeout(late);
      reject(new Failure("bad_media", "No picture can be made of this"));
    };
    child.once("error", wrong);
    if (child.pid !== undefined) {
      try {
        setPriority(child.pid, constants.priority.PRIORITY_LOW);
      } catch {
        // It has ended already.
      }
    }
    child.stdout.on("data", (piece: Buffer) => {
      size += piece.length;
      out.push(piece);
      if (size > maxBytes) child.kill("SIGKILL");
    });
    child.once("close", (code) => {
      clearTimeout(late);
      if (code === 0 && size > 0) resolve(Buffer.concat(out));
      else wrong();
    });
    // It may have enough before it has read everything.
    child.stdin.on("error", () => undefined);
    for (const piece of job.media) child.stdin.write(piece);
    child.stdin.end();
  });
}

/** What ffmpeg is told: it reads MP4 from its standard input and nothing else, on one thread. */
export function pictureArguments({ form, width, height, fit, tiles, moves }: PictureJob): string[] {
  const steps: string[] = [];
  if (moves) {
    const { from, seconds, fps } = moves;
    steps.push(
      "setpts=PTS-STARTPTS",
      `trim=start=${from.toFixed(3)}:duration=${seconds.toFixed(3)}`,
      `fps=${fps}`,
    );
  }
  steps.push(...scaled({ width, height, fit }));
  if (tiles) steps.push(`tile=${tiles.across}x${tiles.down}`);
  const chain = steps.join(",");
  const options =
    form === "gif"
      ? ["-loop", "0"]
      : ["-frames:v", "1", "-c:v", "mjpeg", "-q:v", tiles ? "6" : "4", "-pix_fmt", "yuvj420p"];
  return ffmpegArguments({
    global: ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", "-filter_threads", "1"],
    inputs: [{ source: "pipe:0", format: "mp4", options: ["-threads", "1", "-protocol_whitelist", "pipe"] }],
    filter:
      form === "gif"
        ? `[0:v]${chain},split[a][b];[a]palettegen=max_colors=128[p];[b][p]paletteuse`
        : `[0:v]${chain}`,
    outputs: [
      {
        target: "pipe:1",
        format: form === "gif" ? "gif" : "image2pipe",
        options: [...options, "-an", "-threads", "1", ...(form === "gif" ? [] : ["-vsync", "passthrough"])],
      },
    ],
  });
}

function scaled({ width, height, fit }: Pick<PictureJob, "width" | "height" | "fit">): string[] {
  // What is not square is shown as it is meant to be.
  const square = "scale=w=trunc(iw*sar/2)*2:h=ih,setsar=1";
  if (width === undefined && height === undefined) return [square];
  if (width === undefined || height === undefined) return [square, `scale=${width ?? -2}:${height ?? -2}`];
  const box = `scale=${width}:${height}`;
  switch (fit) {
    case "scale":
      return [square, box, "setsar=1"];
    case "clip":
      return [square, `${box}:force_original_aspect_ratio=decrease:force_divisible_by=2`];
    case "crop":
      return [square, `${box}:force_original_aspect_ratio=increase`, `crop=${width}:${height}`];
    case "fill":
      return [square, `${box}:force_original_aspect_ratio=decrease`, `pad=${width}:${height}:-1:-1`];
  }
}
