import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { call, stream } from "./api.ts";
import { DeleteButton } from "./confirm.tsx";
import { FormDialog, into, Select, Switch, sets, TextField, Trouble, useWork } from "./forms.tsx";
import { useLoaded } from "./load.ts";
import { Badge, Button, Card, Empty, Waiting } from "./parts.tsx";
import type { Input, Output } from "./types.ts";
import { ago, hostOf } from "./words.ts";

type State = NonNullable<Output["status"]>["current"];

const states: Readonly<
  Record<State["state"], { readonly name: string; readonly tone: "good" | "warn" | "bad" | "idle" }>
> = {
  connecting: { name: "Connecting", tone: "warn" },
  connected: { name: "Connected", tone: "good" },
  reconnecting: { name: "Reconnecting", tone: "warn" },
  errored: { name: "Needs you", tone: "bad" },
  disconnected: { name: "Waits for a broadcast", tone: "idle" },
};
const services = {
  youtube: { name: "YouTube", url: "rtmps://a.rtmps.youtube.com/live2" },
  twitch: { name: "Twitch", url: "rtmp://live.twitch.tv/app" },
  facebook: { name: "Facebook", url: "rtmps://live-api-s.facebook.com:443/rtmp" },
  other: { name: "Another server", url: "rtmps://" },
  relay: { name: "A relay of Media over QUIC", url: "https://" },
} as const;
type Service = keyof typeof services;

/** Other services that a live input is sent on to. */
export function Outputs({ input }: { readonly input: Input }): JSX.Element {
  const path = `${stream}/live_inputs/${input.uid}/outputs`;
  const outputs = useLoaded((signal) => call<Output[]>("GET", path, undefined, signal), {
    key: input.uid,
    everyMs: 2_000,
  });
  const adding = useSignal(false);
  const open = sets(adding, true);
  return (
    <Card
      title="Outputs"
      about="What the encoder sends goes on to these services as it is, whenever this input is on air."
      actions={
        <Button icon="plus" onClick={open}>
          Add an output
        </Button>
      }
    >
      <Waiting on={outputs}>
        {(all) =>
          all.length === 0 ? (
            <Empty icon="send" title="Goes nowhere else">
              <p>
                Send this broadcast to YouTube, Twitch, any RTMP server or a relay of Media over QUIC at the
                same time, without a second upload.
              </p>
              <Button kind="main" icon="plus" onClick={open}>
                Add an output
              </Button>
            </Empty>
          ) : (
            <ul class="rows">
              {all.map((output) => (
                <Row key={output.uid} output={output} path={path} reload={outputs.reload} />
              ))}
            </ul>
          )
        }
      </Waiting>
      {adding.value && (
        <Add
          path={path}
          onClose={sets(adding, false)}
          added={() => {
            adding.value = false;
            void outputs.reload();
          }}
        />
      )}
    </Card>
  );
}

function Row(props: {
  readonly output: Output;
  readonly path: string;
  readonly reload: () => Promise<void>;
}): JSX.Element {
  const { output, path, reload } = props;
  const work = useWork();
  /** What was just chosen, until the server has said so too. */
  const chosen = useSignal<boolean | undefined>(undefined);
  const enabled = chosen.value ?? output.enabled;
  const current = output.status?.current;
  const shown = current && states[current.state];
  const service = Object.values(services).find(({ url }) => output.url.startsWith(url) && url.length > 8);
  const name = service?.name ?? hostOf(output.url);
  return (
    <li class="output">
      <div class="row-main">
        <span class="row-name">{name}</span>
        <code class="hint">{output.url}</code>
        {current?.error && enabled && (
          <p class={current.state === "errored" ? "wrong" : "hint"}>{current.error}</p>
        )}
        <Trouble of={work} />
      </div>
      <span class="row-badges">
        {enabled ? (
          <Badge tone={shown?.tone ?? "idle"}>{shown?.name ?? "Not tried yet"}</Badge>
        ) : (
          <Badge>Off</Badge>
        )}
      </span>
      {current && enabled && <span class="hint">{ago(current.statusEnteredAt)}</span>}
      <Switch
        label={`Send to ${name}`}
        bare
        on={enabled}
        onChange={async (on) => {
          chosen.value = on;
          await work.run(async () => {
            await call<Output>("PUT", `${path}/${output.uid}`, { enabled: on });
            await reload();
          });
          chosen.value = undefined;
        }}
      />
      <DeleteButton
        label={`Delete output ${name}`}
        title={`Delete the output to ${name}?`}
        text="It is disconnected, and its stream key is forgotten here."
        action="Delete output"
        path={`${path}/${output.uid}`}
        then={reload}
      />
    </li>
  );
}

function Add(props: {
  readonly path: string;
  readonly onClose: () => void;
  readonly added: () => void;
}): JSX.Element {
  const service = useSignal<Service>("youtube");
  const url = useSignal<string>(services.youtube.url);
  const key = useSignal("");
  const work = useWork();
  const add = () =>
    work.run(
      () => call<Output>("POST", props.path, { url: url.value.trim(), streamKey: key.value.trim() }),
      props.added,
    );
  return (
    <FormDialog title="Add an output" action="Add" of={work} onSubmit={add} onClose={props.onClose}>
      <Select
        label="Service"
        value={service.value}
        options={Object.entries(services).map(([value, { name }]) => [value, name] as const)}
        onChange={(value) => {
          service.value = value as Service;
          url.value = services[service.value].url;
        }}
      />
      <TextField
        label="Server"
        hint={
          service.value === "relay"
            ? "https:// or moqt:// for QUIC alone, with {key} where the key belongs in it; else it is the session’s token."
            : "As the service gives it to encoders; look there whether it is still this one."
        }
        type="url"
        mono
        value={url.value}
        error={work.wrong("/url")}
        onInput={into(url)}
      />
      <TextField
        label="Stream key"
        hint="The service’s, not the one of this input. It is kept sealed."
        type="password"
        mono
        value={key.value}
        error={work.wrong("/streamKey")}
        onInput={into(key)}
      />
    </FormDialog>
  );
}
