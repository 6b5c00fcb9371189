import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { Failure } from "./lib/errors.ts";
import { requestInternal } from "./lib/http.ts";
import { z } from "./lib/schema.ts";
import { ladderChoice } from "./live/ladder.ts";
import { readSecret } from "./prompt.ts";
import type { Config } from "./settings.ts";
import { readRunning } from "./supervisor/place.ts";

const base = "/client/v4/accounts/local/stream";
const address = z.object({ url: z.string(), streamKey: z.string() });
const input = z.looseObject({
  uid: z.string(),
  meta: z.object({ name: z.string().optional() }).optional(),
  ladder: ladderChoice.nullish(),
  rtmps: address,
  rtmp: address.optional(),
});
const list = z.object({ liveInputs: z.array(z.object({ uid: z.string() })) });
const output = z.looseObject({
  uid: z.string(),
  url: z.string(),
  enabled: z.boolean(),
  status: z
    .object({ current: z.object({ state: z.string(), reason: z.string(), error: z.string().optional() }) })
    .nullable(),
});
const video = z.looseObject({
  uid: z.string(),
  created: z.string(),
  duration: z.number(),
  meta: z.object({ name: z.string().optional() }).optional(),
  status: z.object({ state: z.string() }),
});
const webhook = z.looseObject({ id: z.string(), url: z.string() });
const notice = z.looseObject({
  type: z.string(),
  liveInput: z.string(),
  state: z.string(),
  attempts: z.number(),
  created: z.string(),
  lastError: z.string().nullable(),
});
const key = z.looseObject({ id: z.string(), created: z.string() });

/** What was typed after `sluice`. */
export interface Typed {
  readonly words: readonly string[];
  /** Print what the API answered instead of text for a person. */
  readonly json: boolean;
  /** For a new live input: a ladder of its own. */
  readonly ladder?: string | undefined;
  readonly expires?: string | undefined;
  readonly viewer?: string | undefined;
  readonly sessions?: string | undefined;
  readonly downloadable?: boolean | undefined;
}

type Ask = (method: string, path: string, json?: unknown) => Promise<unknown>;
/** What a command did: for a program, and for a person. */
interface Done {
  readonly result: unknown;
  readonly text: string;
}
type Command = (ask: Ask, given: readonly string[], typed: Typed) => Promise<Done>;

