import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { embedCode, watchUrl } from "./addresses.ts";
import { call, stream } from "./api.ts";
import { Form, Select, Submit, Switch, TextField, useWork } from "./forms.tsx";
import { useLoaded } from "./load.ts";
import { Button, Card, Copyable, Empty, LinkButton, Waiting } from "./parts.tsx";
import { titleOf } from "./recordings.tsx";
import { claimsOf, type RuleDraft, type TokenDraft, tokenBodyOf } from "./token.ts";
import type { InputSummary, Video } from "./types.ts";
import { moment, nameOf } from "./words.ts";

const lives = [
  [String(15 * 60), "15 minutes"],
  [String(3_600), "1 hour"],
  [String(6 * 3_600), "6 hours"],
  [String(24 * 3_600), "24 hours"],
] as const;
const ruleTypes = [
  ["any", "Everybody"],
  ["ip.src", "Addresses"],
  ["ip.geoip.country", "Countries"],
  ["ip.geoip.asnum", "Networks (AS)"],
] as const;
const examples: Readonly<Record<RuleDraft["type"], string>> = {
  any: "",
  "ip.src": "203.0.113.0/24, 2001:db8::/32",
  "ip.geoip.country": "DE, FR, JP",
  "ip.geoip.asnum": "64496, 64497",
};
const maxRules = 5;

/** Puts a token together and shows what to do with it. */
export function TokenBuilder(): JSX.Element {
  const things = useLoaded(async (signal) => {
    const [{ liveInputs }, videos] = await Promise.all([
      call<{ liveInputs: InputSummary[] }>("GET", `${stream}/live_inputs`, undefined, signal),
      call<Video[]>("GET", `${stream}?limit=100`, undefined, signal),
    ]);
    return [
      ...liveInputs.map((input) => [input.uid, `Live input: ${nameOf(input, input.uid)}`] as const),
      ...videos.map(
        (video) => [video.uid, `Recording: ${titleOf(video)}, ${moment(video.created)}`] as const,
      ),
    ];
  });
  return (
    <Card
      title="Make a signed URL"
      about="For one live input or one recording; a token for it opens nothing else."
    >
      <Waiting on={things}>
        {(options) =>
          options.length === 0 ? (
            <Empty icon="live" title="Nothing to watch yet">
              <p>Make a live input first.</p>
            </Empty>
          ) : (
            <Builder options={options} />
          )
        }
      </Waiting>
    </Card>
  );
}

