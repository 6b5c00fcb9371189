import { signal } from "@preact/signals";
import { type JSX, render } from "preact";
import "../player.ts";
import { Access } from "./access.tsx";
import { Admin } from "./admin.tsx";
import { openSession, sentenceOf, session } from "./api.ts";
import { InputPage } from "./input.tsx";
import { Inputs } from "./inputs.tsx";
import { Login } from "./login.tsx";
import { Button, Head, Note } from "./parts.tsx";
import { follow, place } from "./place.ts";
import { RecordingPage } from "./recording.tsx";
import { Recordings } from "./recordings.tsx";
import { Shell } from "./shell.tsx";
import { Webhooks } from "./webhooks.tsx";

const why = signal<string | undefined>(undefined);

function Page(): JSX.Element {
  const [part = "inputs", uid, tab] = place.value;
  if (part === "inputs") return uid ? <InputPage key={uid} uid={uid} tab={tab} /> : <Inputs />;
  if (part === "recordings") return uid ? <RecordingPage key={uid} uid={uid} /> : <Recordings />;
  if (part === "access") return <Access />;
  if (part === "webhooks") return <Webhooks chosen={uid} />;
  if (part === "admin") return <Admin />;
  return <Head title="There is no such page" about="The menu leads to all there are." />;
}

function App(): JSX.Element {
  if (!session.value)
    return why.value ? (
      <main class="login">
        <div class="login-card">
          <Note tone="bad" actions={<Button onClick={start}>Try again</Button>}>
            {why.value}
          </Note>
        </div>
      </main>
    ) : (
      <div class="loading" role="status" aria-label="Loading" />
    );
  if (!session.value.signedIn) return <Login why={why.value} />;
  return (
    <Shell>
      <Page />
    </Shell>
  );
}

async function start(): Promise<void> {
  const link = /^#link=([\w-]+)$/.exec(location.hash)?.[1];
  // Used up now: neither the address bar nor the history keeps it.
  if (link) history.replaceState(null, "", location.pathname);
  try {
    await openSession(link);
    why.value = undefined;
  } catch (error) {
    why.value = sentenceOf(error);
  }
}

follow();
void start();
render(<App />, document.getElementById("app")!);
