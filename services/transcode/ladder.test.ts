import fc from "fast-check";
import { expect, test } from "vitest";
import type { LadderChoice, PictureCodec, Rung, RungWish, Source } from "../live/ladder.ts";
import { ffmpegArguments } from "./ffmpeg.ts";
import { commandFor, firstToGo, planLadder, planRungs } from "./ladder.ts";

const source = (width: number, height: number, more: Partial<Source> = {}): Source => ({
  width,
  height,
  frameRate: 30,
  codec: "avc1.64001f",
  ...more,
});

test.for([
  { name: "720p", source: source(1280, 720), rungs: "480p 854x480, 360p 640x360" },
  { name: "1080p", source: source(1920, 1080), rungs: "720p 1280x720, 480p 854x480, 360p 640x360" },
  { name: "portrait", source: source(720, 1280), rungs: "480p 480x854, 360p 360x640" },
  { name: "an odd size", source: source(1279, 719), rungs: "480p 854x480, 360p 640x360" },
  { name: "4:3", source: source(640, 480), rungs: "360p 480x360" },
  { name: "a square", source: source(800, 800), rungs: "720p 720x720, 480p 480x480, 360p 360x360" },
  { name: "cinema", source: source(1920, 800), rungs: "720p 1728x720, 480p 1152x480, 360p 864x360" },
  { name: "a laptop's screen", source: source(1366, 768), rungs: "480p 854x480, 360p 640x360" },
  { name: "a source as small as the last rung", source: source(640, 360), rungs: "" },
  { name: "no size at all", source: source(0, 0), rungs: "" },
])("$name becomes: $rungs", (c) => {
  const rungs = planLadder(c.source);
  expect(rungs.map(({ name, width, height }) => `${name} ${width}x${height}`).join(", ")).toBe(c.rungs);
});

test.for<{ choice: LadderChoice; rungs: string }>([
  { choice: "full", rungs: "720p 480p 360p 240p" },
  { choice: "light", rungs: "480p" },
  { choice: "none", rungs: "" },
  { choice: [{ height: 1080 }, { height: 480 }], rungs: "480p" },
  { choice: [{ height: 540 }, { height: 1000, kbps: 900 }], rungs: "1000p 540p" },
  { choice: [{ height: 480, codec: "h264" }], rungs: "480p" },
  {
    choice: [{ height: 360 }, { height: 480, codec: "av1" }, { height: 480 }, { height: 360, codec: "hevc" }],
    rungs: "480p 480pav1 360p 360phevc",
  },
])("a live input that chooses $choice has $rungs", ({ choice, rungs }) => {
  expect(
    planLadder(source(1920, 1000), choice)
      .map(({ name }) => name)
      .join(" "),
  ).toBe(rungs);
});

test.for([
  {
    name: "576 lines wide",
    from: source(720, 576, { pixelAspect: [64, 45] }),
    rungs: "480p 854x480, 360p 640x360",
  },
  {
    name: "576 lines",
    from: source(720, 576, { pixelAspect: [16, 15] }),
    rungs: "480p 640x480, 360p 480x360",
  },
  {
    name: "1440x1080",
    from: source(1440, 1080, { pixelAspect: [4, 3] }),
    rungs: "720p 1280x720, 480p 854x480, 360p 640x360",
  },
] as const)("pixels that are not square become square: $name -> $rungs", ({ from, rungs }) => {
  expect(
    planLadder(from)
      .map(({ name, width, height }) => `${name} ${width}x${height}`)
      .join(", "),
  ).toBe(rungs);
});

test.for([
  { from: 60, fps: 30, rate: 30, most: 30 },
  { from: 60, fps: 50, rate: 30, most: 30 },
  { from: 59.94, fps: 30, rate: 29.97, most: 29.97 },
  { from: 30, fps: 30, rate: 30, most: undefined },
  { from: 30, fps: 60, rate: 30, most: undefined },
  { from: 50, fps: 10, rate: 10, most: 10 },
  { from: undefined, fps: 30, rate: undefined, most: 30 },
])("$from frames a second with at most $fps wanted are $rate", ({ from, fps, rate, most }) => {
  const [rung] = planLadder(source(1280, 720, { frameRate: from }), [{ height: 360, fps }]);
  expect([rung!.frameRate, rung!.maxFrameRate]).toEqual([rate, most]);
});

