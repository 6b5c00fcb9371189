import { expect, test } from "vitest";
import { type Hardware, hardware } from "../live/encoder.ts";
import { findFfmpeg } from "../supervisor/programs.ts";
import { ffmpegArguments, probeFfmpeg } from "./ffmpeg.ts";
import { type Encoder, encodedBy, settleEncoder, trialOf, tryHardware } from "./hardware.ts";
import { commandFor, planLadder } from "./ladder.ts";

const kinds = Object.keys(hardware) as Hardware[];

const plan = planLadder({ width: 1280, height: 720, frameRate: 30, codec: "avc1.64001f" }).slice(1);
const told = (encoder: Encoder) =>
  ffmpegArguments(
    encodedBy(encoder, commandFor(plan, { codec: "avc1.64001f" }, { major: 6, minor: 1 })),
  ).join(" ");

test.for([
  {
    encoder: "nvenc",
    global: "",
    pixels: "format=nv12",
    words:
      "-c:v h264_nvenc -preset p3 -tune ull -zerolatency 1 -rc cbr -bf 0 -no-scenecut 1 -forced-idr 1 -profile:v high -level:v 3.0",
  },
  {
    encoder: "vaapi",
    global: " -vaapi_device /dev/dri/renderD128",
    pixels: "format=nv12,hwupload",
    words: "-c:v h264_vaapi -rc_mode CBR -bf 0 -async_depth 1 -profile:v high -level:v 3.0",
  },
  {
    encoder: "qsv",
    global: "",
    pixels: "format=nv12",
    words:
      "-c:v h264_qsv -preset veryfast -async_depth 1 -bf 0 -look_ahead 0 -forced_idr 1 -profile:v high -level:v 3.0",
  },
  {
    encoder: "videotoolbox",
    global: "",
    pixels: "format=nv12",
    words: "-c:v h264_videotoolbox -realtime 1 -prio_speed 1 -bf 0 -allow_sw 0 -profile:v high -level:v 3.0",
  },
] as const)("what ffmpeg is told for a rung by $encoder", ({ encoder, global, pixels, words }) => {
  expect(told(encoder)).toBe(
    `-hide_banner -nostdin -nostats -loglevel level+warning -copyts -filter_complex_threads 1${global}` +
      " -flags low_delay -probesize 32768 -analyzeduration 0 -fpsprobesize 0 -threads 1 -f flv -i pipe:0" +
      ` -filter_complex [0:v]scale=640:360:flags=fast_bilinear,setsar=1,${pixels}[v0] -f flv -map [v0] ${words}` +
      ` -b:v 700k -maxrate 756k -bufsize 420k -force_key_frames source -g 600${encoder === "vaapi" ? "" : " -a53cc 0"}` +
      " -fps_mode passthrough -enc_time_base 1:1000" +
      " -flvflags no_duration_filesize+no_metadata+no_sequence_end -flush_packets 1 pipe:3",
  );
});

test("rungs in other codecs stay with their own encoders beside those that hardware makes", () => {
  const source = { width: 1280, height: 720, frameRate: 30, codec: "avc1.64001f" };
  const mixed = planLadder(source, [
    { height: 480, codec: "av1" },
    { height: 360 },
    { height: 240, codec: "hevc" },
  ]);
  const command = commandFor(mixed, source, { major: 6, minor: 1 });
  const { filter, outputs } = encodedBy("vaapi", command);
  expect(filter!.match(/format=[\w,=]+\[v\d\]/g)).toEqual([
    "format=yuv420p[v0]",
    "format=nv12,hwupload[v1]",
    "format=yuv420p[v2]",
  ]);
  expect([outputs[0], outputs[2]]).toEqual([command.outputs[0], command.outputs[2]]);
  expect(outputs[1]!.options.join(" ")).toMatch(/^-map \[v1\] -c:v h264_vaapi -rc_mode CBR /);
});

test("software is told what it was", () => {
  expect(told("software")).toContain(
    "-c:v libx264 -preset superfast -partitions none -tune zerolatency -profile:v high",
  );
});

test("a trial is a real encode of five pictures in the same words", () => {
  expect(ffmpegArguments(trialOf("vaapi")).join(" ")).toBe(
    "-hide_banner -nostdin -nostats -loglevel level+error -vaapi_device /dev/dri/renderD128" +
      " -f lavfi -i testsrc2=size=320x240:rate=30 -y -filter_complex [0:v]format=nv12,hwupload[v0] -f null -map [v0]" +
      " -c:v h264_vaapi -rc_mode CBR -bf 0 -async_depth 1 -profile:v high -b:v 500k -frames:v 5 -",
  );
});

test.for(kinds)("%s works here or is refused with what to do", async (kind) => {
  const ffmpeg = await probeFfmpeg(findFfmpeg()!);
  const why = await tryHardware(ffmpeg.program, kind);
  const settled = settleEncoder(ffmpeg, kind);
  if (why === undefined) return expect(await settled).toBe(kind);
  expect(why).not.toMatch(/^\[|\n/);
  await expect(settled).rejects.toThrow(
    `encoder is ${kind}, which does not work here (${why}): ${hardware[kind]}, or set encoder to auto or software`,
  );
});

test("auto takes what works, and software when nothing else does", async () => {
  const ffmpeg = await probeFfmpeg(findFfmpeg()!);
  const choice = await settleEncoder(ffmpeg, "auto");
  if (choice !== "software") return expect(await tryHardware(ffmpeg.program, choice)).toBeUndefined();
  expect(await settleEncoder(ffmpeg, "software")).toBe("software");
});
