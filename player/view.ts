import { icons } from "./icons.ts";
import { createMenu, type MenuModel } from "./menu.ts";
import css from "./player.css?inline";
import { createScrub, type ScrubModel, scrubMarkup } from "./scrub.ts";
import type { Phase } from "./state.ts";
import { label } from "./timeline.ts";

/** All that the picture's surroundings show, as plain data: equal models look equal. */
export interface Model {
  readonly phase: Phase;
  readonly sentence: string;
  /** To try again is up to the viewer. */
  readonly again: boolean;
  readonly controls: boolean;
  readonly paused: boolean;
  readonly muted: boolean;
  readonly volume: number;
  /** Sound was held back until the viewer asks for it. */
  readonly offerSound: boolean;
  readonly live: boolean;
  readonly atEdge: boolean;
  readonly audioOnly: boolean;
  readonly canFullscreen: boolean;
  readonly fullscreen: boolean;
  readonly canPip: boolean;
  readonly pip: boolean;
  readonly poster: string | null;
  readonly quality: MenuModel;
  readonly captions: MenuModel;
  /** Undefined where a viewer has nothing to seek in. */
  readonly scrub: ScrubModel | undefined;
  /** Lines of the stats panel; null while it is closed. */
  readonly stats: readonly (readonly [name: string, value: string])[] | null;
}

const markup = `
<div class="frame" part="frame">
  <video playsinline></video>
  <canvas class="still" hidden></canvas>
  <div class="poster" hidden></div>
  <div class="sound-only" hidden>${icons.wave}<span>Audio only</span></div>
  <div class="veil"></div>
  <div class="center">
    <div class="spinner" aria-hidden="true"></div>
    <p class="sentence" role="status" aria-live="polite"></p>
    <button class="again" type="button" data-do="again" hidden>Try again</button>
    <button class="big" type="button" data-do="play" aria-label="Play">${icons.play}</button>
  </div>
  <button class="offer" type="button" data-do="sound">${icons.muted}<span>Tap for sound</span></button>
  <dl class="stats" aria-label="Playback statistics" hidden></dl>
  <div class="menu" id="captions" aria-label="Captions"></div>
  <div class="menu" id="quality" aria-label="Quality"></div>
  <div class="bar" role="group" aria-label="Player controls">
    ${scrubMarkup}
    <button type="button" data-do="play"></button>
    <div class="volume">
      <button type="button" data-do="mute"></button>
      <input type="range" min="0" max="1" step="0.05" aria-label="Volume">
    </div>
    <button class="live" type="button" data-do="live"><i></i><span></span></button>
    <span class="time" aria-hidden="true"></span>
    <span class="space"></span>
    <button type="button" class="menu-captions" aria-controls="captions" aria-label="Captions (c)" title="Captions (c)">${icons.captions}</button>
    <button type="button" class="menu-quality" aria-controls="quality" title="Quality (q)">${icons.quality}<span class="badge" aria-hidden="true"></span></button>
    <button type="button" data-do="stats" aria-label="Statistics and latency (i)" title="Statistics (i)">${icons.stats}</button>
    <button type="button" data-do="pip" aria-label="Picture in picture" title="Picture in picture">${icons.pip}</button>
    <button type="button" data-do="fullscreen"></button>
  </div>
</div>`;

export type Action =
  | "play"
  | "again"
  | "mute"
  | "sound"
  | "louder"
  | "softer"
  | "live"
  | "back"
  | "forward"
  | "start"
  | "captions"
  | "quality"
  | "stats"
  | "pip"
  | "fullscreen";

export interface View {
  readonly video: HTMLVideoElement;
  readonly frame: HTMLElement;
  /** True while a menu is open: controls stay. */
  readonly busy: boolean;
  render(model: Model): void;
  /** Keeps what is on screen there until the next picture is shown. */
  freeze(): void;
  toggleQuality(): void;
  closeMenus(): void;
}

/** What a viewer does with what the view shows. */
export interface ViewEvents {
  readonly onAction: (action: Action) => void;
  readonly onVolume: (volume: number) => void;
  readonly onQuality: (name: string) => void;
  readonly onCaptions: (id: string) => void;
  /** In media seconds. */
  readonly onSeek: (at: number) => void;
}