/** Each with the words that it needs after its own. */
const commands: Readonly<Record<string, { readonly needs: readonly string[]; readonly run: Command }>> = {
  "input list": {
    needs: [],
    async run(ask) {
      const { liveInputs } = list.parse(await ask("GET", `${base}/live_inputs`));
      const all = [];
      for (const { uid } of liveInputs) all.push(input.parse(await ask("GET", `${base}/live_inputs/${uid}`)));
      return { result: all, text: all.map(shown).join("\n") };
    },
  },
  "input create": {
    needs: [],
    async run(ask, [name = "Live input"], { ladder }) {
      const made = input.parse(await ask("POST", `${base}/live_inputs`, { meta: { name }, ladder }));
      return { result: made, text: shown(made) };
    },
  },
  "input show": {
    needs: ["UID"],
    async run(ask, [uid]) {
      const found = input.parse(await ask("GET", inputPath(uid!)));
      return { result: found, text: shown(found) };
    },
  },
  "input enable": { needs: ["UID"], run: switchInput(true) },
  "input disable": { needs: ["UID"], run: switchInput(false) },
  "input delete": {
    needs: ["UID"],
    async run(ask, [uid]) {
      await ask("DELETE", inputPath(uid!));
      return { result: null, text: "deleted; its recordings stay" };
    },
  },
  "output list": {
    needs: ["UID"],
    async run(ask, [uid]) {
      const all = z.array(output).parse(await ask("GET", `${inputPath(uid!)}/outputs`));
      return { result: all, text: all.map(shownOutput).join("\n") || "no outputs" };
    },
  },
  "output add": {
    needs: ["UID", "URL", "KEY"],
    async run(ask, [uid, url, given]) {
      // A command line can be seen by everybody on the machine.
      const streamKey = given === "-" ? (await text(process.stdin)).trim() : given;
      const made = output.parse(await ask("POST", `${inputPath(uid!)}/outputs`, { url, streamKey }));
      return { result: made, text: shownOutput(made) };
    },
  },
  "output enable": { needs: ["UID", "OUTPUT"], run: switchOutput(true) },
  "output disable": { needs: ["UID", "OUTPUT"], run: switchOutput(false) },
  "output rm": {
    needs: ["UID", "OUTPUT"],
    async run(ask, [uid, id]) {
      await ask("DELETE", `${inputPath(uid!)}/outputs/${encodeURIComponent(id!)}`);
      return { result: null, text: "deleted" };
    },
  },
  "video list": {
    needs: [],
    async run(ask, [uid]) {
      const of = uid === undefined ? "" : `?live_input_id=${encodeURIComponent(uid)}`;
      const all = z.array(video).parse(await ask("GET", `${base}${of}`));
      return { result: all, text: all.map(shownVideo).join("\n") || "no videos" };
    },
  },
  "video delete": {
    needs: ["UID"],
    async run(ask, [uid]) {
      await ask("DELETE", `${base}/${encodeURIComponent(uid!)}`);
      return { result: null, text: "deleted" };
    },
  },
  "webhook list": {
    needs: [],
    async run(ask) {
      const all = z.array(webhook).parse(await ask("GET", "/v1/webhooks"));
      return { result: all, text: all.map(({ id, url }) => `${id}  ${url}`).join("\n") || "no webhooks" };
    },
  },
  "webhook add": {
    needs: ["URL"],
    async run(ask, [url]) {
      const made = webhook.extend({ secret: z.string() }).parse(await ask("POST", "/v1/webhooks", { url }));
      return { result: made, text: `${made.id}  ${made.url}\n  Secret  ${made.secret}` };
    },
  },
  "webhook rm": {
    needs: ["ID"],
    async run(ask, [id]) {
      await ask("DELETE", `/v1/webhooks/${encodeURIComponent(id!)}`);
      return { result: null, text: "deleted" };
    },
  },
  "webhook log": {
    needs: ["ID"],
    async run(ask, [id]) {
      const all = z
        .array(notice)
        .parse(await ask("GET", `/v1/webhooks/${encodeURIComponent(id!)}/deliveries`));
      return { result: all, text: all.map(shownNotice).join("\n") || "nothing was to be told yet" };
    },
  },
  "webhook replay": {
    needs: ["ID"],
    async run(ask, [id, since]) {
      const path = `/v1/webhooks/${encodeURIComponent(id!)}/replay`;
      const result = await ask("POST", path, since === undefined ? {} : { since });
      return { result, text: `${z.object({ count: z.number() }).parse(result).count} are sent again` };
    },
  },
  "token sign": {
    needs: ["UID"],
    async run(ask, [uid], typed) {
      const exp = typed.expires === undefined ? {} : { exp: nowSeconds() + Number(typed.expires) };
      const result = await ask("POST", `${base}/${encodeURIComponent(uid!)}/token`, {
        ...exp,
        ...(typed.viewer !== undefined && { viewerId: typed.viewer }),
        ...(typed.sessions !== undefined && { maxSessions: Number(typed.sessions) }),
        ...(typed.downloadable && { downloadable: true }),
      });
      return { result, text: z.object({ token: z.string() }).parse(result).token };
    },
  },
  "token revoke": {
    needs: [],
    async run(ask, [token], { viewer }) {
      if ((token === undefined) === (viewer === undefined))
        throw new Failure("bad_request", "say which token to revoke, or with --viewer whose");
      const result = await ask(
        "POST",
        "/v1/revocations",
        viewer === undefined ? { token } : { viewerId: viewer },
      );
      return { result, text: "revoked; whoever watches with it is shown out" };
    },
  },
  "keys list": {
    needs: [],
    async run(ask) {
      const keys = z.array(key).parse(await ask("GET", `${base}/keys`));
      return { result: keys, text: keys.map(({ id, created }) => `${id}  ${created}`).join("\n") };
    },
  },
  "keys create": {
    needs: [],
    async run(ask) {
      const made = key.extend({ pem: z.string() }).parse(await ask("POST", `${base}/keys`));
      return { result: made, text: `${made.id}\n${Buffer.from(made.pem, "base64").toString().trimEnd()}` };
    },
  },
  "keys delete": {
    needs: ["ID"],
    async run(ask, [id]) {
      return {
        result: await ask("DELETE", `${base}/keys/${encodeURIComponent(id!)}`),
        text: "revoked, with every token that it signed",
      };
    },
  },
  "admin link": {
    needs: [],
    async run(ask) {
      const made = z
        .object({ url: z.string(), expires: z.string() })
        .parse(await ask("POST", "/v1/admin/links"));
      return { result: made, text: `${made.url}\nopens the dashboard once, within an hour` };
    },
  },
  "admin password": {
    needs: [],
    async run(ask) {
      const password = await readSecret("New password for the dashboard: ");
      if (process.stdin.isTTY && password !== (await readSecret("Once more: ")))
        throw new Failure("bad_request", "the two differ; nothing was changed");
      await ask("PUT", "/v1/admin/password", { password });
      return { result: { set: true }, text: "set; whoever was signed in has to sign in again" };
    },
  },
  "keys rotate": {
    needs: ["UID"],
    async run(ask, [uid]) {
      const rotated = input.parse(
        await ask("POST", `${base}/live_inputs/${encodeURIComponent(uid!)}/rotate_keys`),
      );
      return { result: rotated, text: shown(rotated) };
    },
  },
};

