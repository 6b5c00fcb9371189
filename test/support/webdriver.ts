import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./ports.ts";

/** A page in a browser that is not Chromium. */
export interface OtherBrowser {
  /** Resolves when the document of `url` has loaded. */
  open(url: string): Promise<void>;
  /** The JSON value of a function that runs in the page, with `args` as its JSON arguments. */
  evaluate<Args extends readonly unknown[], Value>(
    body: (...args: Args) => Value | Promise<Value>,
    ...args: Args
  ): Promise<Value>;
  /** Ends the browser and removes its profile. */
  close(): Promise<void>;
}

/** The first of `paths` that can be run. */
export function installed(paths: readonly string[]): string | undefined {
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export const firefoxPaths = ["/usr/bin/firefox-esr", "/usr/bin/firefox", "/snap/bin/firefox"];
export const webkitPaths = ["/usr/bin/WebKitWebDriver"];
export const xvfbPaths = ["/usr/bin/xvfb-run"];

const startMs = 30_000;

/** A headless Firefox with a fresh profile, driven over WebDriver BiDi. */
export async function openFirefox(program: string): Promise<OtherBrowser> {
  const profile = mkdtempSync(join(tmpdir(), "sluice-firefox-"));
  const child = spawn(
    program,
    ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"],
    { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, MOZ_CRASHREPORTER_DISABLE: "1" } },
  );
  const close = async () => {
    await ended(child);
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const address = await said(child, /WebDriver BiDi listening on (ws:\/\/\S+)/);
    const bidi = await openBidi(`${address}/session`);
    await bidi.call("session.new", { capabilities: { alwaysMatch: { acceptInsecureCerts: true } } });
    const tree = (await bidi.call("browsingContext.getTree", {})) as { contexts: { context: string }[] };
    const { context } = tree.contexts[0]!;
    return {
      close,
      async open(url) {
        await bidi.call("browsingContext.navigate", { context, url, wait: "complete" });
      },
      async evaluate(body, ...args) {
        const answer = (await bidi.call("script.evaluate", {
          expression: callOf(body, args),
          target: { context },
          awaitPromise: true,
        })) as { type: string; result?: { value?: string }; exceptionDetails?: { text: string } };
        if (answer.type === "exception") throw new Error(answer.exceptionDetails?.text);
        return parsed(answer.result?.value);
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** WebKitGTK's MiniBrowser, driven over WebDriver; needs a display, which `xvfb-run` gives. */
export async function openWebkit(program: string): Promise<OtherBrowser> {
  const port = await freePort();
  const child = spawn("xvfb-run", ["-a", program, `--port=${port}`], {
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  });
  const base = `http://127.0.0.1:${port}`;
  const command = async (method: string, path: string, json?: unknown): Promise<unknown> => {
    const response = await fetch(`${base}${path}`, {
      method,
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
    });
    const { value } = (await response.json()) as { value: unknown };
    if (!response.ok) throw new Error(JSON.stringify(value));
    return value;
  };
  const close = async () => {
    try {
      process.kill(-child.pid!, "SIGKILL");
    } catch {}
    await ended(child);
  };
  try {
    await listens(base, child);
    const session = (await command("POST", "/session", {
      capabilities: {
        alwaysMatch: {
          acceptInsecureCerts: true,
          "webkitgtk:browserOptions": { args: ["--automation", "--autoplay-policy=allow"] },
        },
      },
    })) as { sessionId: string };
    const at = `/session/${session.sessionId}`;
    await command("POST", `${at}/timeouts`, { script: 600_000 });
    return {
      async close() {
        await command("DELETE", at).catch(() => {});
        await close();
      },
      async open(url) {
        await command("POST", `${at}/url`, { url });
      },
      async evaluate(body, ...args) {
        const script = `const done = arguments[0]; ${callOf(body, args)}.then(done, (error) => done(JSON.stringify({ error: String(error) })))`;
        return parsed((await command("POST", `${at}/execute/async`, { script, args: [] })) as string);
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const callOf = (body: (...args: never[]) => unknown, args: readonly unknown[]) =>
  `(async () => JSON.stringify({ value: await (${body})(...${JSON.stringify(args)}) }))()`;

function parsed<Value>(text: string | undefined): Value {
  const { value, error } = JSON.parse(text ?? "{}") as { value: Value; error?: string };
  if (error) throw new Error(error);
  return value;
}

/** Commands and answers over one WebSocket. */
async function openBidi(address: string) {
  const socket = new WebSocket(address);
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  let last = 0;
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new Error(`${address} does not answer`));
  });
  socket.onclose = () => {
    for (const { reject } of waiting.values()) reject(new Error("the browser is gone"));
  };
  socket.onmessage = ({ data }) => {
    const { id, result, error, message } = JSON.parse(String(data));
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (error) waiter?.reject(new Error(`${error}: ${message}`));
    else waiter?.resolve(result);
  };
  return {
    call(method: string, params: object): Promise<unknown> {
      const waiter = Promise.withResolvers<unknown>();
      waiting.set(++last, waiter);
      socket.send(JSON.stringify({ id: last, method, params }));
      return waiter.promise;
    },
  };
}

/** The first group of `pattern` in what `child` writes to standard error. */
function said(child: ChildProcess, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const late = setTimeout(() => reject(new Error(`not ${pattern} in ${startMs} ms: ${text}`)), startMs);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`it ended with ${code}: ${text}`)));
    child.stderr!.on("data", (data) => {
      text = `${text}${data}`.slice(-10_000);
      const found = pattern.exec(text);
      if (!found) return;
      clearTimeout(late);
      resolve(found[1]!);
    });
  });
}

/** Kills it and waits for its end. */
function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill("SIGKILL");
  });
}

/** Resolves once something answers at `base`. */
async function listens(base: string, child: ChildProcess): Promise<void> {
  const until = Date.now() + startMs;
  for (;;) {
    try {
      await fetch(`${base}/status`);
      return;
    } catch (error) {
      if (Date.now() > until || child.exitCode !== null) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
