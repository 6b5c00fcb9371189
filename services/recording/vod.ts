import type { Programme, Readable } from "../live/programme.ts";
import type { Init } from "../live/rendition.ts";
import { emptySegment } from "../packager/cmaf.ts";
import { Subtitles } from "../packager/subtitles.ts";
import { textName } from "../packager/webvtt.ts";
import { find, type Window } from "../packager/window.ts";
import type { Contents, Reel } from "./contents.ts";
import { type Place, readRange, readRow } from "./read.ts";
import { bandwidthOf, wholeWindow } from "./rows.ts";

/** A recording as viewers watch it: the bytes that were served live, listed from the first to the last. */
export function recorded(place: Place, contents: Contents): Programme {
  const begin = contents.begin!;
  const playable = contents.reels.filter(({ rows }) => rows.some(({ gap }) => !gap));
  const renditions = new Map(playable.map((reel) => [reel.name, renditionOf(place, contents, reel)]));
  const subtitles = contents.words && new Subtitles({ ...contents.words, edgeMs: () => 0 });
  subtitles?.restore(contents.words?.lines ?? []);
  return {
    texts: new Map(subtitles && [[textName, subtitles]]),
    reference: renditions.get("source") ?? renditions.get("audio"),
    input: begin.input,
    video: begin.video,
    state: "ended",
    targetDuration: begin.targetDuration,
    lasting: true,
    rungs: [],
    source: undefined,
    offersSource: true,
    // All of it was measured.
    bandwidthOf: ({ bandwidth }) => bandwidth,
    isLeaving: () => false,
    renditions,
  };
}

function renditionOf(place: Place, contents: Contents, reel: Reel): Readable {
  let shown: Window | undefined;
  return {
    name: reel.name,
    track: reel.inits.at(-1)!.track,
    bandwidth: bandwidthOf(reel),
    captions: reel.captions,
    removed: false,
    revision: 0,
    get shown() {
      shown ??= wholeWindow(contents, reel);
      return shown;
    },
    rows() {
      return this.shown.segments;
    },
    init: (version) => initOf(place, reel, version),
    segment: async (number, version) => {
      const bytes = await readRow(place, reel, { number, version, part: undefined });
      return bytes && [bytes];
    },
    nothing(number, version, part) {
      if (part !== undefined) return undefined;
      const { segments } = this.shown;
      const track = reel.inits.find((init) => init.version === version)?.track;
      const last = segments.at(-1);
      if (!track || !last) return undefined;
      const gap = find(segments, number);
      if (gap?.gap && gap.version === version) return emptySegment(track, gap.dts, gap.duration);
      // Players that divide a length by that of a segment, ffmpeg among them, ask for one more than there is.
      const isNext = number === last.number + 1 && version === last.version;
      return isNext ? emptySegment(track, last.dts + last.duration, 0) : undefined;
    },
    part: async (number, part, version) => {
      const bytes = await readRow(place, reel, { number, version, part });
      return bytes && [bytes];
    },
    wait: () => Promise.resolve("ready"),
  };
}

/** The init segment of this version, from the head of the newest file that has it. */
async function initOf(place: Place, reel: Reel, version: number): Promise<Init | undefined> {
  const found = reel.inits.find((init) => init.version === version);
  if (!found) return undefined;
  const bytes = await readRange(place, reel.name, { file: found.file, offset: 0, length: found.bytes });
  return bytes && { version, track: found.track, bytes };
}