test.for([
  { name: "as the profile says", kbps: 6000, rungs: [1200, 700] },
  { name: "as the profile says while nothing is measured", kbps: undefined, rungs: [1200, 700] },
  { name: "by its share of a poor source", kbps: 1000, rungs: [545, 354] },
  { name: "never next to nothing", kbps: 50, rungs: [100, 100] },
])("bits are given $name", ({ kbps, rungs }) => {
  expect(planLadder(source(1280, 720, { kbps })).map(({ videoKbps }) => videoKbps)).toEqual(rungs);
});

test.for([
  { from: 60, rates: [60, 30, 30], thinned: [undefined, 30, 30], kbps: [3500, 1200, 700] },
  { from: 50, rates: [50, 25, 25], thinned: [undefined, 25, 25], kbps: [3500, 1200, 700] },
  { from: 59.94, rates: [59.94, 29.97, 29.97], thinned: [undefined, 29.97, 29.97], kbps: [3500, 1200, 700] },
  { from: 30, rates: [30, 30, 30], thinned: [undefined, undefined, undefined], kbps: [2500, 1200, 700] },
  {
    from: undefined,
    rates: [undefined, undefined, undefined],
    thinned: [undefined, undefined, undefined],
    kbps: [2500, 1200, 700],
  },
])("from $from frames a second the rungs have $rates", ({ from, rates, thinned, kbps }) => {
  const rungs = planLadder(source(1920, 1080, { frameRate: from }));
  expect(rungs.map(({ frameRate }) => frameRate)).toEqual(rates);
  expect(rungs.map(({ maxFrameRate }) => maxFrameRate)).toEqual(thinned);
  expect(rungs.map(({ videoKbps }) => videoKbps)).toEqual(kbps);
});

test.for([
  { name: "HEVC", codec: "hvc1.1.6.L93.B0" },
  { name: "AV1", codec: "av01.0.05M.08" },
  { name: "H.264 in 10 bit", codec: "avc1.6e001f" },
  { name: "H.264 in 4:2:2", codec: "avc1.7a001f" },
])("$name comes at its own size first, for browsers that do not play it", ({ codec }) => {
  const [first, second] = planLadder(source(1280, 720, { codec }));
  expect(first).toMatchObject({ name: "720p", width: 1280, height: 720, codecs: "avc1.64001f" });
  expect(second).toMatchObject({ name: "480p" });
});

test("a rung in another codec of the source's own size does not stand for the one that every browser plays", () => {
  const planned = planLadder(source(1280, 720, { codec: "hvc1.1.6.L93.B0" }), [
    { height: 720, codec: "av1" },
  ]);
  expect(planned.map(({ name, codec }) => `${name} ${codec}`)).toEqual(["720p h264", "720pav1 av1"]);
});

test("a machine without time gives up what not every browser plays, then what is largest, and sound last", () => {
  const left: Rung[] = planRungs(source(1920, 1080, { sounds: ["ac-3"] }), [
    { height: 720 },
    { height: 480, codec: "vp9" },
    { height: 360, codec: "av1" },
    { height: 240 },
  ]);
  const order: string[] = [];
  while (left.length > 0) {
    const gone = firstToGo(left);
    order.push(gone.name);
    left.splice(left.indexOf(gone), 1);
  }
  expect(order).toEqual(["480pvp9", "360pav1", "720p", "240p", "aac"]);
});

