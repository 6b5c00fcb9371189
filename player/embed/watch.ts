import "../player.ts";
import { firstOf } from "../first.ts";
import type { SluicePlayer } from "../player.ts";
import type { Phase } from "../state.ts";
import { applyQuery, playbackOf } from "./place.ts";

const words: Record<Phase, string> = {
  connecting: "Connecting",
  waiting: "Not on air yet",
  ready: "On air",
  starting: "On air",
  playing: "Live",
  paused: "Paused",
  buffering: "Buffering",
  reconnecting: "Reconnecting",
  retrying: "Connection lost",
  denied: "No access",
  ended: "Ended",
  failed: "Cannot play",
};

const find = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;
const playback = playbackOf(location.pathname);

const player = document.createElement("sluice-player") as SluicePlayer;
player.setAttribute("src", playback);
player.setAttribute("hotkeys", "page");
player.setAttribute("autoplay", "");
applyQuery(player, location.search);
player.first = firstOf(document);
const state = find("state");
player.addEventListener("statechange", () => {
  state.dataset.phase = player.state;
  state.textContent = words[player.state];
});
find("stage").append(player);

const base = location.origin + playback;
find<HTMLInputElement>("link").value = `${base}/watch`;
find<HTMLInputElement>("hls").value = `${base}/manifest/video.m3u8`;
find<HTMLInputElement>("embed").value =
  `<iframe src="${base}/iframe" width="640" height="360" style="border:0;aspect-ratio:16/9" ` +
  `allow="autoplay; encrypted-media; fullscreen; picture-in-picture" allowfullscreen></iframe>`;

document.addEventListener("click", async (event) => {
  const id = (event.target as HTMLElement).dataset.copy;
  if (!id) return;
  const field = find<HTMLInputElement>(id);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    find("said").textContent = "Copied.";
  } catch {
    // Plain http on another host has no clipboard: the text is selected, one key press away.
    find("said").textContent = "Selected: press Ctrl+C (⌘C) to copy.";
  }
});
