import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { call, stream } from "./api.ts";
import { DeleteButton } from "./confirm.tsx";
import { FormDialog, into, sets, TextField, Trouble, useWork } from "./forms.tsx";
import { useLoaded } from "./load.ts";
import { Badge, Button, Card, Copyable, Empty, Head, LinkButton, ShownOnce, say, Waiting } from "./parts.tsx";
import { go, home } from "./place.ts";
import type { Endpoint, Notice } from "./types.ts";
import { ago, count, hostOf, moment } from "./words.ts";

const list = `${home}/webhooks`;
/** The one that Cloudflare's call sets; it is removed by that call too. */
const account = "account";

/** Who is told what happens, and what became of each telling. */
export function Webhooks({ chosen }: { readonly chosen: string | undefined }): JSX.Element {
  const all = useLoaded((signal) => call<Endpoint[]>("GET", "/v1/webhooks", undefined, signal));
  const adding = useSignal(false);
  const secret = useSignal<string | undefined>(undefined);
  const open = sets(adding, true);
  const endpoint = all.data.value?.find(({ id }) => id === chosen);
  return (
    <>
      <Head
        title={endpoint ? hostOf(endpoint.url) : "Webhooks"}
        {...(chosen && { back: { href: list, name: "Webhooks" } })}
        about={
          endpoint
            ? endpoint.url
            : "Your server is told when an encoder connects or leaves, when something is wrong, and when a recording is ready."
        }
        actions={
          chosen ? undefined : (
            <Button kind="main" icon="plus" onClick={open}>
              Add a webhook
            </Button>
          )
        }
      />
      <Waiting on={all}>
        {(endpoints) =>
          chosen ? (
            <Deliveries id={chosen} gone={() => void all.reload()} />
          ) : endpoints.length === 0 ? (
            <Empty icon="webhooks" title="Nobody is told yet">
              <p>
                Each event is signed, tried again for a day, and comes in order for each live input. What was
                sent and answered is listed here.
              </p>
              <Button kind="main" icon="plus" onClick={open}>
                Add a webhook
              </Button>
            </Empty>
          ) : (
            <Card title={count(endpoints.length, "webhook")}>
              <ul class="rows">
                {endpoints.map(({ id, url, created }) => (
                  <li key={id}>
                    <div class="row-main">
                      <a href={`${list}/${id}`}>{url}</a>
                      <span class="hint">Since {moment(created)}</span>
                    </div>
                    <LinkButton href={`${list}/${id}`} kind="quiet">
                      Deliveries
                    </LinkButton>
                  </li>
                ))}
              </ul>
            </Card>
          )
        }
      </Waiting>
      {adding.value && (
        <Add
          onClose={sets(adding, false)}
          added={(made) => {
            adding.value = false;
            secret.value = made;
            void all.reload();
          }}
        />
      )}
      {secret.value && (
        <ShownOnce
          title="The webhook’s secret"
          note="It is shown this once. Your server checks with it that an event comes from here."
          onClose={sets(secret, undefined)}
        >
          <Copyable label="Secret" value={secret.value} />
          <p class="hint">
            Each event carries two signatures: Standard Webhooks (<code>webhook-signature</code>) and
            Cloudflare’s (<code>Webhook-Signature</code>).
          </p>
        </ShownOnce>
      )}
    </>
  );
}

function Add(props: { readonly onClose: () => void; readonly added: (secret: string) => void }): JSX.Element {
  const url = useSignal("https://");
  const work = useWork();
  const add = () =>
    work.run(
      () => call<Endpoint & { secret: string }>("POST", "/v1/webhooks", { url: url.value.trim() }),
      (made) => props.added(made.secret),
    );
  return (
    <FormDialog title="Add a webhook" action="Add" of={work} onSubmit={add} onClose={props.onClose}>
      <TextField
        label="Address"
        hint="Your server’s; it gets a POST with JSON for each event."
        type="url"
        mono
        value={url.value}
        error={work.wrong("/url")}
        onInput={into(url)}
      />
    </FormDialog>
  );
}

const tones = { waiting: "warn", delivered: "good", dead: "bad" } as const;
const words = { waiting: "Waiting", delivered: "Delivered", dead: "Given up" } as const;

function Deliveries({ id, gone }: { readonly id: string; readonly gone: () => void }): JSX.Element {
  const path = `/v1/webhooks/${encodeURIComponent(id)}`;
  const notices = useLoaded((signal) => call<Notice[]>("GET", `${path}/deliveries`, undefined, signal), {
    key: id,
    everyMs: 3_000,
  });
  const work = useWork();
  const replay = (since?: string) =>
    work.run(
      () => call<{ count: number }>("POST", `${path}/replay`, since ? { since } : {}),
      ({ count: again }) => {
        say(again ? `${count(again, "event")} on the way again.` : "There is nothing to send again.");
        void notices.reload();
      },
    );
  return (
    <div class="stack">
      <Card
        title="Deliveries"
        about="The newest first; kept for a week after they were delivered or given up."
        actions={
          <>
            <Button icon="send" busy={work.busy.value} onClick={() => replay()}>
              Send what was given up
            </Button>
            <DeleteButton
              title="Remove this webhook?"
              text="What was not delivered yet is forgotten."
              action="Remove webhook"
              path={id === account ? `${stream}/webhook` : path}
              then={() => {
                go(list);
                gone();
              }}
              says="Removed."
            >
              Remove
            </DeleteButton>
          </>
        }
      >
        <Trouble of={work} />
        <Waiting on={notices}>
          {(all) =>
            all.length === 0 ? (
              <Empty icon="send" title="Nothing has happened yet">
                <p>Connect an encoder to a live input; the event shows up here.</p>
              </Empty>
            ) : (
              <ul class="log">
                {all.map((notice) => (
                  <li key={`${notice.id} ${notice.created}`}>
                    <details>
                      <summary>
                        <Badge tone={tones[notice.state]}>{words[notice.state]}</Badge>
                        <code class="log-type">{notice.type}</code>
                        <span class="hint">{ago(notice.created)}</span>
                        <span class="hint log-tries">
                          {notice.attempts === 1 ? "1 try" : `${notice.attempts} tries`}
                        </span>
                      </summary>
                      {notice.lastError && <p class="wrong">{notice.lastError}</p>}
                      <p class="hint">
                        {notice.nextAttempt ? `Next try ${moment(notice.nextAttempt)}.` : ""} Event{" "}
                        {notice.id}
                      </p>
                      <pre class="code">{JSON.stringify(notice.body, null, 2)}</pre>
                      <Button icon="send" onClick={() => replay(notice.created)}>
                        Send everything since this one again
                      </Button>
                    </details>
                  </li>
                ))}
              </ul>
            )
          }
        </Waiting>
      </Card>
    </div>
  );
}
