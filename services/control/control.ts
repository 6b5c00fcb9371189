import { mkdir } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { networksOf } from "../lib/address.ts";
import { Failure } from "../lib/errors.ts";
import { listenInternal, requestInternal, sendJson } from "../lib/http.ts";
import { type Running, Scope } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics.ts";
import type { LadderName } from "../live/ladder.ts";
import { internalCalls } from "./internal.ts";
import { Janitor, recordingRemover } from "./janitor.ts";
import { keysFrom, newUid, openAdminToken, openMaster } from "./keys.ts";
import { Links, slicesOf } from "./links.ts";
import { passwordSetting } from "./login/password.ts";
import { dashboardUrl, makeLink } from "./login/sessions.ts";
import { newInput, type PublicUrls } from "./resources.ts";
import { forgetEvents } from "./store/facts.ts";
import type { LiveInput } from "./store/inputs.ts";
import { Records } from "./store/records.ts";
import { foldWatched } from "./store/watched.ts";
import { startWebhooks } from "./webhooks.ts";

export interface ControlOptions {
  /** Holds sluice.db, master-secret and admin-token; made when missing. */
  readonly dataDir: string;
  /** Internal address to listen at; the origin passes /client/v4, /v1 and /docs to it. */
  readonly address: string;
  readonly secret?: string | undefined;
  /** Base URLs that people use; a door that is shut is left out. */
  readonly publicUrls: PublicUrls;
  readonly defaults: {
    readonly timeoutSeconds: number;
    /** The ladder of inputs that choose none; "none" also means that nothing here encodes. */
    readonly ladder: LadderName;
  };
  /** A PostgreSQL to keep the store in; absent is SQLite in dataDir. */
  readonly databaseUrl?: string | undefined;
  /** Networks off the internet that webhooks may reach; none when absent. */
  readonly allowPrivateTargets?: readonly string[] | undefined;
  /** What passes between the attempts of a webhook; about a day in all when absent. */
  readonly webhookRetryMs?: readonly number[] | undefined;
  /** Where the origin answers other roles; without it nobody can be asked about what is on air. */
  readonly originAddress?: string | undefined;
  /** What machines without control are told when they ask for a certificate other than the named one; undefined is nothing new. */
  readonly certificateFor?: ((have: string) => Promise<object | undefined>) | undefined;
  /** Where the dashboard's built page is; without it there is none. */
  readonly pages?: string | undefined;
  readonly metrics?: Metrics | undefined;
  readonly log: Log;
}

export interface Control extends Running {
  /** The internal address that it listens at (the real port when 0 was asked for). */
  readonly address: string;
  /** What a person needs first: the oldest live input with its key, the administrator's token, and a way into the dashboard. */
  readonly ready: {
    readonly uid: string;
    readonly streamKey: string;
    readonly apiToken: string;
    /** Its URL; until a password is set, one that opens it once. */
    readonly dashboard: string;
  };
  /** Why control cannot do its work; nothing while the store can be written. */
  troubles(): readonly string[];
}

/** How long an answer to a change waits for the roles to have it. */
const settleMs = 2_000;
const closeMs = 3_000;
/** What was watched is kept in steps of five minutes for so long, and by the hour then. */
const foldDays = 30;
/** An event that comes again after so long takes effect again; nobody keeps one that long. */
const eventDays = 90;
const dayMs = 86_400_000;
const latencyBuckets = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