function Builder({ options }: { readonly options: readonly (readonly [string, string])[] }): JSX.Element {
  const uid = useSignal(options[0]?.[0] ?? "");
  const draft = useSignal<TokenDraft>({
    seconds: 3_600,
    notBefore: "",
    downloadable: false,
    viewerId: "",
    maxSessions: "",
    rules: [],
    keyId: "",
    pem: "",
  });
  const token = useSignal<string | undefined>(undefined);
  const work = useWork();
  const set = (change: Partial<TokenDraft>) => {
    draft.value = { ...draft.value, ...change };
    token.value = undefined;
  };
  const setRule = (at: number, change: Partial<RuleDraft>) =>
    set({ rules: draft.value.rules.map((rule, index) => (index === at ? { ...rule, ...change } : rule)) });
  const unnamed = draft.value.rules.findIndex(({ type, values }) => type !== "any" && !values.trim());
  const make = () =>
    work.run(
      async () => {
        const rule = draft.value.rules[unnamed];
        if (rule)
          throw new Error(
            `Rule ${unnamed + 1} names nobody yet: write which, such as ${examples[rule.type]}.`,
          );
        return call<{ token: string }>(
          "POST",
          `${stream}/${uid.value}/token`,
          tokenBodyOf(draft.value, Math.floor(Date.now() / 1_000)),
        );
      },
      (made) => {
        token.value = made.token;
      },
    );
  const { seconds, notBefore, downloadable, viewerId, maxSessions, rules, keyId, pem } = draft.value;
  return (
    <Form onSubmit={make}>
      <div class="pair wide-first">
        <Select
          label="For"
          value={uid.value}
          options={options}
          onChange={(value) => {
            uid.value = value;
            token.value = undefined;
          }}
        />
        <Select
          label="Good for"
          value={String(seconds)}
          options={lives}
          error={work.wrong("/exp")}
          onChange={(value) => set({ seconds: Number(value) })}
        />
      </div>
      <Switch
        label="May be downloaded"
        hint="Lets its holder have a recording as a file."
        on={downloadable}
        onChange={(on) => set({ downloadable: on })}
      />
      <fieldset class="rules">
        <legend>Access rules</legend>
        <p class="hint">
          Read from the top; the first that fits a viewer decides. Where none fits, the viewer is let in.
        </p>
        {rules.map((rule, index) => (
          <div class="rule" key={index}>
            <Select
              label={`Rule ${index + 1}`}
              value={rule.action}
              options={[
                ["allow", "Allow"],
                ["block", "Block"],
              ]}
              onChange={(action) => setRule(index, { action: action as RuleDraft["action"] })}
            />
            <Select
              label="Whom"
              value={rule.type}
              options={ruleTypes}
              onChange={(type) => setRule(index, { type: type as RuleDraft["type"], values: "" })}
            />
            {rule.type !== "any" && (
              <TextField
                label="Which"
                mono
                placeholder={examples[rule.type]}
                value={rule.values}
                onInput={(values) => setRule(index, { values })}
              />
            )}
            <Button
              kind="quiet"
              icon="trash"
              label={`Remove rule ${index + 1}`}
              onClick={() => set({ rules: rules.filter((_, other) => other !== index) })}
            />
          </div>
        ))}
        {work.wrong("/accessRules") && <p class="wrong">{work.wrong("/accessRules")}</p>}
        {rules.length < maxRules && (
          <Button
            icon="plus"
            onClick={() =>
              set({ rules: [...rules, { type: "ip.geoip.country", action: "allow", values: "" }] })
            }
          >
            Add a rule
          </Button>
        )}
      </fieldset>
      <details class="how">
        <summary>More</summary>
        <div class="stack">
          <div class="pair">
            <TextField
              label="Not before"
              type="datetime-local"
              hint="In your own time zone; empty is at once."
              value={notBefore}
              error={work.wrong("/nbf")}
              onInput={(value) => set({ notBefore: value })}
            />
            <TextField
              label="Places at once"
              type="number"
              min={1}
              max={1000}
              hint="From how many it may be used within a minute; empty is any."
              value={maxSessions}
              error={work.wrong("/maxSessions")}
              onInput={(value) => set({ maxSessions: value })}
            />
          </div>
          <TextField
            label="Viewer id"
            hint="Yours; with it every token of this viewer can be taken back."
            value={viewerId}
            error={work.wrong("/viewerId")}
            onInput={(value) => set({ viewerId: value })}
          />
          <TextField
            label="Key id"
            mono
            hint="Empty signs with the server’s own key."
            value={keyId}
            error={work.wrong("/id")}
            onInput={(value) => set({ keyId: value })}
          />
          <TextField
            label="Private key of that id"
            hint="As it was handed out, in base64."
            lines={3}
            mono
            value={pem}
            error={work.wrong("/pem")}
            onInput={(value) => set({ pem: value })}
          />
        </div>
      </details>
      <Submit of={work} action="Make token" />
      {token.value && <Made token={token.value} />}
    </Form>
  );
}

function Made({ token }: { readonly token: string }): JSX.Element {
  const { exp } = claimsOf(token) ?? {};
  return (
    <section class="made" aria-label="The token">
      <div class="row spread">
        <h3>Ready to share</h3>
        {typeof exp === "number" && (
          <span class="hint">Until {moment(new Date(exp * 1_000).toISOString())}</span>
        )}
      </div>
      <div class="stack tight">
        <Copyable label="Watch page" value={watchUrl(token)} />
        <Copyable label="Embed code" value={embedCode(token)} />
        <Copyable label="HLS" value={`${location.origin}/${token}/manifest/video.m3u8`} />
        <Copyable label="Token" value={token} />
        <LinkButton href={`/${token}/watch`} outside icon="open">
          Try it
        </LinkButton>
      </div>
    </section>
  );
}
