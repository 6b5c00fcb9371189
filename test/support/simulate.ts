import { manifest } from "../../services/packager/dash.ts";
import type { FlvTag } from "../../services/packager/flv.ts";
import { writeScript } from "../../services/packager/flv.ts";
import { mediaPlaylist, type Report } from "../../services/packager/hls.ts";
import type { Output, RenditionName } from "../../services/packager/outlet.ts";
import { Packager } from "../../services/packager/packager.ts";
import { Schedule } from "../../services/packager/periods.ts";
import { type Profile, profiles } from "../../services/packager/profiles.ts";
import type { Track } from "../../services/packager/track.ts";
import { RenditionWindow } from "../../services/packager/window.ts";

/** H.264 baseline 320x180 at 30 fps, as x264 writes it. */
export const avcC = fromHex("0142c00dffe100176742c00dda05067e7c044000000300400000 0f23c50aa801000468ce0fc8");
/** The same of another level, which is another decoder configuration. */
export const otherAvcC = avcC.map((byte, i) => (byte === 0x0d && avcC[i - 1] === 0xc0 ? 0x0e : byte));
const aacConfigs: Record<number, Uint8Array> = { 48000: fromHex("1190"), 44100: fromHex("1210") };

export interface Source {
  /** Seconds between keyframes, or each distance in turn. */
  readonly gop: number | readonly number[];
  readonly frameRate?: number;
  /** Frame distances in seconds, in turn, instead of a frame rate. */
  readonly frames?: readonly number[];
  readonly bFrames?: number;
  /** Its decoder configuration in place of `avcC`. */
  readonly config?: Uint8Array;
  readonly audio?: 44100 | 48000 | undefined;
  /** Seconds after which audio, config and all, begins. */
  readonly audioFrom?: number;
  readonly promiseAudio?: boolean;
  readonly video?: boolean;
  readonly seconds: number;
  /** Raw timestamp of the first frame. */
  readonly rawMs?: number;
  /** Changes the raw clock: media second to milliseconds added from there. */
  readonly steps?: readonly { at: number; addMs: number }[];
  /** The network: what was sent at this media second arrives at that one, in order. */
  readonly arrival?: (second: number) => number;
}

export interface Arrival {
  readonly atMs: number;
  readonly tag: FlvTag;
}

/** The tags of one publish in order of arrival; the payload of each frame names it, so that none can be lost unseen. */
export function publish(source: Source): Arrival[] {
  const audioRate = source.audio;
  const arrivals: (Arrival & { order: number })[] = [];
  const raw = (second: number): number => {
    let ms = (source.rawMs ?? 0) + Math.round(second * 1000);
    for (const step of source.steps ?? []) if (second >= step.at) ms += step.addMs;
    return ms >>> 0;
  };
  const when = (second: number): number => Math.round((source.arrival?.(second) ?? second) * 1000);
  const add = (second: number, type: FlvTag["type"], payload: Uint8Array): void => {
    arrivals.push({ atMs: when(second), order: second, tag: { type, timestampMs: raw(second), payload } });
  };
  const hasVideo = source.video !== false;
  const promised = {
    ...(hasVideo && { videocodecid: 7, framerate: source.frameRate ?? 0 }),
    ...(audioRate && source.promiseAudio !== false && { audiocodecid: 10 }),
  };
  add(0, "script", writeScript("onMetaData", promised));
  if (hasVideo) {
    add(0, "video", bytes(0x17, 0, 0, 0, 0, ...(source.config ?? avcC)));
    const gops = typeof source.gop === "number" ? [source.gop] : source.gop;
    const distances = source.frames ?? [1 / (source.frameRate ?? 30)];
    let nextKey = 0;
    let keys = 0;
    for (let i = 0, t = 0; t < source.seconds; t += distances[i % distances.length]!, i++) {
      const key = t >= nextKey - 1e-6;
      if (key) nextKey = t + gops[keys++ % gops.length]!;
      // A P frame shown after its B frames: composition times of a fixed pattern.
      const group = (source.bFrames ?? 0) + 1;
      const composition = source.bFrames
        ? Math.round(distances[0]! * 1000) * (i % group === 0 ? group : 0)
        : 0;
      add(
        t,
        "video",
        bytes(key ? 0x17 : 0x27, 1, 0, composition >> 8, composition & 255, ...nal(key ? 0x65 : 0x41, i)),
      );
    }
  }
  if (audioRate) {
    const from = source.audioFrom ?? 0;
    add(from, "audio", bytes(0xaf, 0, ...aacConfigs[audioRate]!));
    for (let i = 0; (i * 1024) / audioRate + from < source.seconds; i++)
      add((i * 1024) / audioRate + from, "audio", bytes(0xaf, 1, 0x21, i >> 16, i >> 8, i));
  }
  return arrivals.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
}

export type Event =
  | { readonly atMs: number; readonly do: "begin" | "lost" | "end" }
  | (Arrival & { readonly do: "tag" });

/** Publishes one after another, each starting `atMs`; a lost one leaves its place to the clock. */
export function broadcast(
  publishes: readonly { atMs: number; source: Source; until?: number }[],
  endMs?: number,
): Event[] {
  const events: Event[] = [];
  for (const { atMs, source, until } of publishes) {
    events.push({ atMs, do: "begin" });
    const arrivals = publish(source).filter((one) => until === undefined || atMs + one.atMs < until);
    for (const one of arrivals) events.push({ atMs: atMs + one.atMs, tag: one.tag, do: "tag" });
    events.push({ atMs: until ?? atMs + (arrivals.at(-1)?.atMs ?? 0), do: "lost" });
  }
  events.sort((a, b) => a.atMs - b.atMs);
  const last = events.at(-1)?.atMs ?? 0;
  if (endMs !== undefined) events.push({ atMs: Math.max(endMs, last), do: "end" });
  return events;
}

