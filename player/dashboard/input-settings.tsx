import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { call, stream } from "./api.ts";
import { DeleteButton } from "./confirm.tsx";
import { Choice, Form, NameField, Select, Switch, TextField, Trouble, useWork } from "./forms.tsx";
import { Button, Card, Note, say } from "./parts.tsx";
import { go, home } from "./place.ts";
import type { Input, InputChange } from "./types.ts";
import { nameOf } from "./words.ts";

const profiles: Readonly<Record<Input["profile"], { name: string; about: string }>> = {
  low: { name: "Low latency", about: "Parts of half a second; every player plays it without a stall." },
  ultra: { name: "Ultra low", about: "Parts of a fifth of a second, for players that can." },
  safe: { name: "Safe", about: "Plain HLS in segments of about four seconds, for the oldest players." },
};
const ladders: Readonly<Record<Exclude<NonNullable<Input["ladder"]>, object>, string>> = {
  default: "720p to 360p",
  full: "1080p to 240p",
  light: "480p alone",
  none: "The source alone",
};
const serverLadder = "server";
const ownLadder = "own";

/** The form as it is being filled in. */
interface Draft {
  readonly name: string;
  readonly enabled: boolean;
  readonly profile: Input["profile"];
  readonly ladder: string;
  readonly record: boolean;
  readonly timeout: string;
  readonly keep: string;
  readonly signed: boolean;
  readonly origins: string;
  readonly hideViewers: boolean;
}

function draftOf(input: Input): Draft {
  const { recording, ladder, deleteRecordingAfterDays } = input;
  return {
    name: nameOf(input, ""),
    enabled: input.enabled,
    profile: input.profile,
    ladder: ladder === null ? serverLadder : typeof ladder === "string" ? ladder : ownLadder,
    record: recording.mode === "automatic",
    timeout: String(recording.timeoutSeconds),
    keep: deleteRecordingAfterDays === null ? "" : String(deleteRecordingAfterDays),
    signed: recording.requireSignedURLs,
    origins: recording.allowedOrigins.join("\n"),
    hideViewers: recording.hideLiveViewerCount,
  };
}

function changeOf(draft: Draft, before: Draft, input: Input): InputChange {
  const changed = (field: keyof Draft) => draft[field] !== before[field];
  // Only what was touched: the server's own time-out stays the server's until somebody chooses another.
  return {
    ...(changed("name") && { meta: { ...input.meta, name: draft.name.trim() } }),
    ...(changed("enabled") && { enabled: draft.enabled }),
    ...(changed("profile") && { profile: draft.profile }),
    ...(changed("ladder") && {
      ladder: draft.ladder === serverLadder ? null : (draft.ladder as keyof typeof ladders),
    }),
    ...(changed("keep") && { deleteRecordingAfterDays: draft.keep.trim() ? Number(draft.keep) : null }),
    recording: {
      ...(changed("record") && { mode: draft.record ? ("automatic" as const) : ("off" as const) }),
      ...(changed("timeout") && { timeoutSeconds: Number(draft.timeout) }),
      ...(changed("signed") && { requireSignedURLs: draft.signed }),
      ...(changed("origins") && { allowedOrigins: draft.origins.split(/[\s,]+/).filter(Boolean) }),
      ...(changed("hideViewers") && { hideLiveViewerCount: draft.hideViewers }),
    },
  };
}

