import { type Storyboard, tileAt } from "./storyboard.ts";
import { label, spoken, type Timeline } from "./timeline.ts";

export interface ScrubModel {
  readonly timeline: Timeline;
  /** The playhead, in media seconds. */
  readonly at: number;
  /** The date of the playhead, ms since 1970; undefined while unknown. */
  readonly dateMs: number | undefined;
  /** Pictures of what is sought. */
  readonly storyboard: Storyboard | undefined;
}

export interface Scrub {
  /** Undefined: there is nothing to seek in. */
  render(model: ScrubModel | undefined): void;
}

export const scrubMarkup = `
<div class="scrub" hidden>
  <input type="range" min="0" max="1" step="any" aria-label="Seek">
  <output class="bubble" aria-hidden="true" hidden><i class="tile" hidden></i><span></span></output>
</div>`;

/**
 * The bar that is dragged to seek: a native range from 0 to 1 across the timeline, so that fingers, pens and screen readers
 * find what they know. The keys for it are the player's, because they work everywhere.
 */
export function createScrub(root: ParentNode, onSeek: (at: number) => void): Scrub {
  const box = root.querySelector<HTMLElement>(".scrub")!;
  const range = box.querySelector("input")!;
  const bubble = box.querySelector("output")!;
  const tile = bubble.querySelector<HTMLElement>(".tile")!;
  const words = bubble.querySelector("span")!;
  let pointed: number | undefined;
  let model: ScrubModel | undefined;
  let dragging = false;

  const timeOf = (share: number): number => {
    const { start, end } = model!.timeline;
    return start + share * (end - start);
  };
  const point = (share: number) => {
    if (!model) return;
    pointed = share;
    words.textContent = label(model.timeline, timeOf(share)).split(" / ")[0] || "Live";
    picture(timeOf(share));
    bubble.style.setProperty("--at", String(share));
    bubble.hidden = false;
  };
  /** What is to be seen there, where the storyboard has it. */
  const picture = (at: number) => {
    const { storyboard, timeline, dateMs, at: playhead } = model!;
    const board = storyboard?.look(timeline.live, () => {
      if (model && pointed !== undefined && !bubble.hidden) picture(timeOf(pointed));
    });
    // A recording begins with its second 0; of what is on air the dates tell.
    const dated = timeline.live && dateMs !== undefined && board?.startMs !== undefined;
    const second = dated ? (dateMs - board.startMs!) / 1000 + at - playhead : at - timeline.start;
    const shown = board && (dated || !timeline.live) ? tileAt(board, second) : undefined;
    tile.hidden = !shown;
    if (!shown) return;
    const { url, x, y, width, height } = shown;
    tile.style.cssText = `width:${width}px;height:${height}px;background:url("${url}") -${x}px -${y}px`;
  };
  range.addEventListener("pointerdown", () => {
    dragging = true;
  });
  range.addEventListener("input", () => {
    dragging = true;
    point(range.valueAsNumber);
    paint(range.valueAsNumber);
  });
  range.addEventListener("change", () => {
    dragging = false;
    bubble.hidden = true;
    if (model) onSeek(timeOf(range.valueAsNumber));
  });
  for (const name of ["pointerup", "pointercancel", "blur"])
    range.addEventListener(name, () => {
      dragging = false;
      bubble.hidden = true;
    });
  range.addEventListener("pointermove", (event) => {
    if (dragging || event.pointerType === "touch") return;
    const { left, width } = range.getBoundingClientRect();
    point(Math.min(1, Math.max(0, (event.clientX - left) / width)));
  });
  range.addEventListener("pointerleave", () => {
    if (!dragging) bubble.hidden = true;
  });
  function paint(share: number): void {
    range.style.setProperty("--level", `${share * 100}%`);
  }

  return {
    render(next) {
      model = next;
      box.hidden = !next;
      if (!next || dragging) return;
      const { timeline, at } = next;
      const length = timeline.end - timeline.start;
      const share = length > 0 ? Math.min(1, Math.max(0, (at - timeline.start) / length)) : 1;
      range.valueAsNumber = share;
      paint(share);
      const said = spoken(timeline, at);
      if (range.ariaValueText !== said) range.ariaValueText = said;
    },
  };
}
