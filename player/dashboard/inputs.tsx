import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { call, session, stream } from "./api.ts";
import { FormDialog, into, NameField, Switch, sets, useWork } from "./forms.tsx";
import { Icon } from "./icons.tsx";
import { useLoaded } from "./load.ts";
import { Badge, Button, Card, Empty, Head, LinkButton, Note, Waiting } from "./parts.tsx";
import { go, home } from "./place.ts";
import { Thumbnail } from "./thumbnail.tsx";
import type { Input, InputSummary, Video } from "./types.ts";
import { ago, count, nameOf } from "./words.ts";

/** All live inputs: what is on air first. */
export function Inputs(): JSX.Element {
  const creating = useSignal(false);
  const all = useLoaded(
    async (signal) => {
      const [{ liveInputs }, live] = await Promise.all([
        call<{ liveInputs: InputSummary[] }>("GET", `${stream}/live_inputs`, undefined, signal),
        call<Video[]>("GET", `${stream}?status=live-inprogress`, undefined, signal),
      ]);
      const onAir = new Map(live.map((video) => [video.liveInput, video]));
      const rank = (input: InputSummary) => Number(onAir.has(input.uid));
      return { inputs: liveInputs.toSorted((a, b) => rank(b) - rank(a)), onAir };
    },
    { everyMs: 4_000 },
  );
  const open = sets(creating, true);
  const onAir = all.data.value?.onAir.size ?? 0;
  return (
    <>
      <Head
        title="Live inputs"
        beside={onAir > 0 && <Badge tone="live">{onAir} on air</Badge>}
        about="Each has a stream key for an encoder and an address for viewers."
        actions={
          <Button kind="main" icon="plus" onClick={open}>
            New live input
          </Button>
        }
      />
      {session.value?.passwordSet === false && (
        <Note actions={<LinkButton href={`${home}/admin`}>Choose a password</LinkButton>}>
          <b>You came in by a link that works once.</b> Choose a password, so that you can come back.
        </Note>
      )}
      <Waiting on={all}>
        {({ inputs, onAir }) =>
          inputs.length === 0 ? (
            <Empty icon="live" title="No live inputs yet">
              <p>
                A live input is where an encoder such as OBS sends its stream. Make one, paste its key into
                OBS, and go live.
              </p>
              <Button kind="main" icon="plus" onClick={open}>
                New live input
              </Button>
            </Empty>
          ) : (
            <>
              <ul class="cards">
                {inputs.map((input) => (
                  <li key={input.uid}>
                    <InputCard input={input} video={onAir.get(input.uid)} />
                  </li>
                ))}
              </ul>
              {inputs.length === 1 && inputs[0] && onAir.size === 0 && <FirstSteps input={inputs[0]} />}
            </>
          )
        }
      </Waiting>
      {creating.value && <NewInput onClose={sets(creating, false)} />}
    </>
  );
}

/** Shown until somebody has more than the one input that a first start makes. */
function FirstSteps({ input }: { readonly input: InputSummary }): JSX.Element {
  const name = nameOf(input, "this live input");
  return (
    <Card
      title="Go live in a minute"
      class="first"
      actions={
        <LinkButton kind="main" href={`${home}/inputs/${input.uid}`}>
          Open {name}
        </LinkButton>
      }
    >
      <ol class="steps">
        <li>
          <b>Copy two fields.</b> {name} has a server and a stream key, ready to paste.
        </li>
        <li>
          <b>Paste them into OBS,</b> or send a test picture with the ffmpeg command that is beside them.
        </li>
        <li>
          <b>Start streaming.</b> Picture and figures appear by themselves, the recording when you stop.
        </li>
      </ol>
    </Card>
  );
}

function InputCard({
  input,
  video,
}: {
  readonly input: InputSummary;
  readonly video: Video | undefined;
}): JSX.Element {
  const days = input.deleteRecordingAfterDays;
  return (
    <a class="tile" href={`${home}/inputs/${input.uid}`}>
      <span class="tile-picture">
        {video ? <Thumbnail of={video} everyMs={10_000} /> : <Icon name="live" size={30} />}
        {video ? <Badge tone="live">On air</Badge> : !input.enabled && <Badge tone="warn">Disabled</Badge>}
      </span>
      <span class="tile-name">{nameOf(input, "Live input")}</span>
      <span class="tile-about">
        {video ? `Began ${ago(video.created)}` : `Made ${ago(input.created)}`}
        {days !== null && ` · keeps recordings ${count(days, "day")}`}
      </span>
    </a>
  );
}

function NewInput({ onClose }: { readonly onClose: () => void }): JSX.Element {
  const name = useSignal("");
  const record = useSignal(true);
  const signed = useSignal(false);
  const work = useWork();
  const create = () =>
    work.run(
      () =>
        call<Input>("POST", `${stream}/live_inputs`, {
          meta: { name: name.value.trim() || "Live input" },
          recording: { mode: record.value ? "automatic" : "off", requireSignedURLs: signed.value },
        }),
      (made) => go(`${home}/inputs/${made.uid}`),
    );
  return (
    <FormDialog title="New live input" action="Create" of={work} onSubmit={create} onClose={onClose}>
      <NameField placeholder="Main stage" value={name.value} onInput={into(name)} of={work} />
      <Switch
        label="Record each broadcast"
        hint="The recording is there the moment the broadcast ends."
        on={record.value}
        onChange={into(record)}
      />
      <Switch
        label="Only viewers with a token"
        hint="Playback needs a signed URL; make them under Playback access or with the API."
        on={signed.value}
        onChange={into(signed)}
      />
    </FormDialog>
  );
}
