import Hls, { type Events, type FragLoadingData, type Fragment } from "hls.js";

/** What is needed of a controller whose members TypeScript calls private. */
interface Timeline {
  lastSn: number;
  lastPartIndex: number;
  onFragLoading(event: Events.FRAG_LOADING, data: FragLoadingData): void;
  closedCaptionsForLevel(frag: Fragment): string | undefined;
}
type Constructor = new (hls: Hls) => Timeline;

/**
 * Reads captions in pictures from part to part. hls.js 1.7 takes a further part of a segment for a jump and forgets what it has
 * read of a caption, which takes a second to come: none of them is ever shown. The version of hls.js is pinned.
 */
class Captions extends (Hls.DefaultConfig.timelineController as unknown as Constructor) {
  override onFragLoading(event: Events.FRAG_LOADING, data: FragLoadingData): void {
    const { frag, part } = data;
    const follows = frag.sn === this.lastSn && part?.index === this.lastPartIndex + 1;
    // As if it were the segment behind the last one.
    if (frag.type === "main" && follows) this.lastSn -= 1;
    super.onFragLoading(event, data);
  }

  /** The list that was loaded says that there are none; an encoder may have begun with them since. */
  override closedCaptionsForLevel(frag: Fragment): string | undefined {
    const said = super.closedCaptionsForLevel(frag);
    return said === "NONE" ? undefined : said;
  }
}

/** For `HlsConfig.timelineController`. */
export const CaptionReader = Captions as unknown as NonNullable<typeof Hls.DefaultConfig.timelineController>;
