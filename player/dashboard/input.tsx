import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { doorsOf, embedCode, testCommand, watchUrl } from "./addresses.ts";
import { call, stream } from "./api.ts";
import { Audience } from "./audience.tsx";
import { confirm } from "./confirm.tsx";
import { HealthPanel } from "./health.tsx";
import { InputSettings } from "./input-settings.tsx";
import { useLoaded } from "./load.ts";
import { Outputs } from "./outputs.tsx";
import { Badge, Button, Card, Copyable, Head, LinkButton, Note, say, Tabs, Waiting } from "./parts.tsx";
import { home } from "./place.ts";
import { Preview } from "./preview.tsx";
import { RecordingList } from "./recordings.tsx";
import type { Input } from "./types.ts";
import { ago, nameOf } from "./words.ts";

const tabs = [
  ["", "Overview"],
  ["recordings", "Recordings"],
  ["outputs", "Outputs"],
  ["settings", "Settings"],
] as const;

/** One live input. */
export function InputPage({
  uid,
  tab = "",
}: {
  readonly uid: string;
  readonly tab: string | undefined;
}): JSX.Element {
  const path = `${stream}/live_inputs/${uid}`;
  const input = useLoaded((signal) => call<Input>("GET", path, undefined, signal), {
    key: uid,
    everyMs: 2_000,
  });
  const here = `${home}/inputs/${uid}`;
  const known = input.data.value;
  const name = known ? nameOf(known, "Live input") : "Live input";
  return (
    <>
      <Head
        title={name}
        back={{ href: home, name: "Live inputs" }}
        beside={known && <StateBadge input={known} />}
        actions={
          known && (
            <>
              {known.status?.current.state === "connected" && (
                <Button
                  icon="stop"
                  onClick={() =>
                    confirm({
                      title: "End this broadcast?",
                      text: "Viewers are told that it is over, and the encoder is disconnected. An encoder that connects again begins another broadcast.",
                      action: "End broadcast",
                      does: async () => {
                        await call("POST", `/v1/live_inputs/${uid}/complete`, {});
                        say("The broadcast has ended.");
                        await input.reload();
                      },
                    })
                  }
                >
                  End broadcast
                </Button>
              )}
              <LinkButton href={`/${uid}/watch`} outside icon="open">
                Watch page
              </LinkButton>
            </>
          )
        }
      />
      <Tabs
        label={`About ${name}`}
        tabs={tabs.map(([part, title]) => ({
          href: part ? `${here}/${part}` : here,
          name: title,
          here: part === tab,
        }))}
      />
      <Waiting on={input}>
        {(present) =>
          tab === "recordings" ? (
            <RecordingList key={uid} of={uid} />
          ) : tab === "outputs" ? (
            <Outputs input={present} />
          ) : tab === "settings" ? (
            <InputSettings input={present} changed={input.reload} />
          ) : (
            <Overview input={present} reload={input.reload} />
          )
        }
      </Waiting>
    </>
  );
}

function StateBadge({ input }: { readonly input: Input }): JSX.Element {
  if (!input.enabled) return <Badge tone="warn">Disabled</Badge>;
  const current = input.status?.current;
  if (current?.state === "connected") return <Badge tone="live">On air</Badge>;
  return <Badge>{current ? `Off air since ${ago(current.statusEnteredAt)}` : "Never connected"}</Badge>;
}

function Overview({
  input,
  reload,
}: {
  readonly input: Input;
  readonly reload: () => Promise<void>;
}): JSX.Element {
  const { uid } = input;
  const never = input.status === null;
  return (
    <div class={`overview${never ? " begin" : ""}`}>
      <div class="stack">
        {!input.enabled && (
          <Note tone="warn">
            This live input is disabled: encoders are refused until it is enabled in its settings.
          </Note>
        )}
        <Preview of={input} label={`Preview of ${nameOf(input, "the live input")}`} autoplay />
        <HealthPanel uid={uid} advice={input.status?.current.advice} />
        <Audience path={`/v1/live_inputs/${uid}`} />
      </div>
      <div class="stack">
        <Encoder input={input} reload={reload} open={never} />
        <Card
          title="Share"
          about={input.recording.requireSignedURLs ? "Viewers need a token in place of the uid." : undefined}
        >
          {input.recording.requireSignedURLs ? (
            <LinkButton href={`${home}/access`} icon="access">
              Make a signed URL
            </LinkButton>
          ) : (
            <div class="stack tight">
              <Copyable label="Watch page" value={watchUrl(uid)} />
              <Copyable label="Embed code" value={embedCode(uid)} />
              <Copyable label="HLS" value={`${location.origin}/${uid}/manifest/video.m3u8`} />
            </div>
          )}
        </Card>
      </div>
    </div>
  );
}

/** What an encoder needs, and how it is entered there. */
function Encoder(props: {
  readonly input: Input;
  readonly reload: () => Promise<void>;
  readonly open: boolean;
}): JSX.Element {
  const { input, reload, open } = props;
  const doors = doorsOf(input);
  const secure = useSignal(false);
  const door = (secure.value ? doors.at(-1) : doors[0]) ?? { name: "", server: "", key: "" };
  const rotate = () =>
    confirm({
      title: "Make a new stream key?",
      text: "The present key stops working at once, and an encoder that uses it is disconnected. Paste the new key into it afterwards.",
      action: "Make a new key",
      does: async () => {
        await call("POST", `${stream}/live_inputs/${input.uid}/rotate_keys`);
        say("There is a new key; paste it into the encoder.");
        await reload();
      },
    });
  return (
    <Card
      title="Encoder"
      about="For OBS, ffmpeg or hardware."
      actions={
        doors.length > 1 && (
          <fieldset class="segmented" aria-label="Protocol">
            {doors.map(({ name }, index) => (
              <button
                key={name}
                type="button"
                aria-pressed={secure.value === index > 0}
                onClick={() => {
                  secure.value = index > 0;
                }}
              >
                {name}
              </button>
            ))}
          </fieldset>
        )
      }
    >
      <div class="stack tight">
        <Copyable label="Server" value={door.server} />
        <Copyable label="Stream key" value={door.key} secret />
        <div class="row">
          <Button icon="rotate" onClick={rotate}>
            New key
          </Button>
          {input.keysRotatedAt && <span class="hint">Last changed {ago(input.keysRotatedAt)}</span>}
        </div>
      </div>
      <details class="how" open={open}>
        <summary>How to go live with OBS</summary>
        <ol class="steps">
          <li>
            In OBS open <b>Settings › Stream</b> and choose <b>Custom…</b> as the service.
          </li>
          <li>
            Paste <b>Server</b> and <b>Stream key</b> from above.
          </li>
          <li>
            Under <b>Settings › Output</b> choose the mode <b>Advanced</b> and set <b>Keyframe interval</b> to{" "}
            <b>2 s</b>.
          </li>
          <li>
            Press <b>Start streaming</b>. The picture appears on this page by itself.
          </li>
        </ol>
        {secure.value && (
          <p class="hint">
            OBS takes RTMPS only from a server whose certificate it trusts: set tlsCert and tlsKey, or use
            RTMP.
          </p>
        )}
      </details>
      <details class="how">
        <summary>No encoder at hand?</summary>
        <p class="hint">This sends a test picture from a machine that has ffmpeg.</p>
        <Copyable label="Test picture" value={testCommand(input)} secret />
      </details>
    </Card>
  );
}
