import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { call, stream } from "./api.ts";
import { into, TextField } from "./forms.tsx";
import { useLoaded } from "./load.ts";
import { Badge, Button, Empty, Head, Waiting } from "./parts.tsx";
import { home } from "./place.ts";
import { Scrubbed, Thumbnail } from "./thumbnail.tsx";
import type { Video } from "./types.ts";
import { ago, clock, count, nameOf, size, stretch } from "./words.ts";

const page = 60;

/** Every recording there is. */
export function Recordings(): JSX.Element {
  const usage = useLoaded((signal) =>
    call<{ totalStorageMinutes: number; videoCount: number }>(
      "GET",
      `${stream}/storage-usage`,
      undefined,
      signal,
    ),
  );
  const known = usage.data.value;
  return (
    <>
      <Head
        title="Recordings"
        about={
          known && known.videoCount > 0
            ? `${count(known.videoCount, "recording")}, ${stretch(known.totalStorageMinutes * 60)} in all.`
            : "Broadcasts that are over, and those that are on air."
        }
      />
      <RecordingList />
    </>
  );
}

/** The recordings of one live input, or of all. */
export function RecordingList({ of }: { readonly of?: string }): JSX.Element {
  const search = useSignal("");
  const limit = useSignal(page);
  const query = new URLSearchParams({ limit: String(limit.value) });
  if (of) query.set("live_input_id", of);
  if (search.value.trim()) query.set("search", search.value.trim());
  const videos = useLoaded((signal) => call<Video[]>("GET", `${stream}?${query}`, undefined, signal), {
    key: String(query),
    everyMs: 5_000,
  });
  return (
    <div class="stack">
      <div class="search">
        <TextField label="Search" placeholder="Name or id" value={search.value} onInput={into(search)} />
      </div>
      <Waiting on={videos}>
        {(all) =>
          all.length === 0 ? (
            search.value ? (
              <Empty icon="recordings" title="Nothing is called that">
                <p>No recording has “{search.value}” in its name or id.</p>
              </Empty>
            ) : (
              <Empty icon="recordings" title="No recordings yet">
                <p>
                  A broadcast of a live input that records is here while it is on air, and stays when it is
                  over.
                </p>
              </Empty>
            )
          ) : (
            <>
              <ul class="cards">
                {all.map((video) => (
                  <li key={video.uid}>
                    <VideoCard video={video} />
                  </li>
                ))}
              </ul>
              {all.length === limit.value && (
                <Button
                  onClick={() => {
                    limit.value += page;
                  }}
                >
                  Show more
                </Button>
              )}
            </>
          )
        }
      </Waiting>
    </div>
  );
}

function VideoCard({ video }: { readonly video: Video }): JSX.Element {
  const live = video.status.state === "live-inprogress";
  return (
    <a class="tile" href={`${home}/recordings/${video.uid}`}>
      <span class="tile-picture">
        {live ? <Thumbnail of={video} everyMs={10_000} /> : <Scrubbed of={video} />}
        {live ? <Badge tone="live">On air</Badge> : <span class="tile-length">{clock(video.duration)}</span>}
      </span>
      <span class="tile-name">{titleOf(video)}</span>
      <span class="tile-about">
        {ago(video.created)}
        {!live && ` · ${size(video.size)}`}
        {video.clippedFrom && " · clip"}
        {video.requireSignedURLs && " · needs a token"}
      </span>
    </a>
  );
}

/** A video's name; one that was made of its live input's has the moment written for people. */
export function titleOf(video: Video): string {
  return nameOf(video, "Recording").replace(/ \d{4}-\d\d-\d\dT[\d:.]+Z$/, "");
}
