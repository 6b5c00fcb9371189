import type { Action } from "./view.ts";

/** Where the focus is when a key goes down: what is in use there keeps the keys that belong to it. */
export type Focus = "page" | "button" | "slider" | "text";

const actions: Readonly<Record<string, Action>> = {
  " ": "play",
  k: "play",
  m: "mute",
  f: "fullscreen",
  l: "live",
  i: "stats",
  p: "pip",
  arrowup: "louder",
  arrowdown: "softer",
};

/** What the key (`KeyboardEvent.key`) does, if anything. */
export function actionOf(key: string, focus: Focus): Action | undefined {
  if (focus === "text" || (focus === "button" && key === " ")) return undefined;
  if (focus === "slider" && key.startsWith("Arrow")) return undefined;
  return actions[key.toLowerCase()];
}

/** The focus of an event that came from `target`. */
export function focusOf(target: EventTarget | undefined): Focus {
  if (!(target instanceof HTMLElement)) return "page";
  if (target instanceof HTMLInputElement) return target.type === "range" ? "slider" : "text";
  if (target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName)) return "text";
  return target instanceof HTMLButtonElement ? "button" : "page";
}
