import {
  isPicture,
  type LadderChoice,
  type LadderName,
  type PictureCodec,
  type PictureRung,
  pictureCodecs,
  type Rung,
  type RungWish,
  type SoundRung,
  type Source,
} from "../live/ladder.ts";
import { keyGridMs } from "../packager/timeline.ts";
import { shownSize } from "../packager/track.ts";
import type { Command, Version } from "./ffmpeg.ts";

/** What a height usually takes in H.264 at 30 frames a second, highest first. */
const usual = [
  { height: 2160, kbps: 14_000 },
  { height: 1440, kbps: 7_500 },
  { height: 1080, kbps: 4500 },
  { height: 720, kbps: 2500 },
  { height: 480, kbps: 1200 },
  { height: 360, kbps: 700 },
  { height: 240, kbps: 350 },
  { height: 96, kbps: 100 },
] as const;

/** Ladders by name. `default` is what two cores encode beside everything else. */
const profiles: Readonly<Record<LadderName, readonly RungWish[]>> = {
  default: [{ height: 720 }, { height: 480 }, { height: 360 }],
  full: [{ height: 1080 }, { height: 720 }, { height: 480 }, { height: 360 }, { height: 240 }],
  light: [{ height: 480 }],
  none: [],
};

/** All that is made of `source`: its pictures (`planLadder`), and sound that every browser plays where the source has none. */
export function planRungs(source: Source, choice: LadderChoice = "default"): Rung[] {
  const { sounds = [] } = source;
  const silent = choice === "none" || sounds.length === 0 || sounds.some(isHeardEverywhere);
  return silent ? planLadder(source, choice) : [...planLadder(source, choice), soundRung];
}

/**
 * The pictures for `source`, highest first; the source itself is never among them, and nothing is larger than it is. A source that
 * not every browser plays, or that has few keyframes, comes again at its own size, as the first, unless nothing at all is to
 * be encoded.
 */
export function planLadder(source: Source, choice: LadderChoice = "default"): PictureRung[] {
  const shown = shownSize(source);
  const short = Math.min(shown.width, shown.height);
  if (!(short >= minSide) || choice === "none") return [];
  const named = typeof choice === "string";
  // Who names each rung may want the source's own height again, with fewer bits.
  const wishes: RungWish[] = (named ? profiles[choice] : choice).filter(
    ({ height }) => height <= short * (named ? worthwhile : 1),
  );
  const own = ({ height, codec = "h264" }: RungWish) => height === even(short) && codec === "h264";
  if ((source.sparse || !playsEverywhere(source.codec)) && !wishes.some(own))
    wishes.push({ height: even(short) });
  const place = ({ codec = "h264" }: RungWish) => pictureCodecs.indexOf(codec);
  wishes.sort((a, b) => b.height - a.height || place(a) - place(b));
  return wishes.map((wish) => planRung(source, wish, wish.height < wishes[0]!.height));
}

function planRung(
  source: Source,
  { height, fps, kbps, codec = "h264" }: RungWish,
  halved: boolean,
): PictureRung {
  const size = scaled(shownSize(source), height);
  const { frameRate: from } = source;
  const fast = from !== undefined && from > fastFrameRate;
  // Motion is worth its bits where there are enough of them.
  const most = fps ?? (halved && fast ? from / 2 : undefined);
  // Every second or third frame: to leave out one of six would stutter.
  const share = most === undefined || from === undefined ? 1 : Math.ceil(from / most - 0.02);
  const frameRate = from === undefined ? undefined : from / share;
  const maxFrameRate = share > 1 ? frameRate : from === undefined ? most : undefined;
  const share30 = frameRate !== undefined && frameRate > fastFrameRate ? fastShare : 1;
  const full = usualKbps(height) * share30 * shareOf[codec];
  const videoKbps = Math.max(minKbps, Math.round(Math.min(kbps ?? full, capOf(source, size))));
  return {
    name: `${height}p${codec === "h264" ? "" : codec}`,
    ...size,
    frameRate,
    maxFrameRate,
    codec,
    codecs: codecsOf(codec, size, frameRate, videoKbps),
    videoKbps,
    bandwidth: bandwidthOf(codec, videoKbps, frameRate),
  };
}

/**
 * One ffmpeg for a whole ladder: the source as FLV or CMAF on standard input, each rung as FLV on a pipe of its own from 3 on, in the
 * order of `rungs`. Every rung has the source's timestamps, and its keyframes where the source has them, or by time (`keyGridMs`)
 * where that has too few.
 */
