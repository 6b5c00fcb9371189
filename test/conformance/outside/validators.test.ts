import { execFileSync } from "node:child_process";
import { describe, expect, test, vi } from "vitest";
import type { FlvTag } from "../../../services/packager/flv.ts";
import { audioEncoders, type Encoded, encode, tagsOf, videoEncoders } from "../../support/encoded.ts";
import { type Remuxed, remux } from "../../support/remux.ts";
import { simulate } from "../../support/simulate.ts";
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

const seconds = 4;
const { avc1, ...others } = videoEncoders;
const { mp4a, ...sounds } = audioEncoders;
/** What enhanced RTMP brings besides, as the packager serves it. */
const codecs: { name: string; what: () => Promise<Encoded> }[] = [
  ...Object.entries(others).map(([name, video]) => ({
    name,
    what: () => encode({ seconds, video: [video], audio: [mp4a] }),
  })),
  ...Object.entries(sounds).map(([name, audio]) => ({
    name,
    what: () => encode({ seconds, video: [avc1], audio: [audio] }),
  })),
  { name: "HE-AAC", what: heAac },
  ...Object.entries({
    "hvc1 in 10 bits with what an HDR picture was mastered on": `${others.hvc1.replace("yuv420p", "yuv420p10le")}:hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:max-cll=1000,400:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)`,
    "av01 in 10 bits": others.av01.replace("yuv420p", "yuv420p10le"),
    "vp09 in 10 bits": others.vp09.replace("yuv420p", "yuv420p10le"),
  }).map(([name, video]) => ({ name, what: () => encode({ seconds, video: [video] }) })),
  ...Object.entries({
    "Opus in 5.1": "-c:a libopus -b:a 192k -mapping_family 1 -ac 6",
    "fLaC in 5.1 and 24 bits": "-c:a flac -sample_fmt s32 -ac 6",
    "ac-3 in 5.1": "-c:a ac3 -b:a 384k -ac 6",
    "ec-3 in 5.1": "-c:a eac3 -b:a 384k -ac 6",
  }).map(([name, audio]) => ({ name, what: () => encode({ seconds, audio: [audio] }) })),
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

    test.for(codecs)("finds nothing wrong with $name", async ({ what }) => {
      const encoded = await what();
      for (const served of servedAir(tagsOf(encoded))) expect(ask(judge, program!, served)).toEqual([]);
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
    ? { entry: track.entry, init, segments: whole, size: { width: track.width, height: track.height } }
    : { entry: track.entry, init, segments: whole };
}

/** HE-AAC by its boxes: a core of 24 kHz that announces band replication and has none of it. */
async function heAac(): Promise<Encoded> {
  const { tracks, samples } = await encode({ seconds, audio: ["-c:a aac -b:a 32k -ac 2 -ar 24000"] });
  // AudioObjectType 5, 24 kHz, two channels, 48 kHz, of AAC-LC.
  const track = { ...tracks[0]!, config: Uint8Array.of(0x2b, 0x11, 0x88, 0x00) };
  return { tracks: [track], samples: samples.map((sample) => ({ ...sample, track })) };
}

/** Each rendition of a publish of these tags. */
function servedAir(tags: readonly FlvTag[]): Served[] {
  const events = tags.map((tag) => ({ atMs: tag.timestampMs, tag, do: "tag" as const }));
  const end = { atMs: events.at(-1)!.atMs, do: "end" as const };
  const aired = simulate([{ atMs: 0, do: "begin" }, ...events, end], { keepAll: true });
  return aired.outputs.flatMap((init): Served[] => {
    if (init.type !== "init") return [];
    const { track, bytes, name } = init;
    const { segments } = aired.windows.get(name)!;
    expect(segments.length).toBeGreaterThan(2);
    const whole = segments.map(({ parts }) => new Uint8Array(Buffer.concat(parts.map((part) => part.bytes))));
    return [
      {
        ...{ entry: track.entry, init: bytes, segments: whole },
        ...(track.kind === "video" && { size: { width: track.width, height: track.height } }),
      },
    ];
  });
}
