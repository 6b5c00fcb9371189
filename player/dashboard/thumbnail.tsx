import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { type Board, readBoard, tileAt } from "../storyboard.ts";
import { playbackOf } from "./addresses.ts";
import { Icon } from "./icons.tsx";
import { useLoaded } from "./load.ts";
import type { Video } from "./types.ts";
import { clock } from "./words.ts";

/** A picture of a video; of one on air a new one every `everyMs`. */
export function Thumbnail({ of, everyMs }: { readonly of: Video; readonly everyMs?: number }): JSX.Element {
  const playback = useLoaded(() => playbackOf(of), { key: `${of.uid} ${of.requireSignedURLs}` });
  const turn = useSignal(0);
  const failed = useSignal(false);
  useEffect(() => {
    if (everyMs === undefined) return;
    const timer = setInterval(() => {
      if (document.hidden) return;
      turn.value++;
      failed.value = false;
    }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs, turn, failed]);
  if (!playback.data.value || failed.value) return <Icon name="recordings" size={30} />;
  return (
    <img
      class="thumbnail"
      alt=""
      loading="lazy"
      src={`/${playback.data.value}/thumbnails/thumbnail.jpg?height=270${turn.value ? `&turn=${turn.value}` : ""}`}
      onError={() => {
        failed.value = true;
      }}
    />
  );
}

/** The same, and under the pointer what the video shows at that place. */
export function Scrubbed({ of }: { readonly of: Video }): JSX.Element {
  const board = useSignal<Board | undefined>(undefined);
  const second = useSignal<number | undefined>(undefined);
  const look = async () => {
    if (board.value) return;
    board.value = { startMs: undefined, tiles: [] };
    try {
      const answer = await fetch(`/${await playbackOf(of)}/storyboard.vtt`);
      if (answer.ok) board.value = readBoard(await answer.text(), answer.url);
    } catch {
      // Without it the picture stays as it is.
    }
  };
  const tile = board.value && second.value !== undefined ? tileAt(board.value, second.value) : undefined;
  return (
    <span
      class="scrubbed"
      onPointerEnter={look}
      onPointerMove={(event) => {
        const box = event.currentTarget.getBoundingClientRect();
        const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
        second.value = share * Math.max(0, of.duration);
      }}
      onPointerLeave={() => {
        second.value = undefined;
      }}
    >
      <Thumbnail of={of} />
      {tile && (
        <svg
          class="board"
          viewBox={`${tile.x} ${tile.y} ${tile.width} ${tile.height}`}
          preserveAspectRatio="xMidYMid slice"
          aria-hidden="true"
          focusable="false"
        >
          <image href={tile.url} />
        </svg>
      )}
      {tile && second.value !== undefined && (
        <>
          <span class="board-time">{clock(second.value)}</span>
          <progress
            class="board-bar"
            max={Math.max(1, of.duration)}
            value={second.value}
            aria-hidden="true"
          />
        </>
      )}
    </span>
  );
}
