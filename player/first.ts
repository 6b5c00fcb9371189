import type { Answer } from "./lifecycle.ts";

/** Milliseconds after which it is asked anew. */
const FRESH_MS = 5_000;

/** What the server said with the page: the answer to the first question, and its clock then in ms since 1970. */
export interface First {
  readonly nowMs: number;
  readonly answer: Answer;
}

/** What stands in this page; undefined where nothing does, or where it may be old: out of a cache, or read long ago. */
export function firstOf(page: Document): First | undefined {
  const [entry] = performance.getEntriesByType("navigation") as (PerformanceNavigationTiming & {
    // Not every browser says it.
    readonly deliveryType?: string;
  })[];
  const text = page.getElementById("first-answer")?.textContent;
  const isOld = entry?.type === "back_forward" || entry?.deliveryType === "cache";
  if (!text || !entry || isOld || performance.now() - entry.responseEnd > FRESH_MS) return undefined;
  return JSON.parse(text) as First;
}
