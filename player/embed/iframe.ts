import "../player.ts";
import { attributesOf, playbackOf } from "./place.ts";

const player = document.createElement("sluice-player");
player.setAttribute("src", playbackOf(location.pathname));
player.setAttribute("hotkeys", "page");
for (const [name, value] of attributesOf(new URLSearchParams(location.search)))
  player.setAttribute(name, value);
document.body.append(player);
