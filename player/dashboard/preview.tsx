import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { SluicePlayer } from "../player.ts";
import { playbackOf } from "./addresses.ts";
import { useLoaded } from "./load.ts";
import { Note } from "./parts.tsx";
import type { Input, Video } from "./types.ts";

/** Our own player, as viewers have it; muted, so that a page that opens makes no noise. */
export function Preview(props: {
  readonly of: Input | Video;
  readonly label: string;
  readonly autoplay?: boolean;
}): JSX.Element {
  const { of, label, autoplay } = props;
  const box = useRef<HTMLDivElement>(null);
  const signed = "recording" in of ? of.recording.requireSignedURLs : of.requireSignedURLs;
  const playback = useLoaded(() => playbackOf(of), { key: `${of.uid} ${signed}` });
  const src = playback.data.value;
  const latest = useRef(of);
  latest.current = of;
  useEffect(() => {
    if (!src || !box.current) return;
    const player = document.createElement("sluice-player") as SluicePlayer;
    player.setAttribute("src", `/${src}`);
    player.setAttribute("aria-label", label);
    if (autoplay) player.setAttribute("autoplay", "");
    // What is over has a picture to begin with; what is on air begins by itself.
    else player.setAttribute("poster", `/${src}/thumbnails/thumbnail.jpg?height=720`);
    player.setAttribute("muted", "");
    player.onTokenNeeded = () => playbackOf(latest.current, true);
    box.current.replaceChildren(player);
    return () => player.remove();
  }, [src, label, autoplay]);
  return (
    <>
      {playback.trouble.value && <Note tone="bad">{playback.trouble.value}</Note>}
      <div class="preview" ref={box} />
    </>
  );
}