// What ffmpeg 5.1 and 7.0 write of them with the words below.
test.for([
  { width: 96, height: 96, rate: 30, hevc: "hvc1.1.6.L30.90", av1: "av01.0.00M.08", vp9: "vp09.00.10.08" },
  { width: 256, height: 144, rate: 30, hevc: "hvc1.1.6.L60.90", av1: "av01.0.00M.08", vp9: "vp09.00.10.08" },
  { width: 426, height: 240, rate: 30, hevc: "hvc1.1.6.L60.90", av1: "av01.0.00M.08", vp9: "vp09.00.20.08" },
  { width: 426, height: 240, rate: 60, hevc: "hvc1.1.6.L63.90", av1: "av01.0.00M.08", vp9: "vp09.00.20.08" },
  { width: 640, height: 360, rate: 30, hevc: "hvc1.1.6.L63.90", av1: "av01.0.01M.08", vp9: "vp09.00.21.08" },
  { width: 854, height: 480, rate: 50, hevc: "hvc1.1.6.L93.90", av1: "av01.0.04M.08", vp9: "vp09.00.30.08" },
  {
    width: 1280,
    height: 720,
    rate: 60,
    hevc: "hvc1.1.6.L120.90",
    av1: "av01.0.05M.08",
    vp9: "vp09.00.31.08",
  },
  {
    ...{ width: 1280, height: 720, rate: 30, kbps: 12_000 },
    ...{ hevc: "hvc1.1.6.L123.90", av1: "av01.0.05M.08", vp9: "vp09.00.31.08" },
  },
  {
    ...{ width: 1920, height: 1080, rate: 60 },
    ...{ hevc: "hvc1.1.6.L123.90", av1: "av01.0.08M.08", vp9: "vp09.00.40.08" },
  },
  {
    ...{ width: 3840, height: 2160, rate: 30 },
    ...{ hevc: "hvc1.1.6.L150.90", av1: "av01.0.12M.08", vp9: "vp09.00.50.08" },
  },
])("$width x $height at $rate says $hevc, $av1 and $vp9 before it exists", (c) => {
  const { width, height, rate } = c;
  const wish = (codec: PictureCodec) => ({ height, codec, ...("kbps" in c && { kbps: c.kbps }) });
  const planned = planLadder(source(width, height, { frameRate: rate }), [
    wish("hevc"),
    wish("av1"),
    wish("vp9"),
  ]);
  expect(planned.map(({ codecs }) => codecs)).toEqual([c.hevc, c.av1, c.vp9]);
});

test.for([
  { sounds: ["ac-3"], rungs: "480p 360p aac" },
  { sounds: ["opus", "ec-3"], rungs: "480p 360p aac" },
  { sounds: ["mp4a.40.42"], rungs: "480p 360p aac" },
  { sounds: ["mp4a.40.2"], rungs: "480p 360p" },
  { sounds: ["opus", "mp4a.40.5"], rungs: "480p 360p" },
  { sounds: [], rungs: "480p 360p" },
  { sounds: undefined, rungs: "480p 360p" },
  { sounds: ["fLaC"], choice: "none", rungs: "" },
  { sounds: ["fLaC"], choice: "light", small: true, rungs: "aac" },
] as const)("with sound in $sounds there is $rungs", ({ sounds, choice, small, rungs }) => {
  const [width, height] = small ? [320, 180] : [1280, 720];
  const planned = planRungs(source(width, height, { sounds }), choice);
  expect(planned.map(({ name }) => name).join(" ")).toBe(rungs);
});

test.for([
  { size: source(1280, 720), choice: [{ height: 480, kbps: 1200 }], codecs: "avc1.64001f" },
  { size: source(640, 480), choice: [{ height: 360, kbps: 700 }], codecs: "avc1.64001e" },
  { size: source(2560, 1440), choice: [{ height: 1080, kbps: 4500 }], codecs: "avc1.640028" },
  {
    size: source(2560, 1440, { frameRate: 60 }),
    choice: [{ height: 1080, kbps: 4500 }],
    codecs: "avc1.64002a",
  },
])("a rung of $choice.0.height lines says $codecs before it exists", ({ size, choice, codecs }) => {
  expect(planLadder(size, choice)[0]!.codecs).toBe(codecs);
});

test("every rung is even, smaller than the source, unlike the others and honest about its bits", () => {
  const side = fc.integer({ min: 1, max: 4320 });
  const rate = fc.option(fc.integer({ min: 1, max: 120 }), { nil: undefined });
  const kbps = fc.option(fc.integer({ min: 1, max: 50_000 }), { nil: undefined });
  fc.assert(
    fc.property(side, side, rate, kbps, (width, height, frameRate, sourceKbps) => {
      const rungs = planLadder(source(width, height, { frameRate, kbps: sourceKbps }), "full");
      expect(new Set(rungs.map(({ name }) => name)).size).toBe(rungs.length);
      for (const rung of rungs) {
        expect((rung.width % 2) + (rung.height % 2)).toBe(0);
        expect(Math.min(rung.width, rung.height)).toBeLessThan(Math.min(width, height));
        expect(rung.bandwidth.peak).toBeGreaterThan(rung.bandwidth.average);
        expect(rung.bandwidth.average).toBeGreaterThanOrEqual(rung.videoKbps * 1000);
      }
    }),
  );
});