/** What an operator may change of a live input. */
export function InputSettings(props: {
  readonly input: Input;
  readonly changed: () => Promise<void>;
}): JSX.Element {
  const { input, changed } = props;
  const before = useSignal(draftOf(input));
  const draft = useSignal(before.value);
  const work = useWork();
  const set = (change: Partial<Draft>) => {
    draft.value = { ...draft.value, ...change };
  };
  const touched = (Object.keys(draft.value) as (keyof Draft)[]).some(
    (field) => draft.value[field] !== before.value[field],
  );
  const save = () =>
    work.run(
      () =>
        call<Input>("PUT", `${stream}/live_inputs/${input.uid}`, changeOf(draft.value, before.value, input)),
      (saved) => {
        before.value = draftOf(saved);
        draft.value = before.value;
        say("Saved.");
        void changed();
      },
    );
  const origin = [...(work.trouble.value ? ["/recording/allowedOrigins"] : [])]
    .concat(draft.value.origins.split(/[\s,]+/).map((_, index) => `/recording/allowedOrigins/${index}`))
    .map((pointer) => work.wrong(pointer))
    .find(Boolean);
  const ladderOptions: (readonly [string, string])[] = [
    [serverLadder, "As the server is set"],
    ...Object.entries(ladders),
    ...(before.value.ladder === ownLadder
      ? [[ownLadder, "A list of its own, set with the API"] as const]
      : []),
  ];
  const { name, enabled, profile, ladder, record, timeout, keep, signed, origins, hideViewers } = draft.value;
  return (
    <Form onSubmit={save} class="settings">
      <Card title="General">
        <div class="stack">
          <NameField value={name} onInput={(name) => set({ name })} of={work} />
          <Switch
            label="Enabled"
            hint="Off refuses encoders, and ends the one that publishes."
            on={enabled}
            onChange={(enabled) => set({ enabled })}
          />
        </div>
      </Card>
      <Card title="Picture" about="Holds from the next broadcast on.">
        <div class="stack">
          <Choice
            label="Latency"
            value={profile}
            options={profiles}
            onChange={(profile) => set({ profile })}
          />
          <Select
            label="Renditions below the source"
            hint="Made on this installation's workers; what is not smaller than the source is left out."
            value={ladder}
            options={ladderOptions}
            error={work.wrong("/ladder")}
            onChange={(ladder) => set({ ladder })}
          />
        </div>
      </Card>
      <Card title="Recording">
        <div class="stack">
          <Switch
            label="Record each broadcast"
            hint="The recording is there the moment the broadcast ends, at the same addresses."
            on={record}
            onChange={(record) => set({ record })}
          />
          <TextField
            label="Delete recordings after (days)"
            hint="30 to 1096; empty keeps them for ever."
            type="number"
            min={30}
            max={1096}
            value={keep}
            error={work.wrong("/deleteRecordingAfterDays")}
            onInput={(keep) => set({ keep })}
          />
          <TextField
            label="Wait for an encoder that vanished (seconds)"
            hint="It may come back that long and go on in the same broadcast; 0 follows the server's setting."
            type="number"
            min={0}
            max={3600}
            value={timeout}
            error={work.wrong("/recording/timeoutSeconds")}
            onInput={(timeout) => set({ timeout })}
          />
        </div>
      </Card>
      <Card title="Who may watch">
        <div class="stack">
          <Switch
            label="Only viewers with a token"
            hint="Refused without one, on every address, within a second of the change."
            on={signed}
            onChange={(signed) => set({ signed })}
          />
          <TextField
            label="Sites that may show it"
            hint="One host a line, such as example.com, *.example.com or localhost:3000; empty is any."
            lines={3}
            mono
            value={origins}
            error={origin}
            onInput={(origins) => set({ origins })}
          />
          <Switch
            label="Keep the number of viewers to yourself"
            hint="The public count of viewers is not answered."
            on={hideViewers}
            onChange={(hideViewers) => set({ hideViewers })}
          />
        </div>
      </Card>
      <Trouble of={work} />
      {work.trouble.value !== undefined && origin && <Note tone="bad">{origin}</Note>}
      <div class={`save${touched ? " touched" : ""}`}>
        {touched && <span class="hint">There are changes that are not saved.</span>}
        <Button
          disabled={!touched}
          onClick={() => {
            draft.value = before.value;
            work.trouble.value = undefined;
          }}
        >
          Discard
        </Button>
        <Button kind="main" type="submit" busy={work.busy.value} disabled={!touched}>
          Save
        </Button>
      </div>
      <Card title="Delete this live input" class="danger-zone">
        <div class="row spread">
          <p class="about">Ends what it publishes and makes its key worthless. Its recordings stay.</p>
          <DeleteButton
            title={`Delete ${nameOf(input, "this live input")}?`}
            text="Its encoder is disconnected, and its address answers nobody from then on. Recordings stay. This cannot be undone."
            action="Delete live input"
            path={`${stream}/live_inputs/${input.uid}`}
            then={() => go(home)}
          >
            Delete
          </DeleteButton>
        </div>
      </Card>
    </Form>
  );
}
