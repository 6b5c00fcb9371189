import Hls, {
  type BaseStreamController,
  type ErrorData,
  ErrorDetails,
  type LevelDetails,
  type MediaFragment,
  type Part,
} from "hls.js";

/**
 * Seconds. Playlists round durations, browsers round what is buffered, and audio is put beside video by dates in whole
 * milliseconds; no part is this short.
 */
const ROUNDING = 1.5e-3;

// biome-ignore lint/suspicious/noExplicitAny: the only shape that TypeScript takes for the base of a mixin
type Loader = new (...args: any[]) => BaseStreamController;

/**
 * A loader of hls.js that forgets no low-latency part. hls.js 1.7 may take all parts of a segment for loaded although the
 * buffer ends a rounding error before the next one, and then asks for nothing until it runs dry: about once in five minutes
 * with parts of a third of a second. It overrides protected methods: the version of hls.js is pinned, a soak test watches.
 */
function patient<Base extends Loader>(base: Base) {
  return class extends base {
    protected override getFragmentAtPosition(
      at: number,
      end: number,
      details: LevelDetails,
    ): MediaFragment | null {
      const covers = (part: Part) => part.start <= at + ROUNDING && part.end > at + ROUNDING;
      const part = this.loadingParts ? pendingPart(details, covers) : undefined;
      // A segment that lacks no more than a frame counts as loaded, and then the rest of it is never asked for.
      if (part && String(this.fragmentTracker.getState(part.fragment)) === "OK")
        this.fragmentTracker.removeFragment(part.fragment);
      return part?.fragment ?? super.getFragmentAtPosition(at, end, details);
    }

    protected override isLoopLoading(fragment: MediaFragment, at: number): boolean {
      // Not any part of the segment: one that lies before the first that was loaded stays pending for ever.
      const isAhead = (part: Part) => part.fragment.sn === fragment.sn && part.end > at + ROUNDING;
      const details = this.loadingParts ? this.getLevelDetails() : undefined;
      return !pendingPart(details, isAhead) && super.isLoopLoading(fragment, at);
    }

    /**
     * When the part behind one that is just being read turns out to be a gap, hls.js 1.7 ends the load without telling its
     * reader, whose result then leaves the loader waiting for an end that never comes: it asks for nothing any more.
     */
    protected override onFragmentOrKeyLoadError(
      type: Parameters<BaseStreamController["onFragmentOrKeyLoadError"]>[0],
      data: ErrorData,
    ): void {
      super.onFragmentOrKeyLoadError(type, data);
      const { frag, part, details } = data;
      if (details !== ErrorDetails.FRAG_GAP || !frag || frag.type !== type || !part?.index) return;
      if (this.fragContextChanged(frag)) return;
      const before = this.getLevelDetails()?.partList?.find(
        (one) => one.fragment.sn === frag.sn && one.index === part.index - 1,
      );
      if (!before) return;
      const loaded = { frag, part: before, payload: new ArrayBuffer(0), networkDetails: null };
      this._handleFragmentLoadComplete({ frag, part: before, partsLoaded: [loaded] });
    }
  };
}

/** A part that is listed, that `is`, and that is not loaded. */
function pendingPart(details: LevelDetails | undefined, is: (part: Part) => boolean): Part | undefined {
  return details?.partList?.find((part) => !part.loaded && !part.gap && is(part)) ?? undefined;
}

/** For the video, or whatever has no playlist of its own. */
export const VideoLoader = patient(Hls.DefaultConfig.streamController);
/** For sound in playlists of its own. */
export const AudioLoader = patient(Hls.DefaultConfig.audioStreamController!);
