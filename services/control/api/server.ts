import type { IncomingMessage, ServerResponse } from "node:http";
import { type FastifyReply, type FastifyRequest, fastify } from "fastify";
import { Failure } from "../../lib/errors.ts";
import type { z } from "../../lib/schema.ts";
import { sha256Hex } from "../keys.ts";
import { dashboardActor } from "../login/sessions.ts";
import { accessCalls } from "./access.ts";
import { adminCalls } from "./admin.ts";
import { analyticsCalls } from "./analytics.ts";
import { type Call, codes, type Deps, type Problem, type Refusal, type Reply } from "./call.ts";
import { captionCalls } from "./captions.ts";
import { addDashboard, sessionOf } from "./dashboard.ts";
import { fileCalls } from "./files.ts";
import { inputCalls } from "./inputs.ts";
import { laterCalls } from "./later.ts";
import { operatorCalls } from "./operator.ts";
import { outputCalls } from "./outputs.ts";
import { repeats } from "./repeats.ts";
import { videoCalls } from "./videos.ts";
import { webhookCalls } from "./webhooks.ts";

const maxBodyBytes = 64 * 1024;
const maxParamLength = 64;

declare module "fastify" {
  interface FastifyRequest {
    /** Who asks; set for every path that needs a token. */
    actor: { readonly name: string; readonly scopes: readonly string[] } | undefined;
  }
}

/** Builds the public API; the result answers one request. It listens nowhere itself. */
export async function openApi(
  deps: Deps,
): Promise<(request: IncomingMessage, response: ServerResponse) => void> {
  const { records, log } = deps;
  const calls = [
    ...inputCalls(deps),
    ...outputCalls(deps),
    ...fileCalls(deps),
    ...videoCalls(deps),
    ...captionCalls(deps),
    ...accessCalls(deps),
    ...webhookCalls(deps),
    ...operatorCalls(deps),
    ...adminCalls(deps),
    ...analyticsCalls(deps),
    ...laterCalls(),
  ];
  const run = repeats(deps);
  const app = fastify({
    bodyLimit: maxBodyBytes,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength },
    // What cannot be routed at all, such as a torn %-escape, gets the envelope too.
    frameworkErrors: (error, _request, reply) =>
      void send(reply as FastifyReply, refusal(400, codes.badRequest, unroutable(error.code))),
  });

  // curl without a header and the official client's empty JSON bodies are both meant as JSON.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (request, body, done) => {
    const type = request.headers["content-type"] ?? "";
    const text = body.toString();
    // WebVTT 4.1 has the same in place of it.
    if (/^text\/vtt\b/i.test(type)) return done(null, { file: text.replaceAll("\0", "\ufffd") });
    if (/^multipart\/form-data\b/i.test(type))
      return void fieldsOf(text.replaceAll("\0", "\ufffd"), type).then(
        (fields) => done(null, fields),
        () => done(Object.assign(new Error("The body is not a form."), { statusCode: 400 })),
      );
    // Other files are for calls that are not served, and those have to be reached to say so.
    if (/^(multipart\/|application\/offset)/.test(type)) return done(null, undefined);
    if (escapedNul.test(text)) return done(Object.assign(new Error(noNul), { statusCode: 400 }));
    try {
      done(null, text ? JSON.parse(text) : undefined);
    } catch {
      done(Object.assign(new Error("The body is not JSON."), { statusCode: 400 }));
    }
  });

  app.decorateRequest("actor", undefined);
  // Before routing decides anything: without a token nobody learns which paths or objects exist.
  app.addHook("onRequest", async (request, reply) => {
    if (/^\/(docs|dashboard)($|[/?])/.test(request.url)) return;
    request.actor = await whoAsks(request);
    if (!request.actor) return send(reply, unauthorized);
  });

  for (const one of calls) {
    app.route({
      method: one.method,
      url: one.path,
      ...(one.bodyBytes !== undefined && { bodyLimit: one.bodyBytes }),
      handler: async (request, reply) => send(reply, await answer(one, request, run)),
    });
  }

  addDashboard(app, { records, pages: deps.pages, send });

  app.get("/docs/openapi.json", async (_request, reply) => {
    const { openapi } = await import("./docs.ts");
    return reply.send(openapi(calls, deps.urls));
  });
  app.get("/docs", async (_request, reply) => {
    const { page } = await import("./docs.ts");
    return reply
      .header("content-type", "text/html; charset=utf-8")
      .header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'")
      .header("referrer-policy", "no-referrer")
      .send(page(calls, deps.urls));
  });

  app.setNotFoundHandler((request, reply) =>
    send(reply, {
      status: 404,
      errors: [
        {
          code: codes.noSuchCall,
          message: `${request.method} ${request.url.split("?")[0]} is not a call of this version; /docs lists what is.`,
        },
      ],
    }),
  );
  app.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
    if (error.statusCode === 413)
      return send(
        reply,
        refusal(413, codes.tooLarge, `The body is larger than ${request.routeOptions.bodyLimit} bytes.`),
      );
    if (error.statusCode && error.statusCode < 500)
      return send(reply, refusal(400, codes.badRequest, inSentence(error)));
    if (error instanceof Failure && error.code === "unavailable")
      return send(reply, refusal(503, codes.unavailable, `${error.message}.`));
    log.error({ err: error, method: request.method, route: request.routeOptions.url }, "API call failed");
    if (records.broken) return send(reply, refusal(503, codes.unavailable, `${records.broken}.`));
    return send(
      reply,
      refusal(500, codes.internal, "Something failed here; the server's log has the cause."),
    );
  });
  await app.ready();
  return (request, response) => app.routing(request, response);

  async function whoAsks(request: FastifyRequest) {
    // Between machines `authorization` is the roles' own secret, and the origin passes the caller's beside it.
    const given = request.headers["x-sluice-authorization"] ?? request.headers.authorization;
    const token = /^Bearer +(\S{1,512}) *$/i.exec(String(given))?.[1];
    const holder = token === undefined ? undefined : await records.token(sha256Hex(token));
    if (holder) return holder;
    return (await sessionOf(request, records)) && { name: dashboardActor, scopes: ["admin"] };
  }
}