/** Builds the shadow tree once; `render` then touches only what differs. */
export function openView(root: ShadowRoot, events: ViewEvents): View {
  // A constructed sheet needs no 'unsafe-inline' in the page's content security policy.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  root.adoptedStyleSheets = [sheet];
  root.innerHTML = markup;
  const find = <E extends Element = HTMLElement>(selector: string) => root.querySelector<E>(selector)!;

  const frame = find(".frame");
  const video = find<HTMLVideoElement>("video");
  const poster = find(".poster");
  const soundOnly = find(".sound-only");
  const text = find(".sentence");
  const again = find(".again");
  const stats = find(".stats");
  const range = find<HTMLInputElement>(".volume input");
  const time = find(".time");
  const badge = find(".badge");
  const button = (action: string) => find<HTMLButtonElement>(`.bar [data-do=${action}]`);
  const [play, mute, live, stat, pip, full] = (
    ["play", "mute", "live", "stats", "pip", "fullscreen"] as const
  ).map(button) as [
    HTMLButtonElement,
    HTMLButtonElement,
    HTMLButtonElement,
    HTMLButtonElement,
    HTMLButtonElement,
    HTMLButtonElement,
  ];

  root.addEventListener("click", (event) => {
    const from = (event.target as Element).closest<HTMLElement>("[data-do]");
    if (from) events.onAction(from.dataset.do as Action);
  });
  range.addEventListener("input", () => events.onVolume(range.valueAsNumber));
  const scrub = createScrub(root, events.onSeek);
  const qualityButton = find<HTMLButtonElement>(".menu-quality");
  const quality = createMenu({
    button: qualityButton,
    box: find("#quality"),
    onPick: events.onQuality,
    onToggle: () => onToggle(),
  });
  const captionsButton = find<HTMLButtonElement>(".menu-captions");
  const captions = createMenu({
    button: captionsButton,
    box: find("#captions"),
    onPick: events.onCaptions,
    onToggle: () => onToggle(),
  });
  const onToggle = () => frame.classList.toggle("menu-open", quality.open || captions.open);
  // A press elsewhere closes what is open, and nothing more: it would pause the picture otherwise.
  root.addEventListener("pointerdown", (event) => {
    if ((event.target as Element).closest(".menu, .menu-quality, .menu-captions")) return;
    quality.close();
    captions.close();
  });

  const face = (at: HTMLButtonElement, icon: keyof typeof icons, name: string, key: string) => {
    if (at.dataset.icon === icon) return;
    at.dataset.icon = icon;
    at.innerHTML = icons[icon];
    at.setAttribute("aria-label", name);
    at.title = `${name} (${key})`;
  };

  const still = find<HTMLCanvasElement>(".still");
  for (const name of ["playing", "timeupdate"])
    video.addEventListener(name, () => {
      if (video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) still.hidden = true;
    });

  let shown: Model | undefined;
  return {
    video,
    frame,
    get busy() {
      return quality.open || captions.open;
    },
    freeze() {
      if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || video.videoWidth === 0) return;
      still.width = video.videoWidth;
      still.height = video.videoHeight;
      still.getContext("2d")?.drawImage(video, 0, 0);
      still.hidden = false;
    },
    toggleQuality() {
      captions.close();
      if (!qualityButton.hidden) quality.toggle();
    },
    closeMenus() {
      quality.close();
      captions.close();
    },
    render(model) {
      const was = shown;
      shown = model;
      frame.dataset.phase = model.phase;
      if (text.textContent !== model.sentence) text.textContent = model.sentence;
      again.hidden = !model.again;
      if (["denied", "failed", "ended", "waiting"].includes(model.phase)) still.hidden = true;
      frame.classList.toggle("no-controls", !model.controls);
      frame.classList.toggle("offers-sound", model.offerSound);
      frame.classList.toggle("on-air", model.live);
      frame.classList.toggle("at-edge", model.atEdge);
      soundOnly.hidden = !model.audioOnly;
      poster.hidden = model.poster === null || !["connecting", "waiting", "ready"].includes(model.phase);
      if (model.poster !== null && was?.poster !== model.poster) {
        poster.style.backgroundImage = `url("${model.poster.replace(/["\\\n\r]/g, encodeURIComponent)}")`;
      }
      if (model.paused) face(play, "play", "Play", "k");
      else face(play, "pause", "Pause", "k");
      if (model.muted || model.volume === 0) face(mute, "muted", "Unmute", "m");
      else face(mute, "sound", "Mute", "m");
      if (model.fullscreen) face(full, "window", "Leave full screen", "f");
      else face(full, "fullscreen", "Full screen", "f");
      full.hidden = !model.canFullscreen;
      pip.hidden = !model.canPip;
      pip.setAttribute("aria-pressed", String(model.pip));
      const level = model.muted ? 0 : model.volume;
      if (root.activeElement !== range || range.valueAsNumber !== level) range.valueAsNumber = level;
      range.style.setProperty("--level", `${level * 100}%`);
      live.hidden = !model.live;
      live.disabled = model.atEdge;
      const word = live.lastElementChild!;
      if (was?.atEdge !== model.atEdge) {
        word.textContent = model.atEdge ? "Live" : "Go live";
        live.setAttribute("aria-label", model.atEdge ? "Live" : "Go to live (l)");
      }
      scrub.render(model.scrub);
      frame.classList.toggle("has-scrub", model.scrub !== undefined);
      const beside = model.scrub ? label(model.scrub.timeline, model.scrub.at) : "";
      if (time.textContent !== beside) time.textContent = beside;
      quality.render(model.quality);
      captions.render(model.captions);
      const inForce = model.quality.items.find(({ id }) => id === model.quality.chosen);
      const short = /^\d+p/.exec(inForce?.detail || inForce?.label || "")?.[0] ?? "";
      if (badge.textContent !== short) badge.textContent = short;
      const said = `Quality, ${[inForce?.label, inForce?.detail].filter(Boolean).join(" ")} (q)`;
      if (qualityButton.ariaLabel !== said) qualityButton.ariaLabel = said;
      captionsButton.setAttribute("aria-pressed", String(model.captions.chosen !== "off"));
      stat.setAttribute("aria-pressed", String(model.stats !== null));
      stats.hidden = model.stats === null;
      if (model.stats) list(stats, model.stats);
    },
  };
}

function list(into: HTMLElement, lines: readonly (readonly [string, string])[]): void {
  while (into.childElementCount > lines.length * 2) into.lastElementChild!.remove();
  while (into.childElementCount < lines.length * 2) {
    into.append(document.createElement("dt"), document.createElement("dd"));
  }
  lines.forEach(([name, value], i) => {
    const [dt, dd] = [into.children[i * 2]!, into.children[i * 2 + 1]!];
    if (dt.textContent !== name) dt.textContent = name;
    if (dd.textContent !== value) dd.textContent = value;
  });
}