const rungs = planLadder(source(1280, 720, { kbps: 3000 }));
const commandLine = (major: number, minor: number, of: readonly Rung[] = rungs, codec = "avc1.64001f") =>
  ffmpegArguments(commandFor(of, { codec }, { major, minor })).join(" ");
const golden = (timing: string) =>
  "-hide_banner -nostdin -nostats -loglevel level+warning -copyts -filter_complex_threads 1" +
  " -flags low_delay -probesize 32768 -analyzeduration 0 -fpsprobesize 0 -threads 1 -f flv -i pipe:0" +
  " -filter_complex [0:v]scale=854:480:flags=fast_bilinear,setsar=1,format=yuv420p,split=2[b0][s1];[b0]format=yuv420p[v0];" +
  "[s1]scale=640:360:flags=fast_bilinear,setsar=1,format=yuv420p[v1]" +
  " -f flv -map [v0] -c:v libx264 -preset superfast -partitions none -tune zerolatency -profile:v high -level:v 3.1 -threads 1" +
  " -b:v 1200k -maxrate 1296k -bufsize 720k -force_key_frames source -sc_threshold 0 -g 600 -a53cc 0" +
  ` ${timing} passthrough -enc_time_base 1:1000` +
  " -flvflags no_duration_filesize+no_metadata+no_sequence_end -flush_packets 1 pipe:3" +
  " -f flv -map [v1] -c:v libx264 -preset superfast -partitions none -tune zerolatency -profile:v high -level:v 3.0 -threads 1" +
  " -b:v 700k -maxrate 756k -bufsize 420k -force_key_frames source -sc_threshold 0 -g 600 -a53cc 0" +
  ` ${timing} passthrough -enc_time_base 1:1000` +
  " -flvflags no_duration_filesize+no_metadata+no_sequence_end -flush_packets 1 pipe:4";

test.for([
  { version: "5.0", major: 5, minor: 0, timing: "-vsync" },
  { version: "5.1", major: 5, minor: 1, timing: "-fps_mode" },
  { version: "6.1", major: 6, minor: 1, timing: "-fps_mode" },
  { version: "7.0", major: 7, minor: 0, timing: "-fps_mode" },
  { version: "8.0", major: 8, minor: 0, timing: "-fps_mode" },
])("what ffmpeg $version is told for two rungs", ({ major, minor, timing }) => {
  expect(commandLine(major, minor)).toBe(golden(timing));
});

const codecWords = {
  hevc:
    "-c:v libx265 -preset ultrafast -tune zerolatency -forced-idr 1 -tag:v hvc1" +
    " -x265-params log-level=error:pools=1:frame-threads=1:open-gop=0:scenecut=0:min-keyint=1:high-tier=0:fps=30 -b:v 595k -maxrate 643k -bufsize 357k",
  av1: "-c:v libaom-av1 -usage realtime -cpu-used 8 -lag-in-frames 0 -threads 1 -b:v 525k -minrate 525k -maxrate 525k -bufsize 315k",
  vp9:
    "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 0 -auto-alt-ref 0 -threads 1" +
    " -b:v 595k -minrate 595k -maxrate 595k -bufsize 357k",
} as const;

test.for(
  (["hevc", "av1", "vp9"] as const).flatMap((codec) =>
    [
      { version: "5.0", major: 5, minor: 0, timing: "-vsync" },
      { version: "5.1", major: 5, minor: 1, timing: "-fps_mode" },
      { version: "6.1", major: 6, minor: 1, timing: "-fps_mode" },
      { version: "7.0", major: 7, minor: 0, timing: "-fps_mode" },
      { version: "8.0", major: 8, minor: 0, timing: "-fps_mode" },
    ].map((of) => ({ codec, ...of })),
  ),
)("what ffmpeg $version is told for a rung in $codec", ({ codec, major, minor, timing }) => {
  const planned = planLadder(source(1280, 720), [{ height: 360, codec }]);
  expect(commandLine(major, minor, planned)).toBe(
    "-hide_banner -nostdin -nostats -loglevel level+warning -copyts -filter_complex_threads 1" +
      " -flags low_delay -probesize 32768 -analyzeduration 0 -fpsprobesize 0 -threads 1 -f flv -i pipe:0" +
      " -filter_complex [0:v]scale=640:360:flags=fast_bilinear,setsar=1,format=yuv420p[v0]" +
      ` -f mp4 -map [v0] ${codecWords[codec]} -force_key_frames source -g 600 ${timing} passthrough -enc_time_base 1:1000` +
      " -movflags +cmaf+frag_every_frame+empty_moov+default_base_moof+skip_trailer+frag_discont" +
      " -flush_packets 1 -video_track_timescale 1000 pipe:3",
  );
});