/** PostgreSQL has no text with it, and nobody means it. */
const noNul = "The request has the character U+0000; leave it out.";
/** As JSON has it; a backslash that is escaped itself begins no escape. */
const escapedNul = /(?<!\\)(?:\\\\)*\\u0000/;

function holdsNul(values: unknown): boolean {
  return Object.values(values as Record<string, unknown>).some((value) => String(value).includes("\0"));
}

/** Why a path leads nowhere, without repeating it. */
function unroutable(code: string): string {
  return code === "FST_ERR_BAD_URL"
    ? "The path has a % that is not followed by two hexadecimal digits of UTF-8."
    : `A part of the path is longer than ${maxParamLength} characters.`;
}

/** What is wrong with a body, from our own parsers or from fastify. */
function inSentence({ code, message }: Error & { readonly code?: string }): string {
  if (code === undefined) return message;
  return code === "FST_ERR_CTP_INVALID_MEDIA_TYPE"
    ? "The header content-type is empty or malformed; leave it out or send application/json."
    : "The body cannot be read; send JSON with its right content-length.";
}

/** The fields of a form (RFC 7578), files as text. Rejects when it is none. */
async function fieldsOf(body: string, type: string): Promise<Record<string, string>> {
  const form = await new Response(body, { headers: { "content-type": type } }).formData();
  const fields = await Promise.all(
    [...form].map(async ([name, value]) => [name, typeof value === "string" ? value : await value.text()]),
  );
  return Object.fromEntries(fields) as Record<string, string>;
}

const unauthorized = refusal(
  401,
  codes.unauthorized,
  "Authentication error: send `Authorization: Bearer <API token>`. The administrator's token is in the file admin-token of the data folder.",
);

async function answer(
  one: Call,
  request: FastifyRequest,
  run: ReturnType<typeof repeats>,
): Promise<Reply<unknown>> {
  const { scopes, name } = request.actor!;
  if (!scopes.includes("admin") && !scopes.includes(one.scope))
    return refusal(403, codes.forbidden, `This token lacks the scope ${one.scope}.`);
  const params = one.params.safeParse(request.params);
  const query = one.query.safeParse(request.query);
  const body = one.body?.safeParse(request.body ?? {});
  if (holdsNul(request.params) || holdsNul(request.query)) return refusal(400, codes.badRequest, noNul);
  const errors = [
    ...(params.error ? problems(params.error, undefined) : []),
    ...(query.error ? problems(query.error, undefined) : []),
    ...(body?.error ? problems(body.error, "") : []),
  ];
  if (errors.length > 0) return { status: 400, errors };
  const idempotencyKey = request.headers["idempotency-key"];
  return run(one, {
    params: params.data,
    query: query.data,
    body: body?.data,
    idempotencyKey: typeof idempotencyKey === "string" ? idempotencyKey : undefined,
    actor: name,
  });
}

/** One problem a field, each a sentence that names it; `root` is the JSON pointer of the body, absent for what is not in it. */
function problems(error: z.ZodError, root: string | undefined): Problem[] {
  return error.issues.map(({ path, message }) => {
    const field = path.map(String);
    const pointer = field.map((part) => `/${part.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
    return {
      code: codes.badRequest,
      message: `${field.join(".") || "The body"} ${message}.`,
      ...(root !== undefined && { source: { pointer: root + pointer } }),
    };
  });
}

function refusal(status: Refusal["status"], code: number, message: string): Refusal {
  return { status, errors: [{ code, message }] };
}

/** Puts a reply into Cloudflare's envelope. */
function send(reply: FastifyReply, said: Reply<unknown>): FastifyReply {
  reply.code(said.status).header("cache-control", "no-store").header("x-content-type-options", "nosniff");
  if (said.status === 204) {
    if (said.behind.length) reply.header("x-sluice-behind", said.behind.join(", "));
    return reply.send();
  }
  if ("text" in said) return reply.header("content-type", said.type).send(said.text);
  if ("errors" in said) {
    // The official client repeats a 409 and a 501 unless told that it is final.
    if (said.status === 409 || said.status === 501) reply.header("x-should-retry", "false");
    if (said.status === 401) reply.header("www-authenticate", "Bearer");
    return reply.send({ result: null, success: false, errors: said.errors, messages: [] });
  }
  return reply.send({
    result: said.result,
    success: true,
    errors: [],
    messages: said.notes ?? [],
    ...said.counts,
  });
}
