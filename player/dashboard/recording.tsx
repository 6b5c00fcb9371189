import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { SluicePlayer } from "../player.ts";
import { embedCode, playbackOf, watchUrl } from "./addresses.ts";
import { call, stream } from "./api.ts";
import { Audience } from "./audience.tsx";
import { confirm } from "./confirm.tsx";
import { Form, Switch, TextField, Trouble, useWork } from "./forms.tsx";
import { useLoaded } from "./load.ts";
import { Badge, Button, Card, Copyable, Dialog, Head, LinkButton, Note, say, Waiting } from "./parts.tsx";
import { go, home } from "./place.ts";
import { Preview } from "./preview.tsx";
import { titleOf } from "./recordings.tsx";
import type { Video } from "./types.ts";
import { clock, moment, secondsOf, size } from "./words.ts";

const list = `${home}/recordings`;

/** One recording, or a broadcast that is on air. */
export function RecordingPage({ uid }: { readonly uid: string }): JSX.Element {
  const path = `${stream}/${uid}`;
  const loaded = useLoaded((signal) => call<Video>("GET", path, undefined, signal), {
    key: uid,
    everyMs: 5_000,
  });
  const clipping = useSignal(false);
  const box = useRef<HTMLDivElement>(null);
  const video = loaded.data.value;
  const live = video?.status.state === "live-inprogress";
  return (
    <>
      <Head
        title={video ? titleOf(video) : "Recording"}
        back={{ href: list, name: "Recordings" }}
        beside={live && <Badge tone="live">On air</Badge>}
        about={video && moment(video.created)}
        actions={
          video && (
            <>
              <Button
                icon="scissors"
                onClick={() => {
                  clipping.value = true;
                }}
              >
                Clip
              </Button>
              {!live && <Download video={video} />}
              {!live && (
                <Button
                  kind="danger"
                  icon="trash"
                  onClick={() =>
                    confirm({
                      title: `Delete ${titleOf(video)}?`,
                      text: "Nobody can watch it from then on, and its files go. This cannot be undone.",
                      action: "Delete recording",
                      does: async () => {
                        await call("DELETE", path);
                        go(list);
                        say("Deleted.");
                      },
                    })
                  }
                >
                  Delete
                </Button>
              )}
            </>
          )
        }
      />
      <Waiting on={loaded}>
        {(video) => (
          <div class="overview">
            <div class="stack" ref={box}>
              <Preview of={video} label={titleOf(video)} />
              <Audience path={`/v1/videos/${video.uid}`} />
              <Details video={video} live={live ?? false} />
            </div>
            <div class="stack">
              <Settings key={video.uid} video={video} changed={loaded.reload} />
              <Share video={video} />
            </div>
          </div>
        )}
      </Waiting>
      {clipping.value && video && (
        <Clip
          video={video}
          at={box.current?.querySelector<SluicePlayer>("sluice-player")?.currentTime}
          onClose={() => {
            clipping.value = false;
          }}
        />
      )}
    </>
  );
}

function Download({ video }: { readonly video: Video }): JSX.Element {
  const playback = useLoaded(() => playbackOf(video), { key: `${video.uid} ${video.requireSignedURLs}` });
  return (
    <LinkButton
      href={playback.data.value ? `/${playback.data.value}/downloads/default.mp4` : "#"}
      icon="download"
      download={`${titleOf(video)}.mp4`}
    >
      Download
    </LinkButton>
  );
}

function Details({ video, live }: { readonly video: Video; readonly live: boolean }): JSX.Element {
  const rows: readonly (readonly [string, JSX.Element | string])[] = [
    ["Length", live ? "Still growing" : clock(video.duration)],
    ["Size", live ? "Still growing" : size(video.size)],
    ["Began", moment(video.created)],
    ["Goes by itself", video.scheduledDeletion ? moment(video.scheduledDeletion) : "Never"],
    [
      "Live input",
      <a key="input" href={`${home}/inputs/${video.liveInput}`}>
        {video.liveInput}
      </a>,
    ],
    ...(video.clippedFrom
      ? [
          [
            "Clip of",
            <a key="clip" href={`${list}/${video.clippedFrom}`}>
              {video.clippedFrom}
            </a>,
          ] as const,
        ]
      : []),
    ["Id", <code key="id">{video.uid}</code>],
  ];
  return (
    <Card title="Details">
      <dl class="facts">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </Card>
  );
}