export function commandFor(
  rungs: readonly Rung[],
  source: Pick<Source, "codec" | "sparse">,
  version: Version,
): Command {
  const pictures = rungs.filter(isPicture);
  const keys = source.sparse ? `expr:isnan(prev_forced_t)+${newStretch("prev_forced_t")}` : "source";
  return {
    global: [
      "-hide_banner",
      "-nostdin",
      "-nostats",
      "-loglevel",
      "level+warning",
      "-copyts",
      "-filter_complex_threads",
      "1",
    ],
    inputs: [
      {
        source: "pipe:0",
        format: readsAsFlv(rungs, source) ? "flv" : "mp4",
        // Without these ffmpeg looks at seconds of the source before it begins. `-fflags nobuffer` would be shorter, but throws
        // away what was looked at, and with it the first GOP. One decoder thread: each more delays by a frame.
        options: words("-flags low_delay -probesize 32768 -analyzeduration 0 -fpsprobesize 0 -threads 1"),
      },
    ],
    ...(pictures.length > 0 && { filter: filterFor(pictures, source.sparse === true) }),
    outputs: rungs.map((rung, index) => ({
      target: `pipe:${firstPipe + index}`,
      format: writesFlv(rung) ? "flv" : "mp4",
      options: isPicture(rung) ? pictureWords(rung, pictures.indexOf(rung)) : soundWords(rung),
    })),
  };

  function pictureWords(rung: PictureRung, index: number): string[] {
    return words(
      `-map [v${index}] ${encoderWords(rung)}`,
      rateWords(rung),
      // A keyframe nowhere else: neither at a cut in the picture nor, within reason, by count.
      `-force_key_frames ${keys}${rung.codec === "h264" ? " -sc_threshold 0" : ""} -g 600`,
      // The origin gives each picture the captions of the one that it was made of, also where frames are left out.
      ...(rung.codec === "h264" ? ["-a53cc 0"] : []),
      // The encoder's own time base of 1/fps would move timestamps by up to half a frame.
      `${version.major > 5 || version.minor >= 1 ? "-fps_mode" : "-vsync"} passthrough -enc_time_base 1:1000`,
      writesFlv(rung) ? flvWords : cmafWords,
    );
  }
}

/** What encodes each codec of pictures. */
export const encoderOf: Readonly<Record<PictureCodec, string>> = {
  h264: "libx264",
  hevc: "libx265",
  // SVT-AV1 heeds no forced keyframes under ffmpeg 5.
  av1: "libaom-av1",
  vp9: "libvpx-vp9",
};

/** Each without a frame of delay, and with keyframes that players can begin with. */
function encoderWords(rung: PictureRung): string {
  const encoder = `-c:v ${encoderOf[rung.codec]}`;
  switch (rung.codec) {
    case "h264":
      // Blocks smaller than a macroblock cost 2.4 % more instructions and no picture looks better for them at these rates.
      return `${encoder} -preset superfast -partitions none -tune zerolatency -profile:v high -level:v ${levelOf(rung)} -threads 1`;
    case "hevc":
      return `${encoder} -preset ultrafast -tune zerolatency -forced-idr 1 -tag:v hvc1 -x265-params log-level=error:pools=1:frame-threads=1:open-gop=0:scenecut=0:min-keyint=1:high-tier=0:fps=${rung.frameRate ?? 30}`;
    case "av1":
      return `${encoder} -usage realtime -cpu-used 8 -lag-in-frames 0 -threads 1`;
    case "vp9":
      return `${encoder} -deadline realtime -cpu-used 8 -lag-in-frames 0 -auto-alt-ref 0 -threads 1`;
  }
}

/** The encoders of AV1 and VP9 hold a limit only where it is the rate itself, above and below. */
function rateWords({ codec, videoKbps }: PictureRung): string {
  const constant = codec === "av1" || codec === "vp9";
  const limit = constant
    ? `-minrate ${videoKbps}k -maxrate ${videoKbps}k`
    : `-maxrate ${maxrateOf(videoKbps)}k`;
  return `-b:v ${videoKbps}k ${limit} -bufsize ${bufferOf(videoKbps)}k`;
}

/** ffmpeg before 6.1 writes H.264 and AAC as FLV, and nothing else. */
export function writesFlv({ codec }: Rung): boolean {
  return codec === "h264" || codec === "aac";
}

const cmafWords =
  "-movflags +cmaf+frag_every_frame+empty_moov+default_base_moof+skip_trailer+frag_discont -flush_packets 1 -video_track_timescale 1000";

function soundWords({ channels, kbps }: SoundRung): string[] {
  return words(`-map 0:a:0 -c:a aac -b:a ${kbps}k -ar 48000 -ac ${channels}`, flvWords);
}

const flvWords = "-flvflags no_duration_filesize+no_metadata+no_sequence_end -flush_packets 1";

/**
 * What a machine gives up first that has no time for all of these: pictures that not every browser plays, for they cost most, then
 * the largest. Sound costs next to nothing.
 */