test("a source that ffmpeg's FLV does not know goes in as CMAF", () => {
  for (const codec of ["hvc1.1.6.L93.90", "av01.0.04M.08", "vp09.00.31.08"])
    expect(commandLine(5, 1, rungs, codec)).toBe(golden("-fps_mode").replace("-f flv -i", "-f mp4 -i"));
});

const soundWords =
  " -f flv -map 0:a:0 -c:a aac -b:a 128k -ar 48000 -ac 2" +
  " -flvflags no_duration_filesize+no_metadata+no_sequence_end -flush_packets 1";

test("sound is an output of its own, and its source goes in as CMAF", () => {
  const planned = planRungs(source(1280, 720, { kbps: 3000, sounds: ["ac-3"] }));
  expect(commandLine(5, 1, planned)).toBe(
    `${golden("-fps_mode").replace("-f flv -i", "-f mp4 -i")}${soundWords} pipe:5`,
  );
});

test("of sound alone no picture is decoded", () => {
  const line = commandLine(5, 1, planRungs(source(320, 180, { sounds: ["ac-3"] })));
  expect(line.endsWith(` -threads 1 -f mp4 -i pipe:0${soundWords} pipe:3`)).toBe(true);
});

test("of a source with few keyframes one rung has its size, and all set keyframes by time", () => {
  const planned = planLadder(source(1280, 720, { frameRate: 60, sparse: true }), "light");
  expect(planned.map(({ name }) => name)).toEqual(["720p", "480p"]);
  const line = ffmpegArguments(
    commandFor(planned, { codec: "avc1.64001f", sparse: true }, { major: 5, minor: 1 }),
  ).join(" ");
  const stretch = (before: string) => `gt(floor((t+0.0005)/2.048),floor((${before}+0.0005)/2.048))`;
  expect(
    line.split(` -force_key_frames expr:isnan(prev_forced_t)+${stretch("prev_forced_t")} `),
  ).toHaveLength(3);
  expect(line).toContain(`[s1]select='isnan(prev_selected_t)+${stretch("prev_selected_t")}+gte(`);
});

test("one rung needs no split, and a thinned one keeps every keyframe", () => {
  const fast = planLadder(source(1920, 1080, { frameRate: 60 }));
  expect(commandLine(5, 1, fast.slice(1, 2))).toContain(
    " -filter_complex [0:v]select='isnan(prev_selected_t)+key+gte(t-prev_selected_t,0.0300)'," +
      "scale=854:480:flags=fast_bilinear,setsar=1,format=yuv420p[v0] -f flv -map [v0] ",
  );
});

test("a picture is made of the next larger one that has all of its frames", () => {
  const filter = (wishes: RungWish[]) => {
    const planned = planLadder(source(1920, 1080, { frameRate: 60 }), wishes);
    return commandFor(planned, { codec: "avc1.64002a" }, { major: 5, minor: 1 })
      .filter!.replaceAll(
        /:flags=fast_bilinear,setsar=1,format=yuv420p|isnan.*?(?=gte)|t-prev_selected_t,/g,
        "",
      )
      .split(";");
  };
  // Half the frames are left out once, behind the picture that has them all.
  expect(filter([{ height: 720 }, { height: 480 }, { height: 360 }])).toEqual([
    "[0:v]scale=1280:720,split=2[b0][s1]",
    "[b0]format=yuv420p[v0]",
    "[s1]select='gte(0.0300)',scale=854:480,split=2[b1][s2]",
    "[b1]format=yuv420p[v1]",
    "[s2]scale=640:360[v2]",
  ]);
  // A third of them is not in the half.
  expect(
    filter([
      { height: 720, fps: 30 },
      { height: 480, fps: 20 },
      { height: 360, fps: 60 },
    ]),
  ).toEqual([
    "[0:v]split=3[s0][s1][s2]",
    "[s0]select='gte(0.0300)',scale=1280:720[v0]",
    "[s1]select='gte(0.0450)',scale=854:480[v1]",
    "[s2]scale=640:360[v2]",
  ]);
});