function Settings(props: { readonly video: Video; readonly changed: () => Promise<void> }): JSX.Element {
  const { video, changed } = props;
  const name = useSignal(titleOf(video));
  const signed = useSignal(video.requireSignedURLs);
  const origins = useSignal(video.allowedOrigins.join("\n"));
  const work = useWork();
  const hosts = origins.value.split(/[\s,]+/).filter(Boolean);
  const save = () =>
    work.run(
      () =>
        call<Video>("POST", `${stream}/${video.uid}`, {
          ...(name.value !== titleOf(video) && { meta: { ...video.meta, name: name.value.trim() } }),
          ...(signed.value !== video.requireSignedURLs && { requireSignedURLs: signed.value }),
          ...(hosts.join() !== video.allowedOrigins.join() && { allowedOrigins: hosts }),
        }),
      () => {
        say("Saved.");
        void changed();
      },
    );
  return (
    <Card title="Settings">
      <Form onSubmit={save}>
        <TextField
          label="Name"
          value={name.value}
          error={work.wrong("/meta")}
          onInput={(value) => {
            name.value = value;
          }}
        />
        <Switch
          label="Only viewers with a token"
          on={signed.value}
          onChange={(on) => {
            signed.value = on;
          }}
        />
        <TextField
          label="Sites that may show it"
          hint="One host a line; empty is any."
          lines={2}
          mono
          value={origins.value}
          error={
            work.wrong("/allowedOrigins") ??
            hosts.map((_, index) => work.wrong(`/allowedOrigins/${index}`)).find(Boolean)
          }
          onInput={(value) => {
            origins.value = value;
          }}
        />
        <Trouble of={work} fields={["/meta"]} />
        <div class="row end">
          <Button kind="main" type="submit" busy={work.busy.value}>
            Save
          </Button>
        </div>
      </Form>
    </Card>
  );
}

function Share({ video }: { readonly video: Video }): JSX.Element {
  return (
    <Card title="Share">
      {video.requireSignedURLs ? (
        <LinkButton href={`${home}/access`} icon="access">
          Make a signed URL
        </LinkButton>
      ) : (
        <div class="stack tight">
          <Copyable label="Watch page" value={watchUrl(video.uid)} />
          <Copyable label="Embed code" value={embedCode(video.uid)} />
          <Copyable label="HLS" value={`${location.origin}/${video.uid}/manifest/video.m3u8`} />
        </div>
      )}
    </Card>
  );
}

/** Makes a video of a stretch of this one. */
function Clip(props: {
  readonly video: Video;
  readonly at: number | undefined;
  readonly onClose: () => void;
}): JSX.Element {
  const { video, at, onClose } = props;
  const end = video.duration > 0 ? video.duration : undefined;
  const first = Math.floor(Math.min(at ?? 0, end ?? Number.POSITIVE_INFINITY));
  const from = useSignal(clock(first));
  const to = useSignal(clock(Math.min(first + 30, end ?? first + 30)));
  const name = useSignal(`${titleOf(video)} (clip)`);
  const wrong = useSignal<string | undefined>(undefined);
  const work = useWork();
  useEffect(() => {
    wrong.value = undefined;
  }, [from.value, to.value, wrong]);
  const make = () => {
    const [startTimeSeconds, endTimeSeconds] = [secondsOf(from.value), secondsOf(to.value)];
    if (
      startTimeSeconds === undefined ||
      endTimeSeconds === undefined ||
      endTimeSeconds <= startTimeSeconds
    ) {
      wrong.value = "Give two times such as 1:05 and 1:35, the second one later.";
      return;
    }
    return work.run(
      () =>
        call<Video>("POST", `${stream}/clip`, {
          clippedFromVideoUID: video.uid,
          startTimeSeconds,
          endTimeSeconds,
          meta: { name: name.value.trim() || titleOf(video) },
        }),
      (made) => {
        onClose();
        go(`${list}/${made.uid}`);
        say("The clip is ready.");
      },
    );
  };
  return (
    <Dialog title="Make a clip" onClose={onClose}>
      <Form onSubmit={make}>
        <p class="about">
          A video of its own. It begins at the keyframe at or before the time you give; nothing is encoded
          again.
        </p>
        <div class="pair">
          <TextField
            label="From"
            mono
            value={from.value}
            error={work.wrong("/startTimeSeconds")}
            onInput={(value) => {
              from.value = value;
            }}
          />
          <TextField
            label="To"
            mono
            value={to.value}
            error={work.wrong("/endTimeSeconds")}
            onInput={(value) => {
              to.value = value;
            }}
          />
        </div>
        <TextField
          label="Name"
          value={name.value}
          onInput={(value) => {
            name.value = value;
          }}
        />
        {wrong.value && <Note tone="bad">{wrong.value}</Note>}
        <Trouble of={work} fields={["/startTimeSeconds", "/endTimeSeconds"]} />
        <div class="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="main" type="submit" busy={work.busy.value}>
            Make clip
          </Button>
        </div>
      </Form>
    </Dialog>
  );
}
