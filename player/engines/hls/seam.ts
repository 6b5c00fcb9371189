import { Events, type FragBufferedData, type Fragment, type default as Hls } from "hls.js";

/** Seconds of new media behind the playhead that the browser can go on with. */
const ENOUGH = 0.1;

/**
 * Shows another level at once when it takes over within the segment that plays, because the level before has nothing more.
 * A browser goes on with the frames of a run that was replaced only while there are any, and then shows nothing until the
 * next keyframe: up to a segment. A seek to where the playhead is makes it begin at the new run's keyframe.
 */
export function mendSeams(hls: Hls, video: HTMLVideoElement): void {
  let last: Fragment | undefined;
  let seam: Fragment | undefined;
  hls.on(Events.FRAG_BUFFERED, (_, { frag, part }: FragBufferedData) => {
    if (frag.type !== "main" || frag.sn === "initSegment") return;
    const { currentTime } = video;
    if (frag.level !== last?.level)
      seam = frag.sn === last?.sn && frag.start <= currentTime ? frag : undefined;
    last = frag;
    if (seam?.sn !== frag.sn || (part ?? frag).end < currentTime + ENOUGH) return;
    seam = undefined;
    if (!video.seeking && !video.paused) video.currentTime = currentTime;
  });
}
