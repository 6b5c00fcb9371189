import { expect, test } from "vitest";
import { type Hardware, hardware } from "../live/encoder.ts";
import { findFfmpeg } from "../supervisor/programs.ts";
import { ffmpegArguments, probeFfmpeg } from "./ffmpeg.ts";
import { settleEncoder, trialOf, tryHardware } from "./hardware.ts";

const kinds = Object.keys(hardware) as Hardware[];

test("a trial is a real encode of five pictures", () => {
  expect(ffmpegArguments(trialOf("nvenc")).join(" ")).toBe(
    "-hide_banner -nostdin -nostats -loglevel level+error -f lavfi -i testsrc2=size=320x240:rate=30" +
      " -y -f null -frames:v 5 -vf format=nv12 -c:v h264_nvenc -",
  );
  expect(ffmpegArguments(trialOf("vaapi")).join(" ")).toBe(
    "-hide_banner -nostdin -nostats -loglevel level+error -vaapi_device /dev/dri/renderD128" +
      " -f lavfi -i testsrc2=size=320x240:rate=30 -y -f null -frames:v 5 -vf format=nv12,hwupload -c:v h264_vaapi -",
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
