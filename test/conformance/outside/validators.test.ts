import { execFileSync } from "node:child_process";
import { describe, expect, test, vi } from "vitest";
import { type Remuxed, remux } from "../../support/remux.ts";
import { ask, findJudge, judges, type Served } from "./judges.ts";

vi.setConfig({ testTimeout: 60_000 });

const sources: { name: string; input: readonly string[]; perChunk: { video: number; audio: number } }[] = [
  {
    name: "H.264 High with B-frames and AAC, a frame of video and four of sound a chunk",
    input: ["-c:v", "libx264", "-bf", "3", "-g", "30", "-c:a", "aac"],
    perChunk: { video: 1, audio: 4 },
  },
  {
    name: "H.264 Baseline and AAC at 44.1 kHz, many frames a chunk",
    input: ["-c:v", "libx264", "-profile:v", "baseline", "-g", "30", "-c:a", "aac", "-ar", "44100"],
    perChunk: { video: 15, audio: 23 },
  },
];

for (const judge of judges) {
  const program = findJudge(judge);
  describe.skipIf(!program)(judge.name, () => {
    for (const { name, input, perChunk } of sources)
      test(`finds nothing wrong with ${name}`, () => {
        const { video, audio } = remux(published(input), perChunk);
        expect(ask(judge, program!, servedOf(video!))).toEqual([]);
        expect(ask(judge, program!, servedOf(audio!))).toEqual([]);
      });

    test("finds what was broken on purpose", () => {
      const { video } = remux(published(sources[0]!.input), sources[0]!.perChunk);
      const served = servedOf(video!);
      expect(ask(judge, program!, broken(served))).not.toEqual([]);
    });
  });
}

/** Two movies in one file, and a fragment that says to be longer than it is. */
function broken({ init, segments: [first, ...rest], ...served }: Served): Served {
  const longer = new Uint8Array(first!);
  const at = Buffer.from(longer).indexOf("moof", Buffer.from(longer).indexOf("moof") + 4);
  longer[at - 1]! += 8;
  return { ...served, init: new Uint8Array(Buffer.concat([init, init])), segments: [longer, ...rest] };
}

/** Four seconds of a moving picture and a tone as an encoder publishes them. */
function published(codec: readonly string[]): Uint8Array {
  const picture = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=30"];
  const sound = ["-f", "lavfi", "-i", "sine=440:r=48000"];
  const flv = ["-pix_fmt", "yuv420p", "-flvflags", "no_duration_filesize", "-f", "flv", "pipe:1"];
  const args = ["-v", "error", ...picture, ...sound, "-t", "4", ...codec, ...flv];
  return new Uint8Array(execFileSync("ffmpeg", args, { maxBuffer: 64 << 20 }));
}

/** Segments begin with keyframes; those of sound every two seconds. */
function servedOf({ track, init, chunks }: Remuxed): Served {
  const segments: Uint8Array[][] = [];
  let from = 0;
  for (const chunk of chunks) {
    const cut = track.kind === "video" ? chunk.independent : chunk.dts - from >= 2 * track.timescale;
    if (segments.length === 0 || cut) {
      segments.push([]);
      from = chunk.dts;
    }
    segments.at(-1)!.push(chunk.bytes);
  }
  const whole = segments.map((run) => new Uint8Array(Buffer.concat(run)));
  return track.kind === "video"
    ? { init, segments: whole, size: { width: track.width, height: track.height } }
    : { init, segments: whole };
}
