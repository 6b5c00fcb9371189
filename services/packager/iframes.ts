import { date, deltaOf, header, type MediaOptions, seam, segmentUri } from "./hls.ts";
import type { Segment } from "./track.ts";
import type { Window } from "./window.ts";

/**
 * The I-frame playlist of a video rendition (rfc8216bis 4.4.3.6): the first picture of each complete segment, as a byte range
 * of that segment. Its numbers are those of the media playlist, so a segment without a keyframe is a gap in it.
 */
export function iframePlaylist(
  window: Window,
  {
    name,
    past,
    plain = false,
    cues,
    skip = "none",
  }: Omit<MediaOptions, "skip" | "reports"> & Partial<Pick<MediaOptions, "skip">>,
): string {
  const { segments } = window;
  const old = past?.length ?? 0;
  const sequence = past && old > 0 ? past.discontinuitySequence : window.discontinuitySequence;
  // 6.2.5.1: as long as it goes back, it can be had in deltas, too.
  const { skipped, version, lines: said } = deltaOf(window, { skip, past, cues });
  // 8: 4 for EXT-X-I-FRAMES-ONLY, 5 for an EXT-X-MAP beside it.
  let text = `#EXTM3U\n#EXT-X-VERSION:${version ?? 5}\n`;
  // 6.2.4: the same target duration and the same EXT-X-SERVER-CONTROL as everywhere; parts there are none.
  text += header(window, { deltas: window.deltas || past !== undefined, plain, parts: false });
  text += `#EXT-X-MEDIA-SEQUENCE:${(past?.at(0) ?? segments[0])?.number ?? 0}\n`;
  text += `#EXT-X-DISCONTINUITY-SEQUENCE:${sequence}\n#EXT-X-I-FRAMES-ONLY\n`;
  // 4.4.5.1: the same as in every other list (6.2.4).
  text += said;
  const write = (rows: readonly Segment[], from: Segment | undefined): string => {
    let lines = "";
    let before = from;
    for (const segment of rows) {
      lines += seam(before, segment, sequence, name) + date(segment, window);
      if (!segment.keyBytes || segment.gap) lines += "#EXT-X-GAP\n";
      // 4.4.3.6: how long it is shown when it is played at normal speed, which is until the next one.
      lines += `#EXTINF:${(segment.duration / window.timescale).toFixed(9)},\n`;
      // 4.4.4.2: the moof and mdat of that picture; a gap has no bytes to point at.
      if (segment.keyBytes && !segment.gap) lines += `#EXT-X-BYTERANGE:${segment.keyBytes}@0\n`;
      lines += `${segmentUri(name, segment.version, segment.number)}\n`;
      before = segment;
    }
    return lines;
  };
  const listed = (i: number): Segment | undefined => (i < old ? past?.at(i) : segments[i - old]);
  if (past && skipped === 0) text += past.text({ key: `pictures ${name} ${window.epochMs}` }, write);
  for (let i = skipped; skipped > 0 && i < old; i++) text += write([listed(i)!], listed(i - 1));
  const from = Math.max(skipped, old);
  text += write(segments.slice(from - old), from > 0 ? listed(from - 1) : undefined);
  return window.ended ? `${text}#EXT-X-ENDLIST\n` : text;
}
