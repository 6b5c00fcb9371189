import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { call, session, signOut } from "./api.ts";
import { DeleteButton } from "./confirm.tsx";
import { Choice, Form, FormDialog, into, Submit, sets, TextField, Trouble, useWork } from "./forms.tsx";
import { useLoaded } from "./load.ts";
import { Badge, Button, Card, Copyable, Head, ShownOnce, say, Waiting } from "./parts.tsx";
import type { ApiToken, AuditEntry } from "./types.ts";
import { ago, moment } from "./words.ts";

/** The installation itself: who may get in, and what was done. */
export function Admin(): JSX.Element {
  return (
    <>
      <Head title="Administration" about="Who may change things here, and who did." />
      <div class="overview">
        <div class="stack">
          <Tokens />
          <Audit />
        </div>
        <div class="stack">
          <Password />
          <Sessions />
        </div>
      </div>
    </>
  );
}

const scopeWords: Readonly<Record<string, string>> = {
  "stream:read": "Read",
  "stream:write": "Change",
  admin: "Everything",
};

function Tokens(): JSX.Element {
  const tokens = useLoaded((signal) => call<ApiToken[]>("GET", "/v1/tokens", undefined, signal));
  const adding = useSignal(false);
  const made = useSignal<(ApiToken & { token: string }) | undefined>(undefined);
  return (
    <Card
      title="API tokens"
      about="For programs: the API speaks as Cloudflare Stream’s does."
      actions={
        <Button icon="plus" onClick={sets(adding, true)}>
          New token
        </Button>
      }
    >
      <Waiting on={tokens}>
        {(all) => (
          <ul class="rows">
            {all.map(({ name, scopes, created }) => (
              <li key={name}>
                <div class="row-main">
                  <span class="row-name">{name}</span>
                  <span class="hint">{moment(created)}</span>
                </div>
                <span class="row-badges">
                  {scopes.map((scope) => (
                    <Badge key={scope} tone={scope === "admin" ? "warn" : "idle"}>
                      {scopeWords[scope] ?? scope}
                    </Badge>
                  ))}
                </span>
                {name === "admin" ? (
                  <span class="hint">In the file admin-token</span>
                ) : (
                  <DeleteButton
                    label={`Revoke token ${name}`}
                    title={`Revoke ${name}?`}
                    text="Programs that use it are refused from now on."
                    action="Revoke token"
                    path={`/v1/tokens/${encodeURIComponent(name)}`}
                    then={tokens.reload}
                    says="Revoked."
                  />
                )}
              </li>
            ))}
          </ul>
        )}
      </Waiting>
      {adding.value && (
        <NewToken
          onClose={sets(adding, false)}
          added={(token) => {
            adding.value = false;
            made.value = token;
            void tokens.reload();
          }}
        />
      )}
      {made.value && (
        <ShownOnce
          title={`The token ${made.value.name}`}
          note="It is shown this once; only its hash is kept. Copy it now."
          onClose={sets(made, undefined)}
        >
          <Copyable label="Token" value={made.value.token} />
          <Copyable
            label="Try it"
            value={`curl -H "Authorization: Bearer ${made.value.token}" ${location.origin}/client/v4/accounts/local/stream/live_inputs`}
          />
        </ShownOnce>
      )}
    </Card>
  );
}

const choices = {
  "stream:read": { name: "Read", about: "See live inputs and videos, change nothing." },
  "stream:write": { name: "Read and change", about: "Live inputs, videos, keys, webhooks." },
  admin: { name: "Everything", about: "Also tokens, the audit log and the password." },
};
const scopesOf: Readonly<Record<keyof typeof choices, readonly string[]>> = {
  "stream:read": ["stream:read"],
  "stream:write": ["stream:read", "stream:write"],
  admin: ["admin"],
};

