import type { Track } from "../packager/track.ts";
import { encodeEntry, journalHead, Numbers } from "./journal.ts";

const seconds = 1_200;
const partSeconds = 0.5;

const picture: Track = {
  ...{ kind: "video", entry: "vp09", codec: "vp09.00.10.08", timescale: 90_000, config: new Uint8Array(12) },
  ...{ width: 320, height: 180, pixelAspect: [1, 1], colour: undefined, frameRate: 30 },
};
const sound: Track = {
  ...{ kind: "audio", entry: "mp4a", codec: "mp4a.40.2", timescale: 48_000, channels: 2, sampleRate: 48_000 },
  ...{ config: Uint8Array.of(0x11, 0x90), frameTicks: 1_024 },
};

/**
 * A journal of a recording that there is not. Code that never ran is half as fast, and whoever is the first to ask for a movie
 * would wait for that.
 */
export function madeUpJournal(): Uint8Array {
  const uid = "0".repeat(32);
  const frames: Uint8Array[] = [journalHead];
  const put = (...entries: Parameters<typeof encodeEntry>[0][]): void => {
    for (const entry of entries) frames.push(encodeEntry(entry));
  };
  const times = { startedMs: 0, epochMs: 0, targetDuration: 4, partTarget: 0.5235 };
  put({ type: "begin", video: uid, input: uid, ...times, temporary: false });
  const lanes = [
    { name: "source", track: picture, each: 3_000 },
    { name: "audio", track: sound, each: 1_024 },
  ].map(({ name, track, each }, rendition) => {
    const about = {
      rendition,
      name,
      track,
      file: 0,
      version: 1,
      initBytes: 600,
      initCrc: 0,
      discontinuity: 0,
    };
    put({ type: "file", ...about });
    return { rendition, each, count: Math.floor((partSeconds * track.timescale) / each) };
  });
  const kinds = { discontinuity: 0, version: 1, independent: true, gap: false };
  for (let number = 1; number <= seconds; number++)
    for (const { rendition, each, count } of lanes) {
      const duration = each * count;
      put({ type: "open", rendition, number, dts: (number - 1) * 2 * duration, ...kinds });
      for (let part = 0; part < 2; part++) {
        const samples = new Numbers();
        let byteLength = 0;
        for (let i = 0; i < count; i++) {
          const size = 300 + ((number * 7919 + i * 104_729) % 2_000);
          samples.put(116, 1, size, each * 2 + (i === 0 ? 1 : 0), i % 2 ? each * 2 : 0);
          byteLength += 116 + size;
        }
        const rest = { independent: part === 0, gap: false, byteLength, crc: 0, samples: samples.take() };
        put({ type: "part", rendition, duration, ...rest });
      }
      put({ type: "close", rendition, lead: 0 });
    }
  put({ type: "end", atMs: 1 });
  return Buffer.concat(frames);
}
