import { Stream } from "@cloudflare/stream-react";
import { createElement, useRef, useState } from "react";
import { createRoot } from "react-dom/client";

// Bundled by the test and opened in Chromium: Cloudflare's own component, unmodified. What it is given is in the page's query.

const asked = new URLSearchParams(location.search);
const heard = [];
const events = ["onLoadedMetaData", "onPlay", "onPlaying", "onPause", "onTimeUpdate", "onVolumeChange"];
const listeners = Object.fromEntries(events.map((name) => [name, () => heard.push(name)]));

function Page() {
  const api = useRef();
  const [muted, setMuted] = useState(true);
  Object.assign(window, { react: { heard, api, setMuted } });
  return createElement(Stream, {
    src: asked.get("src"),
    ...(asked.has("customer") && { customerCode: asked.get("customer") }),
    streamRef: api,
    autoplay: true,
    controls: true,
    muted,
    primaryColor: "#ff0055",
    title: "The show",
    ...listeners,
  });
}

createRoot(document.getElementById("root")).render(createElement(Page));
