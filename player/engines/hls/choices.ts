import {
  type ErrorData,
  ErrorDetails,
  Events,
  type default as Hls,
  type Level,
  type LevelDetails,
  type LevelParsed,
  type ManifestLoadedData,
} from "hls.js";
import { AUTO, type Quality, qualitiesOf, qualityFor, SOUND_ALONE } from "../quality.ts";

/** A rung that had a gap is tried again after this, when a viewer wants it. */
const AGAIN_MS = 10_000;
/** How often the playlist of a rung that stopped is looked at until it goes on or is gone. */
const LOOK_MS = 2000;
/** Seconds that the sound is heard beyond the end of a picture that has stopped alone: more than lists differ by. */
const SOUND_AHEAD = 0.25;

interface Sound {
  /** Of its media playlist. */
  readonly url: string;
  readonly quality: Quality;
}

/** What the viewer may choose from in one `Hls`, and what becomes of the choice when rungs go and come. */
export class Choices {
  readonly #hls: Hls;
  readonly #address: (url: string) => string;
  readonly #soundAlone: boolean;
  #wish: string;
  #sound: Sound | undefined;
  /** Names for `#levels`, one each. */
  #names: readonly Quality[] = [];
  #levels: readonly Level[] = [];
  /** The server has taken these back; hls.js lists them until it has something of another one. */
  readonly #dropped = new Set<Level>();
  /** Those that stopped while the broadcast went on, and when to look again. */
  readonly #stopped = new Map<Level, ReturnType<typeof setTimeout>>();
  #again: ReturnType<typeof setTimeout> | undefined;

