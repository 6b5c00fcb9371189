import type { IncomingMessage, ServerResponse } from "node:http";
import { Failure } from "../lib/errors.ts";
import { readJson, sendJson } from "../lib/http.ts";
import type { Log } from "../lib/log.ts";
import { z } from "../lib/schema.ts";
import { outputReasons, outputStates } from "../live/output.ts";
import type { Tally } from "../live/tally.ts";
import { badMediaCodes } from "../packager/bad-media.ts";
import type { Links } from "./links.ts";
import type { PublicUrls } from "./resources.ts";
import { applyFacts } from "./store/facts.ts";
import type { Records } from "./store/records.ts";
import { keepWatched } from "./store/watched.ts";

const name = z.string().min(1).max(100);
const uid = z.string().min(1).max(100);
const advice = z.string().max(8_192);
const head = { id: z.string().min(1).max(100), at: z.number().int().min(0).max(8.64e15) };

const sentFact = z.discriminatedUnion("type", [
  z.object({ ...head, type: z.literal("publish.started"), uid, publish: uid, peer: z.string().max(200) }),
  z.object({
    ...head,
    type: z.literal("publish.ended"),
    uid,
    publish: uid,
    reason: z.enum(["clean", "lost", "replaced", "refused"]),
    wrong: z.object({ code: z.enum(badMediaCodes), advice }).optional(),
  }),
  z.object({ ...head, type: z.literal("broadcast.started"), uid, video: uid }),
  z.object({
    ...head,
    type: z.literal("broadcast.ended"),
    uid,
    video: uid,
    recorded: z.object({ seconds: z.number().min(0), bytes: z.int().min(0) }).optional(),
  }),
  z.object({ ...head, type: z.literal("gop.long"), uid, seconds: z.number(), advice }),
  z.object({
    ...head,
    type: z.literal("ladder.degraded"),
    uid,
    video: uid,
    rung: name,
    rungs: z.array(name).max(32),
    why: z.string().max(4_096),
    advice,
  }),
  z.object({
    ...head,
    type: z.literal("recording.paused"),
    uid,
    video: uid,
    why: z.string().max(4_096),
    advice,
  }),
  z.object({ ...head, type: z.literal("recording.resumed"), uid, video: uid, advice }),
  z.object({
    ...head,
    type: z.literal("recording.settled"),
    uid,
    video: uid,
    seconds: z.number().min(0),
    bytes: z.int().min(0),
  }),
  z.object({
    ...head,
    type: z.literal("recording.mended"),
    uid,
    video: uid,
    seconds: z.number().min(0),
    bytes: z.int().min(0),
  }),
  z.object({
    ...head,
    type: z.literal("recording.gap"),
    uid,
    video: uid,
    rendition: name,
    from: z.int().min(0),
    to: z.int().min(0),
    atSeconds: z.number(),
    seconds: z.number().min(0),
  }),
  z.object({
    ...head,
    type: z.literal("ladder.failed"),
    uid,
    video: uid,
    why: z.string().max(4_096),
    advice,
  }),
  z.object({ ...head, type: z.literal("ladder.resumed"), uid, video: uid, advice }),
  z.object({
    ...head,
    type: z.literal("output.changed"),
    uid,
    output: uid,
    state: z.enum(outputStates),
    reason: z.enum(outputReasons),
    error: z.string().max(4_096).optional(),
  }),
]);
const known: ReadonlySet<string> = new Set(sentFact.options.map((option) => option.shape.type.value));

const ack = z.object({ role: name, node: name, version: z.number().int().min(0) });
const report = z.object({
  role: name,
  node: name,
  events: z.array(z.looseObject({ ...head, type: z.string() })).max(1_000),
});

const amount = z.number().min(0).max(1e15);
const mean = z.object({ sum: amount, count: amount }).optional();
const watched = z.object({
  tallies: z
    .array(
      z.object({
        ...{ video: uid, uid, at: z.int().min(0).max(8.64e15), source: z.string().min(3).max(400) },
        revision: z.int().min(0),
        sums: z.object({
          watchedMs: z.object({ hls: amount, dash: amount, moq: amount }),
          ...{
            reportedMs: amount,
            views: amount,
            peak: amount,
            stalls: amount,
            stalledMs: amount,
            errors: amount,
          },
          means: z.object({
            ...{ startupSeconds: mean, throughputKbps: mean, bitrateKbps: mean },
            ...{ bufferSeconds: mean, latencySeconds: mean, playbackRate: mean },
          }),
        }),
      }),
    )
    .max(1_000),
});

/** The calls of other roles: `/internal/slice`, `/internal/ack`, `/internal/events`, `/internal/watched`. Throws `Failure` for anything else. */
export function internalCalls(options: {
  readonly records: Records;
  readonly links: Links;
  readonly urls: PublicUrls;
  readonly log: Log;
  /** A broadcast has ended. */
  readonly ended: () => void;
}) {
  const { records, links, urls, log, ended } = options;
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://control");
    const call = `${request.method} ${url.pathname}`;
    if (call === "GET /internal/slice") {
      const who = parse(z.object({ role: name, node: name }), Object.fromEntries(url.searchParams));
      return links.open(who.role, who.node, response);
    }
    if (call === "POST /internal/ack") {
      const { role, node, version } = parse(ack, await readJson(request));
      links.ack(role, node, version);
      return sendJson(response, 204);
    }
    if (call === "POST /internal/events") {
      const { role, node, events } = parse(report, await readJson(request, 4 << 20));
      // A newer role may tell what this version does not know: taken and left alone, or it would come for ever.
      const facts = events.filter((event) => known.has(event.type)).map((event) => parse(sentFact, event));
      const { result } = await records.write((tx) =>
        applyFacts(tx, { node: `${role}/${node}`, urls }, facts),
      );
      // Its recording may have a day on which it is to go.
      if (result.some(({ type }) => type === "broadcast.ended")) ended();
      for (const { type, uid, id, at, ...fact } of result) log.debug({ type, uid, ...fact }, "event");
      return sendJson(response, 204);
    }
    if (call === "POST /internal/watched") {
      const { tallies } = parse(watched, await readJson(request, 4 << 20));
      await records.write((tx) => keepWatched(tx, tallies as readonly Tally[]));
      return sendJson(response, 204);
    }
    const [, caption] = /^GET \/internal\/captions\/([0-9a-f]{12})$/.exec(call) ?? [];
    if (caption) {
      const found = await records.caption({ id: caption });
      return sendJson(response, found ? 200 : 404, found ? { webvtt: found.webvtt } : {});
    }
    throw new Failure("not_found", `${call} is not an internal call of control`);
  };
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new Failure("bad_request", z.prettifyError(parsed.error));
}
