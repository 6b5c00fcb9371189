import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodersIn, ffmpegArguments, pasteable, probeFfmpeg, testPattern, versionIn } from "./ffmpeg.ts";

test("one input on standard input becomes three outputs on pipes of their own", () => {
  const rung = (target: string, height: number) => ({
    target,
    format: "flv",
    options: ["-map", "0:v", "-vf", `scale=-2:${height}`, "-c:v", "libx264"],
  });
  expect(
    ffmpegArguments({
      inputs: [{ source: "pipe:0", format: "live_flv", options: ["-probesize", "32768"] }],
      outputs: [
        rung("pipe:3", 480),
        rung("pipe:4", 360),
        { target: "pipe:5", format: "flv", options: ["-c:a", "copy"] },
      ],
    }).join(" "),
  ).toBe(
    "-hide_banner -nostdin -nostats -loglevel warning -probesize 32768 -f live_flv -i pipe:0" +
      " -f flv -map 0:v -vf scale=-2:480 -c:v libx264 pipe:3" +
      " -f flv -map 0:v -vf scale=-2:360 -c:v libx264 pipe:4 -f flv -c:a copy pipe:5",
  );
});

test("the test pattern is a moving picture with a tone, a keyframe every two seconds, in real time", () => {
  expect(testPattern({ url: "rtmp://127.0.0.1:1935/live/key" }).join(" ")).toBe(
    "-hide_banner -nostdin -nostats -loglevel warning" +
      " -re -f lavfi -i testsrc2=size=1280x720:rate=30 -re -f lavfi -i sine=frequency=330:beep_factor=4:sample_rate=48000" +
      " -f flv -c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 60 -keyint_min 60 -sc_threshold 0" +
      " -b:v 1500k -maxrate 1500k -bufsize 1500k -c:a aac -b:a 96k -ac 2 -flvflags no_duration_filesize" +
      " rtmp://127.0.0.1:1935/live/key",
  );
});

test("with a font the wall clock is drawn", () => {
  expect(testPattern({ url: "rtmp://h/live/k", fontFile: "/fonts/Mono.ttf" })).toContain(
    "testsrc2=size=1280x720:rate=30,drawtext=fontfile=/fonts/Mono.ttf:text='%{localtime\\:%X}'" +
      ":fontsize=48:fontcolor=white:box=1:boxborderw=12:boxcolor=black@0.6:x=(w-tw)/2:y=h-96",
  );
});

test("the command can be pasted into a shell", () => {
  expect(pasteable("/usr/bin/ffmpeg", ["-i", "pipe:0", "-vf", "select='key'", "pipe:3", "pipe:4"])).toBe(
    "/usr/bin/ffmpeg -i pipe:0 -vf 'select='\\''key'\\''' pipe:3 pipe:4 <in.flv 3>out3.flv 4>out4.flv",
  );
});

test.for([
  { said: "ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026", version: { major: 5, minor: 1 } },
  { said: "ffmpeg version n6.1.1 Copyright", version: { major: 6, minor: 1 } },
  { said: "ffmpeg version 7.0.2-static https://johnvansickle.com/", version: { major: 7, minor: 0 } },
  { said: "ffmpeg version 4.4.2-0ubuntu0.22.04.1", version: { major: 4, minor: 4 } },
  { said: "ffmpeg version N-118000-g1234abcd Copyright", version: { major: 99, minor: 0 } },
])("'$said' is $version.major.$version.minor", ({ said, version }) => {
  expect(versionIn(said)).toEqual(version);
});

test("encoders are the names in ffmpeg's list", () => {
  const list = [
    "Encoders:",
    " V..... = Video",
    " ------",
    " V....D libx264              libx264 H.264 / AVC (codec h264)",
    " V....D h264_nvenc           NVIDIA NVENC H.264 encoder (codec h264)",
    " V....D libaom-av1           libaom AV1 (codec av1)",
    " A....D aac                  AAC (Advanced Audio Coding)",
  ].join("\n");
  expect([...encodersIn(list)]).toEqual(["libx264", "h264_nvenc", "libaom-av1", "aac"]);
});

test.for([
  {
    name: "too old",
    version: "4.4.2",
    encoders: " V....D libx264  x",
    says: "ffmpeg 4.4 is too old: install 5 or newer",
  },
  {
    name: "without x264",
    version: "6.1",
    encoders: " V....D mpeg4  x",
    says: "this ffmpeg has no libx264 encoder: install a build with it",
  },
])("an ffmpeg $name is refused with what to do", async ({ version, encoders, says }) => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-ffmpeg-"));
  const program = join(folder, "ffmpeg");
  try {
    await writeFile(
      program,
      `#!/bin/sh\n[ "$2" = -version ] && echo "ffmpeg version ${version}" || echo "${encoders}"\n`,
    );
    await chmod(program, 0o755);
    await expect(probeFfmpeg(program)).rejects.toThrow(says);
    await expect(probeFfmpeg(join(folder, "none"))).rejects.toThrow("does not run");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