export interface Listing {
  readonly atMs: number;
  readonly name: RenditionName;
  readonly text: string;
}

export interface Aired {
  readonly windows: Map<RenditionName, RenditionWindow>;
  readonly tracks: Map<RenditionName, Track[]>;
  readonly outputs: Output[];
  readonly listings: Listing[];
  /** Every version of the manifest of DASH. */
  readonly manifests: { readonly atMs: number; readonly text: string }[];
  readonly schedule: Schedule | undefined;
  readonly packager: Packager;
  readonly partTarget: number;
}

/** Runs events through a packager and its windows with a clock that ticks every 100 ms, as the origin does. */
export function simulate(
  events: readonly Event[],
  options: {
    profile?: Profile;
    startMs?: number;
    resume?: ConstructorParameters<typeof Packager>[1];
    keepAll?: boolean;
    /** Seconds of a segment in the broadcast before. */
    cadenceSeconds?: number;
  } = {},
): Aired {
  const profile = options.profile ?? profiles.low;
  const startMs = options.startMs ?? Date.UTC(2026, 0, 1);
  const packager = new Packager(profile, options.resume);
  const windows = new Map<RenditionName, RenditionWindow>();
  const tracks = new Map<RenditionName, Track[]>();
  const outputs: Output[] = [];
  const listings: Listing[] = [];
  const manifests: { atMs: number; text: string }[] = [];
  let schedule: Schedule | undefined;
  let partTarget = 0;
  const apply = (batch: readonly Output[], atMs: number): void => {
    const changed = new Set<RenditionName>();
    for (const output of batch) {
      outputs.push(output);
      if (output.type === "start") partTarget = output.partTarget;
      else if (output.type === "init") {
        tracks.set(output.name, [...(tracks.get(output.name) ?? []), output.track]);
        if (windows.has(output.name)) continue;
        windows.set(
          output.name,
          new RenditionWindow({
            timescale: output.track.timescale,
            targetDuration: profile.targetDuration,
            partTarget,
            epochMs: packager.epochMs!,
            windowSeconds: options.keepAll ? 1e9 : 3 * profile.targetDuration + 1,
            windowSegments: 6,
            discontinuity: output.discontinuity,
          }),
        );
      } else if (output.type === "step" && windows.get(output.name)!.apply(output.step))
        changed.add(output.name);
    }
    for (const name of changed) list(name, atMs);
    describe(atMs, changed.size > 0);
  };
  const describe = (atMs: number, visible: boolean): void => {
    const names = windows.has("source") ? ["source", "audio"] : ["audio"];
    const renditions = names.flatMap((name) => {
      const window = windows.get(name);
      const its = tracks.get(name);
      if (!window || !its) return [];
      const init = outputs.findLast((one) => one.type === "init" && one.name === name);
      const version = init?.type === "init" ? init.version : 0;
      const track = (wanted: number): Track | undefined => its.at(wanted - version - 1);
      return [{ name, window, version, track, kind: its[0]!.kind, bits: 1_000_000 }];
    });
    const [reference] = renditions;
    if (!reference) return;
    const { timescale } = reference.window;
    schedule ??= new Schedule(timescale, options.cadenceSeconds && options.cadenceSeconds * timescale);
    schedule.follow(renditions);
    if (!visible || !schedule.playable) return;
    const shared = { periods: schedule.periods, renditions, media: "v", clock: "../../time" };
    const textAt = (publishMs: number): string =>
      manifest({ ...shared, depthSeconds: 12, type: "dynamic", publishMs });
    const last = manifests.at(-1);
    if (last?.text === textAt(last?.atMs ?? 0)) return;
    // As the origin does: @publishTime moves on with each version.
    const publishMs = Math.max(atMs, (last?.atMs ?? 0) + 1);
    manifests.push({ atMs: publishMs, text: textAt(publishMs) });
  };
  const list = (name: RenditionName, atMs: number): void => {
    const window = windows.get(name)!;
    if (window.segments.length === 0 && (profile.plain || !window.open?.parts.length)) return;
    const reports: Report[] = [];
    for (const [other, its] of windows) {
      if (other === name) continue;
      const open = its.open?.parts.length ? its.open : its.segments.at(-1);
      if (open) reports.push({ uri: `${other}.m3u8`, number: open.number, part: open.parts.length - 1 });
    }
    listings.push({
      atMs,
      name,
      text: mediaPlaylist(window, { skip: "none", reports, name, plain: profile.plain }),
    });
  };
  let clock = startMs;
  for (const event of events) {
    const at = startMs + event.atMs;
    while (clock + 100 <= at) {
      clock += 100;
      apply(packager.clock(clock), clock);
    }
    if (event.do === "begin") apply(packager.begin(at, 0), at);
    else if (event.do === "lost") apply(packager.interrupt(), at);
    else if (event.do === "tag") apply(packager.push(event.tag, at), at);
    else {
      apply(packager.end(), at);
      for (const [name, window] of windows) {
        window.end();
        list(name, at);
      }
      describe(at, true);
    }
  }
  return { windows, tracks, outputs, listings, manifests, schedule, packager, partTarget };
}

function nal(header: number, index: number): number[] {
  return [0, 0, 0, 5, header, 0x80 | (index >> 21), (index >> 14) & 127, (index >> 7) & 127, index & 127];
}

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(
    (text.replaceAll(" ", "").match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16)),
  );
}
