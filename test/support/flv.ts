import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { FlvReader, type FlvTag } from "../../services/packager/flv.ts";

export interface MadeFlv {
  readonly tags: FlvTag[];
  readonly bitsPerSecond: number;
}

/** An encoded piece to be sent again and again: H.264 of `kbps` in GOPs of 2 s, and AAC, whole GOPs long. */
export async function makeFlv(options: {
  readonly seconds: number;
  readonly width: number;
  readonly height: number;
  readonly kbps: number;
}): Promise<MadeFlv> {
  const { seconds, width, height, kbps } = options;
  const folder = await mkdtemp(join(tmpdir(), "sluice-flv-"));
  const file = join(folder, "made.flv");
  try {
    await promisify(execFile)("ffmpeg", [
      ...["-hide_banner", "-loglevel", "error", "-f", "lavfi"],
      // Noise keeps the encoder at the rate that was asked for.
      ...["-i", `testsrc2=size=${width}x${height}:rate=30,noise=alls=12:allf=t`],
      ...["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", `${seconds}`],
      ...[
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-bf",
        "0",
        "-g",
        "60",
        "-sc_threshold",
        "0",
      ],
      ...["-b:v", `${kbps}k`, "-minrate", `${kbps}k`, "-maxrate", `${kbps}k`, "-bufsize", `${kbps}k`],
      ...["-c:a", "aac", "-b:a", "128k", "-ac", "2", "-f", "flv", file],
    ]);
    const bytes = await readFile(file);
    return { tags: new FlvReader().push(bytes), bitsPerSecond: (bytes.length * 8) / seconds };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