function inputPath(uid: string): string {
  return `${base}/live_inputs/${encodeURIComponent(uid)}`;
}

function switchInput(enabled: boolean): Command {
  return async (ask, [uid]) => {
    const changed = input.parse(await ask("PUT", inputPath(uid!), { enabled }));
    return { result: changed, text: enabled ? "encoders are let in" : "encoders are refused" };
  };
}

function switchOutput(enabled: boolean): Command {
  return async (ask, [uid, id]) => {
    const path = `${inputPath(uid!)}/outputs/${encodeURIComponent(id!)}`;
    const changed = output.parse(await ask("PUT", path, { enabled }));
    return { result: changed, text: shownOutput(changed) };
  };
}

/** `sluice input`, `output`, `video`, `webhook`, `token`, `keys` and `admin`: calls of the API of the Sluice that runs on this data folder. Returns the exit code. */
export async function runOperate(config: Config, typed: Typed): Promise<number> {
  const [group = "", verb = group === "token" ? "sign" : "list", ...given] = typed.words;
  const command = Object.hasOwn(commands, `${group} ${verb}`) ? commands[`${group} ${verb}`] : undefined;
  if (!command || given.length < command.needs.length) {
    const known = Object.entries(commands).filter(([name]) => name.startsWith(`${group} `));
    const usage = known.map(([name, { needs }]) => ["  sluice", name, ...needs].join(" ")).join("\n");
    console.error(`"${typed.words.join(" ")}" is not complete or not known. There is:\n${usage}`);
    return 2;
  }
  if (![typed.expires, typed.sessions].every((text) => text === undefined || /^\d{1,9}$/.test(text))) {
    console.error("--expires is a number of seconds, --max-sessions a number of places");
    return 2;
  }
  const done = await command.run(await askRunning(config), given, typed);
  console.log(typed.json ? JSON.stringify(done.result) : done.text);
  return 0;
}

/** Calls of the API of the Sluice that runs on this data folder, as its administrator. Throws `Failure` when none runs, and with what is refused. */
export async function askRunning(config: Config): Promise<Ask> {
  const running = readRunning(config.data);
  const control = config.controlAddress ?? (running && `unix:${join(running.runtime, "control.sock")}`);
  if (!control)
    throw new Failure(
      "unavailable",
      `no Sluice runs on ${config.data}; type npm start, or name its folder with --data`,
    );
  const token = (await readFile(join(config.data, "admin-token"), "utf8")).trim();
  return async (method, path, json) => {
    const secret = config.internalSecret;
    const answer = await requestInternal(control, path, { method, secret, apiToken: token, json });
    if (answer.status === 204) return null;
    const body = z
      .object({ result: z.unknown(), errors: z.array(z.object({ message: z.string() })).default([]) })
      .parse(answer.json);
    if (answer.status >= 400)
      throw new Failure("bad_request", body.errors.map((error) => error.message).join("; "));
    return body.result;
  };
}

function shown({ uid, meta, ladder, rtmp, rtmps }: z.infer<typeof input>): string {
  const { url, streamKey } = rtmp ?? rtmps;
  const lines = [
    meta?.name ?? "(no name)",
    `  uid         ${uid}`,
    `  Server      ${url}`,
    `  Stream Key  ${streamKey}`,
    ...(ladder ? [`  Ladder      ${typeof ladder === "string" ? ladder : JSON.stringify(ladder)}`] : []),
  ];
  return lines.join("\n");
}

/** Without its key, which is on nobody's screen by chance. */
function shownOutput({ uid, url, enabled, status }: z.infer<typeof output>): string {
  const { state = "not tried yet", error } = status?.current ?? {};
  return [`${uid}  ${url}`, `  ${enabled ? state : "disabled"}${error ? `: ${error}` : ""}`].join("\n");
}

function shownNotice({
  type,
  liveInput,
  state,
  attempts,
  created,
  lastError,
}: z.infer<typeof notice>): string {
  const tries = `${attempts} ${attempts === 1 ? "attempt" : "attempts"}`;
  return `${created}  ${type}  ${liveInput}  ${state}, ${tries}${lastError === null ? "" : `: ${lastError}`}`;
}

function shownVideo({ uid, created, duration, meta, status }: z.infer<typeof video>): string {
  const length = duration < 0 ? status.state : `${Math.round(duration)} s`;
  return `${uid}  ${created}  ${length}  ${meta?.name ?? ""}`.trimEnd();
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