export function firstToGo(rungs: readonly Rung[]): Rung {
  const pictures = rungs.filter(isPicture);
  return pictures.find(({ codec }) => codec !== "h264") ?? pictures[0] ?? rungs[0]!;
}

/** What of the source these rungs are made of. */
export function needs(rungs: readonly Rung[]): { readonly video: boolean; readonly audio: boolean } {
  return { video: rungs.some(isPicture), audio: !rungs.every(isPicture) };
}

/**
 * Whether ffmpeg takes what these rungs need of the source as FLV; before 6.1 that is H.264 alone, and all others reach it as
 * CMAF, as do those whose sound is wanted.
 */
export function readsAsFlv(rungs: readonly Rung[], { codec }: Pick<Source, "codec">): boolean {
  return codec.startsWith("avc1") && !needs(rungs).audio;
}

/** Sound that every browser plays. AAC-LC in two channels of 48 kHz; a chunk has four frames. */
const soundRung: SoundRung = {
  name: "aac",
  codec: "aac",
  codecs: "mp4a.40.2",
  channels: 2,
  kbps: 128,
  bandwidth: { peak: 180_000, average: 140_000 },
};

/** AAC-LC, HE-AAC and HE-AAC v2. */
const isHeardEverywhere = (codec: string) => /^mp4a\.40\.(2|5|29)$/.test(codec);

interface Size {
  readonly width: number;
  readonly height: number;
}

/** The first descriptor after standard error: rung n is on this plus n. */
export const firstPipe = 3;

/** A rung that is hardly smaller than its source costs as much as any and helps nobody. */
const worthwhile = 0.9;
/** What each codec needs of the bits of H.264, as these encoders make it in real time. */
const shareOf: Readonly<Record<PictureCodec, number>> = { h264: 1, hevc: 0.85, av1: 0.75, vp9: 0.85 };
const minSide = 16;
const minKbps = 100;
/** Above this a rate counts as 50 or 60. */
const fastFrameRate = 31;
/** Twice the frames, each closer to the last, take this much of the bits of half as many. */
const fastShare = 1.4;

/** True at the first frame of a stretch of the grid, by ffmpeg's reckoning in seconds; half a millisecond is for its rounding. */
const newStretch = (before: string) =>
  `gt(floor((t+0.0005)/${keyGridMs / 1000}),floor((${before}+0.0005)/${keyGridMs / 1000}))`;

/**
 * Each picture from the next larger one where that has all of its frames: there is less to scale, and two steps of a scaler as
 * fast as this one are closer to the source than one long step.
 */
function filterFor(rungs: readonly PictureRung[], sparse: boolean): string {
  const key = sparse ? newStretch("prev_selected_t") : "key";
  const follows = rungs.map((rung, index) => index > 0 && hasAllOf(rungs[index - 1]!, rung));
  const scale = ({ width, height, maxFrameRate }: PictureRung, index: number) => {
    // By time, not by count, so that it begins again at each keyframe: none may be left out.
    const thin =
      maxFrameRate === undefined || (follows[index] && rungs[index - 1]!.maxFrameRate !== undefined)
        ? ""
        : `select='isnan(prev_selected_t)+${key}+gte(t-prev_selected_t,${(0.9 / maxFrameRate).toFixed(4)})',`;
    return `[s${index}]${thin}scale=${width}:${height}:flags=fast_bilinear,setsar=1,format=yuv420p`;
  };
  const branches = rungs.map((rung, index) =>
    follows[index + 1]
      ? `${scale(rung, index)},split=2[b${index}][s${index + 1}];[b${index}]format=yuv420p[v${index}]`
      : `${scale(rung, index)}[v${index}]`,
  );
  const first = follows.flatMap((one, index) => (one ? [] : [`[s${index}]`]));
  if (first.length === 1) return branches.join(";").replace("[s0]", "[0:v]");
  return [`[0:v]split=${first.length}${first.join("")}`, ...branches].join(";");
}

function hasAllOf(larger: PictureRung, { width, maxFrameRate }: PictureRung): boolean {
  return larger.width >= width && (larger.maxFrameRate === undefined || larger.maxFrameRate === maxFrameRate);
}

/** H.264 in 8 bit 4:2:0: Baseline, Main, Extended or High. */
const playsEverywhere = (codec: string) => /^avc1\.(42|4d|58|64)/i.test(codec);

/** 4:2:0 has one colour sample for two pixels each way. */
const even = (pixels: number) => Math.max(2, 2 * Math.round(pixels / 2));

function scaled({ width, height }: Size, short: number): Size {
  const share = short / Math.min(width, height);
  return { width: even(width * share), height: even(height * share) };
}

/** In between as the neighbours say. */
function usualKbps(height: number): number {
  const above = usual.findLast((step) => step.height >= height) ?? usual[0];
  const below = usual.find((step) => step.height <= height) ?? usual.at(-1)!;
  const share = above === below ? 0 : (height - below.height) / (above.height - below.height);
  return Math.round(below.kbps + share * (above.kbps - below.kbps));
}

