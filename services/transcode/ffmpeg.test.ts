import { expect, test } from "vitest";
import { ffmpegArguments, testPattern } from "./ffmpeg.ts";

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
