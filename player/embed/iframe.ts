import "../player.ts";
import { firstOf } from "../first.ts";
import type { SluicePlayer } from "../player.ts";
import { openBridge } from "./bridge.ts";
import { applyQuery, playbackOf } from "./place.ts";

const player = document.createElement("sluice-player") as SluicePlayer;
player.setAttribute("src", playbackOf(location.pathname));
player.setAttribute("hotkeys", "page");
applyQuery(player, location.search);
player.first = firstOf(document);
// What is behind the frame is seen where the picture does not reach.
if (player.getAttribute("letterbox-color") === "transparent") document.documentElement.classList.add("clear");
// Who was not let in gets another page with another token: the page says who may frame it.
player.addEventListener("admit", (event) => {
  event.preventDefault();
  location.replace(`/${(event as CustomEvent<string>).detail}/iframe${location.search}`);
});
document.body.append(player);
openBridge(player);
