import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { SluicePlayer } from "../player.ts";
import { embedCode, playbackOf, watchUrl } from "./addresses.ts";
import { call, stream } from "./api.ts";
import { Audience } from "./audience.tsx";
import { DeleteButton } from "./confirm.tsx";
import { Form, FormDialog, into, NameField, Submit, Switch, sets, TextField, useWork } from "./forms.tsx";
import { useLoaded } from "./load.ts";
import { Badge, Button, Card, Copyable, Head, LinkButton, Note, say, Waiting } from "./parts.tsx";
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
              <Button icon="scissors" onClick={sets(clipping, true)}>
                Clip
              </Button>
              {!live && <Download video={video} />}
              {!live && (
                <DeleteButton
                  title={`Delete ${titleOf(video)}?`}
                  text="Nobody can watch it from then on, and its files go. This cannot be undone."
                  action="Delete recording"
                  path={path}
                  then={() => go(list)}
                >
                  Delete
                </DeleteButton>
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
          onClose={sets(clipping, false)}
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
        <NameField value={name.value} onInput={into(name)} of={work} />
        <Switch label="Only viewers with a token" on={signed.value} onChange={into(signed)} />
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
          onInput={into(origins)}
        />
        <Submit of={work} action="Save" />
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
    <FormDialog title="Make a clip" action="Make clip" of={work} onSubmit={make} onClose={onClose}>
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
          onInput={into(from)}
        />
        <TextField
          label="To"
          mono
          value={to.value}
          error={work.wrong("/endTimeSeconds")}
          onInput={into(to)}
        />
      </div>
      <NameField value={name.value} onInput={into(name)} of={work} />
      {wrong.value && <Note tone="bad">{wrong.value}</Note>}
    </FormDialog>
  );
}
