import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { call, stream } from "./api.ts";
import { DeleteButton } from "./confirm.tsx";
import { Form, FormDialog, into, Submit, sets, TextField, Trouble, useWork } from "./forms.tsx";
import { useLoaded } from "./load.ts";
import { Button, Card, Copyable, Empty, Head, ShownOnce, say, Waiting } from "./parts.tsx";
import { TokenBuilder } from "./token-builder.tsx";
import type { SigningKey } from "./types.ts";
import { moment } from "./words.ts";

/** Who may watch what demands a token: the keys that sign, tokens, and taking them back. */
export function Access(): JSX.Element {
  return (
    <>
      <Head
        title="Playback access"
        about="A token stands in place of the id in every playback URL, and says who may watch until when."
      />
      <div class="stack">
        <TokenBuilder />
        <Keys />
        <Revoke />
      </div>
    </>
  );
}

function Keys(): JSX.Element {
  const keys = useLoaded((signal) => call<SigningKey[]>("GET", `${stream}/keys`, undefined, signal));
  const made = useSignal<(SigningKey & { pem: string; jwk: string }) | undefined>(undefined);
  const uploading = useSignal(false);
  const work = useWork();
  const create = () =>
    work.run(
      () => call<SigningKey & { pem: string; jwk: string }>("POST", `${stream}/keys`, {}),
      (key) => {
        made.value = key;
        void keys.reload();
      },
    );
  return (
    <Card
      title="Signing keys"
      about="For tokens that your own server signs. Only public halves are kept here."
      actions={
        <>
          <Button onClick={sets(uploading, true)}>Upload a public key</Button>
          <Button icon="plus" busy={work.busy.value} onClick={create}>
            New key
          </Button>
        </>
      }
    >
      <Trouble of={work} />
      <Waiting on={keys}>
        {(all) =>
          all.length === 0 ? (
            <Empty icon="access" title="No signing keys">
              <p>
                The server signs tokens with a key of its own. Make one here when your application is to sign
                them.
              </p>
            </Empty>
          ) : (
            <ul class="rows">
              {all.map(({ id, created }) => (
                <li key={id}>
                  <div class="row-main">
                    <code>{id}</code>
                    <span class="hint">{moment(created)}</span>
                  </div>
                  <DeleteButton
                    label={`Revoke key ${id}`}
                    title="Revoke this key?"
                    text="Every token that it signed is refused within a second, also for viewers who are watching."
                    action="Revoke key"
                    path={`${stream}/keys/${encodeURIComponent(id)}`}
                    then={keys.reload}
                    says="Revoked."
                  />
                </li>
              ))}
            </ul>
          )
        }
      </Waiting>
      {made.value && (
        <ShownOnce
          title="Your new signing key"
          note="The private key is shown this once. Copy it now, to where your server keeps its secrets."
          onClose={sets(made, undefined)}
        >
          <Copyable label="Key id (kid)" value={made.value.id} />
          <Copyable label="Private key, PEM" value={atob(made.value.pem)} secret />
          <Copyable label="Private key, JWK in base64" value={made.value.jwk} secret />
        </ShownOnce>
      )}
      {uploading.value && (
        <Upload
          onClose={() => {
            uploading.value = false;
            void keys.reload();
          }}
        />
      )}
    </Card>
  );
}

function Upload({ onClose }: { readonly onClose: () => void }): JSX.Element {
  const key = useSignal("");
  const work = useWork();
  const upload = () =>
    work.run(
      () =>
        call<SigningKey>("POST", "/v1/keys", {
          publicKey: key.value.trim().startsWith("{") ? asJson(key.value) : key.value,
        }),
      ({ id }) => {
        say(`Taken as ${id}.`);
        onClose();
      },
    );
  return (
    <FormDialog title="Upload a public key" action="Upload" of={work} onSubmit={upload} onClose={onClose}>
      <TextField
        label="Public key"
        hint="PEM or JWK of RSA, P-256 or Ed25519. The private half never leaves you."
        lines={8}
        mono
        value={key.value}
        error={work.wrong("/publicKey")}
        onInput={into(key)}
      />
    </FormDialog>
  );
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function Revoke(): JSX.Element {
  const text = useSignal("");
  const work = useWork();
  const isToken = /^eyJ/.test(text.value.trim());
  const revoke = () =>
    work.run(
      () =>
        call(
          "POST",
          "/v1/revocations",
          isToken ? { token: text.value.trim() } : { viewerId: text.value.trim() },
        ),
      () => {
        text.value = "";
        say("Revoked; it counts within a second.");
      },
    );
  return (
    <Card
      title="Take access back"
      about="One token, or every token of a viewer. Whoever is watching with it is shown out within a second."
    >
      <Form onSubmit={revoke}>
        <TextField
          label="Token or viewer id"
          mono
          value={text.value}
          error={work.wrong("/token") ?? work.wrong("/viewerId")}
          onInput={into(text)}
        />
        <Submit
          of={work}
          kind="danger"
          disabled={!text.value.trim()}
          action={isToken ? "Revoke this token" : "Revoke this viewer’s tokens"}
        />
      </Form>
    </Card>
  );
}
