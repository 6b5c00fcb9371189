import type { Action } from "./view.ts";

/** Where the focus is when a key goes down: what is in use there keeps the keys that belong to it. */
export type Focus = "page" | "button" | "slider" | "scrub" | "text";

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
  arrowleft: "back",
  arrowright: "forward",
  home: "start",
  end: "live",
  c: "captions",
  q: "quality",
};

/** On the bar that seeks up and down mean what they mean on any slider. */
const scrubbing: Readonly<Record<string, Action>> = { arrowup: "forward", arrowdown: "back" };

/** What the key (`KeyboardEvent.key`) does, if anything. */
export function actionOf(key: string, focus: Focus): Action | undefined {
  if (focus === "text" || (focus === "button" && key === " ")) return undefined;
  if (focus === "slider" && /^(Arrow|Home|End)/.test(key)) return undefined;
  const name = key.toLowerCase();
  return (focus === "scrub" ? scrubbing[name] : undefined) ?? actions[name];
}

/** The focus of an event that came from `target`. */
export function focusOf(target: EventTarget | undefined): Focus {
  if (!(target instanceof HTMLElement)) return "page";
  if (target instanceof HTMLInputElement) {
    if (target.type !== "range") return "text";
    return target.closest(".scrub") ? "scrub" : "slider";
  }
  if (target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName)) return "text";
  return target instanceof HTMLButtonElement ? "button" : "page";
}