/** A smaller picture needs less than its share of the bits would be, and never more than the source has. */
function capOf(source: Source, size: Size): number {
  if (!source.kbps) return Number.POSITIVE_INFINITY;
  return source.kbps * Math.min(1, (size.width * size.height) / (source.width * source.height)) ** 0.75;
}

const maxrateOf = (kbps: number) => Math.round(kbps * 1.08);
/** Kilobits that may come at once: a keyframe and little more. */
const bufferOf = (kbps: number) => Math.round(kbps * 0.6);

function bandwidthOf(codec: PictureCodec, kbps: number, frameRate = 30): Rung["bandwidth"] {
  // A chunk for each frame has about this much around it.
  const around = frameRate * 112 * 8;
  return {
    // rfc8216bis 4.4.6.2: the peak is over half a target duration and more. The rate control holds maxrate plus one buffer, that
    // of AV1 and VP9 less exactly.
    peak: Math.round(
      (codec === "av1" || codec === "vp9" ? kbps * 1.6 : maxrateOf(kbps) + bufferOf(kbps) / 2) * 1000 +
        around,
    ),
    // Rate control over a few seconds ends up to 3 % above what it is told; other encoders begin with more.
    average: Math.round(kbps * (codec === "h264" ? 1040 : 1120) + around),
  };
}

/** H.264 table A-1: level times ten, macroblocks a second, macroblocks a picture. Bit rates here stay far below its limits. */
const levels = [
  [30, 40_500, 1_620],
  [31, 108_000, 3_600],
  [32, 216_000, 5_120],
  [40, 245_760, 8_192],
  [42, 522_240, 8_704],
  [51, 983_040, 36_864],
  [52, 2_073_600, 36_864],
  [62, 16_711_680, 139_264],
] as const;

function levelFor({ width, height }: Size, frameRate = 30): number {
  const picture = Math.ceil(width / 16) * Math.ceil(height / 16);
  const level = levels.find(
    ([, second, whole]) => picture <= whole && picture * Math.ceil(frameRate) <= second,
  );
  return (level ?? levels.at(-1)!)[0];
}

/** HEVC table A.8 and A.9: level times 30, samples a picture, samples a second, kilobits a second in the main tier. */
const hevcLevels = [
  [30, 36_864, 552_960, 128],
  [60, 122_880, 3_686_400, 1_500],
  [63, 245_760, 7_372_800, 3_000],
  [90, 552_960, 16_588_800, 6_000],
  [93, 983_040, 33_177_600, 10_000],
  [120, 2_228_224, 66_846_720, 12_000],
  [123, 2_228_224, 133_693_440, 20_000],
  [150, 8_912_896, 267_386_880, 25_000],
  [153, 8_912_896, 534_773_760, 40_000],
  [156, 8_912_896, 1_069_547_520, 60_000],
] as const;
/** The level as CODECS has it, and samples a picture: these encoders heed nothing else, as they know of no frame rate. */
const pictureLevels = {
  vp9: [
    [10, 36_864],
    [11, 73_728],
    [20, 122_880],
    [21, 245_760],
    [30, 552_960],
    [31, 983_040],
    [40, 2_228_224],
    [50, 8_912_896],
  ],
  av1: [
    [0, 147_456],
    [1, 278_784],
    [4, 665_856],
    [5, 1_065_024],
    [8, 2_359_296],
    [12, 8_912_896],
  ],
} as const;

/** RFC 6381: what the configuration of this encoder will say. */
function codecsOf(codec: PictureCodec, size: Size, frameRate = 30, kbps: number): string {
  const picture = size.width * size.height;
  const two = (level: number, radix = 10) => level.toString(radix).padStart(2, "0");
  switch (codec) {
    case "h264":
      return `avc1.6400${two(levelFor(size, frameRate), 16)}`;
    case "hevc": {
      const fits = ([, whole, second, rate]: (typeof hevcLevels)[number]) =>
        picture <= whole && picture * frameRate <= second && maxrateOf(kbps) <= rate;
      return `hvc1.1.6.L${(hevcLevels.find(fits) ?? hevcLevels.at(-1)!)[0]}.90`;
    }
    case "av1":
    case "vp9": {
      const levels = pictureLevels[codec];
      const level = two((levels.find(([, whole]) => picture <= whole) ?? levels.at(-1)!)[0]);
      return codec === "av1" ? `av01.0.${level}M.08` : `vp09.00.${level}.08`;
    }
  }
}

const levelOf = ({ codecs }: PictureRung) => (Number.parseInt(codecs.slice(-2), 16) / 10).toFixed(1);

const words = (...lines: readonly string[]) => lines.flatMap((line) => line.split(" "));