  /** Takes over the choice of levels; `hls` must not start to load by itself when sound alone is chosen. */
  constructor(hls: Hls, choice: string, address: (url: string) => string) {
    this.#hls = hls;
    this.#address = address;
    this.#wish = choice;
    this.#soundAlone = choice === SOUND_ALONE;
    hls.on(Events.MANIFEST_LOADED, (_, data) => this.#onLoaded(data));
    hls.on(Events.MANIFEST_PARSED, () => this.#onParsed());
    hls.on(Events.LEVELS_UPDATED, () => this.#list());
    hls.on(Events.LEVEL_UPDATED, (_, { details }) => {
      // hls.js reads part 0 of a report as none and asks for a later part, which is held for up to a segment, just when a
      // switch is urgent: without the report it asks for what is there.
      details.renditionReports = (details.renditionReports ?? []).filter(
        (report) => report["LAST-PART"] !== "0",
      );
      this.#sweep();
      this.#leave(details);
    });
    hls.on(Events.ERROR, (_, data) => this.#onError(data));
  }

  /** Best first; empty where there is nothing to choose. */
  get qualities(): readonly Quality[] {
    const all = this.#names.toReversed();
    if (this.#sound) all.push(this.#sound.quality);
    return all.length > 1 ? all : [];
  }

  get playing(): string | undefined {
    if (this.#isSound()) return SOUND_ALONE;
    const at = this.#levels.indexOf(this.#hls.levels[this.#hls.currentLevel]!);
    return this.#names[at]?.name;
  }

  get choice(): string {
    return qualityFor(this.qualities, this.#wish)?.name ?? AUTO;
  }

  /** False when it takes another `Hls`: sound alone is a list of its own. */
  choose(name: string): boolean {
    if ((name === SOUND_ALONE) !== this.#isSound()) return false;
    this.#wish = name;
    if (!this.#isSound()) this.#hls.nextLevel = this.#wished();
    return true;
  }

  close(): void {
    clearTimeout(this.#again);
    for (const timer of this.#stopped.values()) clearTimeout(timer);
    this.#stopped.clear();
  }

  /** True while the playlist of the sound is what is loaded. */
  #isSound(): boolean {
    return this.#soundAlone && this.#sound !== undefined && this.#hls.url === this.#sound.url;
  }

  #onParsed(): void {
    if (this.#isSound()) return;
    this.#list();
    const index = this.#wished();
    if (index >= 0) this.#hls.loadLevel = index;
  }

  /** Comes behind `#onParsed`, which hls.js raises from within. */
  #onLoaded(data: ManifestLoadedData): void {
    this.#sound ??= soundOf(data);
    if (!this.#soundAlone) return;
    const hls = this.#hls;
    const { url } = this.#sound ?? {};
    // Not from within an event about the list that is being left.
    if (url && hls.url !== url) queueMicrotask(() => hls.loadSource(url));
    else hls.startLoad();
  }

  #list(): void {
    if (this.#isSound()) return;
    this.#levels = this.#hls.levels.filter((level) => !this.#dropped.has(level));
    this.#names = qualitiesOf(this.#levels);
  }

  /** The index in hls.js of what is wished for; -1 for its own choice. */
  #wished(): number {
    const found = qualityFor(this.#names, this.#wish);
    return found ? this.#hls.levels.indexOf(this.#levels[this.#names.indexOf(found)]!) : -1;
  }

  #onError({ details, response, context }: ErrorData): void {
    if (details === ErrorDetails.FRAG_GAP) this.#retake();
    if (details !== ErrorDetails.LEVEL_LOAD_ERROR || !isGone(response?.code)) return;
    const level = this.#hls.levels.find(({ uri }) => context?.url.startsWith(uri));
    if (level) this.#drop(level);
  }

  #drop(level: Level): void {
    if (this.#levels.length < 2) return;
    this.#dropped.add(level);
    this.#list();
    this.#retake();
  }

  /** hls.js leaves a chosen level that fails for its own choice: comes back to it, or to what is left of the wish. */
  #retake(afterMs = AGAIN_MS): void {
    if (this.#wish === AUTO || this.#isSound()) return;
    clearTimeout(this.#again);
    this.#again = setTimeout(() => {
      const index = this.#wished();
      if (index !== this.#hls.manualLevel) this.#hls.nextLevel = index;
    }, afterMs);
  }

  /**
   * Goes on with another level when this one has stopped and the broadcast has not: the sound tells. hls.js by itself waits
   * until a whole segment is a gap, and by then nothing is left to play.
   */
  #leave(details: LevelDetails): void {
    const hls = this.#hls;
    const from = hls.loadLevel;
    const level = hls.levels[from];
    if (this.#levels.length < 2 || level?.details !== details) return;
    const gap = details.partList?.findLast((part, index, all) => part.gap && !all[index - 1]?.gap);
    const sound = hls.audioTracks[hls.audioTrack]?.details?.partList?.findLast((part) => !part.gap);
    if (!details.partList?.at(-1)?.gap || !gap || !sound || sound.end < gap.start + SOUND_AHEAD) return;
    this.#avoid(level);
    const fine = (index: number) => hls.levels[index] && hls.levels[index]!.loadError === 0;
    const indexes = hls.levels.map((_, index) => index);
    const to =
      indexes.findLast((index) => index < from && fine(index)) ?? indexes.find((index) => fine(index));
    if (to === undefined) return;
    if (!hls.autoLevelEnabled) hls.loadLevel = -1;
    hls.nextAutoLevel = to;
    hls.nextLoadLevel = to;
  }

  /**
   * Keeps hls.js off `level` until it flows again or is gone. hls.js would find out by going there: when the playlist is not
   * found it comes back by a plain reload, waits a target duration for the next, and by then nothing is left to play.
   */
  #avoid(level: Level): void {
    level.loadError++;
    level.loadErrorTime = performance.now();
    const look = async () => {
      const found = await lookAt(this.#address(level.uri));
      if (!this.#stopped.has(level)) return;
      if (found === "stopped") {
        level.loadErrorTime = performance.now();
        this.#stopped.set(level, setTimeout(look, LOOK_MS));
        return;
      }
      this.#stopped.delete(level);
      if (found === "gone") this.#drop(level);
      else {
        level.loadError = 0;
        this.#retake(0);
      }
      this.#sweep();
    };
    clearTimeout(this.#stopped.get(level));
    this.#stopped.set(level, setTimeout(look, LOOK_MS));
  }

  #sweep(): void {
    for (const level of this.#dropped) {
      const index = this.#hls.levels.indexOf(level);
      // Never the one that is loaded: hls.js would lose its place.
      if (index < 0 || index === this.#hls.loadLevel) continue;
      this.#hls.removeLevel(index);
    }
  }
}

/** What has become of a rung, from its playlist. A list that cannot be had at the moment tells nothing new. */
async function lookAt(url: string): Promise<"stopped" | "flows" | "gone"> {
  try {
    const response = await fetch(url);
    if (isGone(response.status)) return "gone";
    const parts = (await response.text()).match(/^#EXT-X-PART:.*$/gm);
    return !response.ok || (parts?.at(-1)?.includes("GAP=YES") ?? true) ? "stopped" : "flows";
  } catch {
    return "stopped";
  }
}

function isGone(status: number | undefined): boolean {
  return status === 404 || status === 410;
}

/** How the sound can be had alone: a variant without a picture, or else the default of the audio renditions. */
function soundOf({ levels, audioTracks }: ManifestLoadedData): Sound | undefined {
  const hasPicture = ({ videoCodec, width, height }: LevelParsed) => Boolean(videoCodec || (width && height));
  if (!levels.some(hasPicture)) return undefined;
  const variant = levels.find((level) => level.audioCodec && !hasPicture(level));
  const track = audioTracks?.find(({ default: first }) => first) ?? audioTracks?.[0];
  const url = variant?.url ?? track?.url;
  if (!url) return undefined;
  return { url, quality: { name: SOUND_ALONE, height: 0, bitsPerSecond: variant?.bitrate ?? 0 } };
}