function NewToken(props: {
  readonly onClose: () => void;
  readonly added: (made: ApiToken & { token: string }) => void;
}): JSX.Element {
  const name = useSignal("");
  const scope = useSignal<keyof typeof choices>("stream:write");
  const work = useWork();
  const make = () =>
    work.run(
      () =>
        call<ApiToken & { token: string }>("POST", "/v1/tokens", {
          name: name.value.trim(),
          scopes: scopesOf[scope.value],
        }),
      props.added,
    );
  return (
    <FormDialog title="New API token" action="Make token" of={work} onSubmit={make} onClose={props.onClose}>
      <TextField
        label="Name"
        hint="Letters, digits, dots, dashes: what will use it."
        placeholder="website"
        value={name.value}
        error={work.wrong("/name")}
        onInput={into(name)}
      />
      <Choice label="May" value={scope.value} options={choices} onChange={into(scope)} />
    </FormDialog>
  );
}

function Password(): JSX.Element {
  const isSet = session.value?.passwordSet ?? false;
  const current = useSignal("");
  const password = useSignal("");
  const work = useWork();
  const save = () =>
    work.run(async () => {
      await call("PUT", "/v1/admin/password", {
        password: password.value,
        ...(isSet && { current: current.value }),
      });
      // A new password ends every session, this one too.
      session.value = { signedIn: false, passwordSet: true };
      say("The password is set; sign in with it.");
    });
  return (
    <Card
      title={isSet ? "Change the password" : "Choose a password"}
      about={
        isSet
          ? "Ends every session, this one too."
          : "Then you can come back without a link. You sign in with it right away."
      }
    >
      <Form onSubmit={save}>
        <input
          class="visually-hidden"
          type="text"
          name="username"
          autocomplete="username"
          value="admin"
          readOnly
          tabIndex={-1}
          aria-hidden="true"
        />
        {isSet && (
          <TextField
            label="Present password"
            type="password"
            autocomplete="current-password"
            value={current.value}
            error={work.wrong("/current")}
            onInput={into(current)}
          />
        )}
        <TextField
          label="New password"
          hint="At least 10 characters; a few words are good."
          type="password"
          autocomplete="new-password"
          value={password.value}
          error={work.wrong("/password")}
          onInput={into(password)}
        />
        <Submit of={work} disabled={!password.value} action={isSet ? "Change" : "Set password"} />
      </Form>
    </Card>
  );
}

function Sessions(): JSX.Element {
  const work = useWork();
  const { expires } = session.value ?? {};
  return (
    <Card title="This session" about={expires ? `Ends ${moment(expires)} at the latest.` : undefined}>
      <Trouble of={work} />
      <div class="row">
        <Button icon="out" busy={work.busy.value} onClick={() => work.run(() => signOut())}>
          Sign out
        </Button>
        <Button kind="quiet" busy={work.busy.value} onClick={() => work.run(() => signOut(true))}>
          Sign out everywhere
        </Button>
      </div>
    </Card>
  );
}

function Audit(): JSX.Element {
  const entries = useLoaded((signal) => call<AuditEntry[]>("GET", "/v1/audit?limit=50", undefined, signal), {
    everyMs: 10_000,
  });
  return (
    <Card title="Audit log" about="The latest changes, whoever made them.">
      <Waiting on={entries}>
        {(all) => (
          // biome-ignore lint/a11y/noNoninteractiveTabindex: whoever has no mouse scrolls it with the keys
          <section class="table-box" aria-label="Entries" tabIndex={0}>
            <table>
              <thead>
                <tr>
                  <th scope="col">When</th>
                  <th scope="col">Who</th>
                  <th scope="col">What</th>
                  <th scope="col">Of</th>
                </tr>
              </thead>
              <tbody>
                {all.map(({ at, actor, action, subject }) => (
                  <tr key={`${at} ${action} ${subject}`}>
                    <td title={moment(at)}>{ago(at)}</td>
                    <td>{actor}</td>
                    <td>
                      <code>{action}</code>
                    </td>
                    <td>
                      <code class="cut">{subject}</code>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </section>
        )}
      </Waiting>
    </Card>
  );
}
