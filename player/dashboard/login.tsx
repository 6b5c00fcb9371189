import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { session, signIn } from "./api.ts";
import { Form, into, TextField, Trouble, useWork } from "./forms.tsx";
import { Button, Note } from "./parts.tsx";
import { Brand } from "./shell.tsx";

/** Lets the administrator in. `why` is what a link did not do. */
export function Login({ why }: { readonly why: string | undefined }): JSX.Element {
  const password = useSignal("");
  const work = useWork();
  useEffect(() => {
    document.title = "Sign in · Sluice";
  }, []);
  const known = session.value?.passwordSet;
  return (
    <main class="login">
      <div class="login-card">
        <Brand />
        <h1>Sign in</h1>
        {why && <Note tone="bad">{why}</Note>}
        {known === false ? (
          <>
            <p class="about">
              No password is set yet. Open the link that Sluice printed when it started, or have it print
              another one on the machine where it runs:
            </p>
            <pre class="code">sluice admin link</pre>
            <p class="about">
              <code>sluice admin password</code> there sets a password at once.
            </p>
          </>
        ) : (
          <Form onSubmit={() => work.run(() => signIn({ password: password.value }))}>
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
            <TextField
              label="Password"
              type="password"
              autocomplete="current-password"
              autofocus
              value={password.value}
              onInput={into(password)}
            />
            <Trouble of={work} />
            <Button kind="main" type="submit" busy={work.busy.value} disabled={!password.value}>
              Sign in
            </Button>
            <p class="hint">
              Forgotten? On the server, <code>sluice admin link</code> lets you in and{" "}
              <code>sluice admin password</code> sets a new one.
            </p>
          </Form>
        )}
      </div>
    </main>
  );
}