/** Opens the store, makes what a first start needs, and serves the roles and the API. Resolves once it listens. */
export async function startControl(options: ControlOptions): Promise<Control> {
  const { dataDir, log, defaults } = options;
  const scope = new Scope(closeMs, (name, error) => log.error({ name, err: error }, "close is stuck"));
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const { databaseUrl } = options;
    const place = databaseUrl ? { databaseUrl, log } : { file: join(dataDir, "sluice.db") };
    const records = scope.own("store", await Records.open(place));
    const keys = keysFrom(await openMaster(join(dataDir, "master-secret"), records));
    const apiToken = await openAdminToken(join(dataDir, "admin-token"), records);
    const first = await firstInput(records);
    // Whoever asked for them was not told that they are there.
    await records.write((tx) => tx.doomClips());
    const hasPassword = (await records.setting(passwordSetting)) !== undefined;
    const link = hasPassword ? undefined : (await records.write(makeLink)).result;
    const dashboard = dashboardUrl(options.publicUrls, link);
    const tidy = () =>
      records
        .write(async (tx) => {
          await forgetEvents(tx, eventDays);
          await foldWatched(tx, Date.now() - foldDays * dayMs);
        })
        .catch((error: unknown) => log.warn({ err: error }, "what is old stays in the store"));
    void tidy();
    const daily = setInterval(tidy, dayMs).unref();
    scope.own("tidying", { close: () => clearInterval(daily) });

    const links = new Links({
      slices: slicesOf(keys, defaults),
      whole: async () => {
        const whole = await records.whole();
        // Control's own key is in no table: it is derived as the stream keys are.
        return { ...whole, gate: [...whole.gate, keys.ownRecord] };
      },
      log,
    });
    records.onChange = (change) => links.changed(change);
    const allowed = networksOf(options.allowPrivateTargets ?? []);
    if (!allowed)
      throw new Failure(
        "bad_request",
        "allowPrivateTargets: must be addresses and networks, like 10.0.0.0/8",
      );
    const webhooks = startWebhooks({ records, keys, allowed, log, retryMs: options.webhookRetryMs });
    records.onWrite = () => webhooks.wake();
    const { originAddress, secret } = options;
    const remove = originAddress && recordingRemover(originAddress, secret);
    const janitor = remove ? scope.own("janitor", new Janitor({ records, remove, log })) : undefined;
    const internal = internalCalls({
      ...{ records, links, urls: options.publicUrls, log },
      ended: () => janitor?.wake(),
    });

    const deps = {
      records,
      keys,
      defaults,
      log,
      urls: options.publicUrls,
      pages: options.pages,
      replayed: () => webhooks.wake(true),
      askOrigin: (path: string, json?: unknown, answerMs?: number) => {
        if (!options.originAddress) throw new Failure("unavailable", "No origin is known here");
        const { secret } = options;
        return requestInternal(options.originAddress, path, {
          secret,
          ...(json !== undefined && { json }),
          ...(answerMs !== undefined && { answerMs }),
        });
      },
      doomed: () => janitor?.wake(),
      settled: (version: number) => links.settled(version, settleMs),
    };
    let api: Promise<(request: IncomingMessage, response: ServerResponse) => void> | undefined;
    // Roles wait for their slice and nobody waits for the API yet, so its libraries load after the first answer to them.
    const openApi = () => {
      api ??= import("./api/server.ts")
        .then((module) => module.openApi(deps))
        .catch((error: unknown) => {
          api = undefined;
          throw error;
        });
      return api;
    };
    const took = options.metrics?.histogram(
      "sluice_api_seconds",
      "From when control takes up a request of the API to the end of its answer",
      latencyBuckets,
    );
    const server = await listenInternal(
      options.address,
      async (request, response) => {
        if (request.url?.startsWith("/internal/certificate?") && options.certificateFor) {
          const have = new URL(request.url, "http://control").searchParams.get("have") ?? "";
          return sendJson(response, 200, await options.certificateFor(have));
        }
        if (request.url?.startsWith("/internal/")) return internal(request, response);
        const fromMs = performance.now();
        if (took) response.once("finish", () => took((performance.now() - fromMs) / 1_000));
        (await openApi())(request, response);
      },
      { secret: options.secret },
    );
    scope.own("server", server);
    scope.own("webhooks", webhooks);
    scope.own("links", links);
    const warm = setImmediate(() => void openApi().catch((error) => log.error({ err: error }, "no API")));
    scope.own("warm-up", { close: () => clearImmediate(warm) });
    return {
      address: server.address,
      ready: { uid: first.uid, streamKey: keys.streamKey(first), apiToken, dashboard },
      troubles: () => (records.broken ? [records.broken] : []),
      closed: scope.closed,
      close: () => scope.close(),
    };
  } catch (error) {
    await scope.close();
    throw error;
  }
}

/** The oldest live input; a store without any gets one, so that there is always something to paste into an encoder. */
async function firstInput(records: Records): Promise<LiveInput> {
  const oldest = await records.oldestInput();
  if (oldest) return oldest;
  const { result } = await records.write(async (tx) => {
    const made = await tx.create(
      newUid(),
      newInput({ meta: { name: "Default" }, recording: { mode: "automatic" } }),
    );
    await tx.audit("control", "live_input.create", made.uid);
    return made;
  });
  return result;
}
