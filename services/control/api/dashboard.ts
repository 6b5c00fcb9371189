import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "../../lib/schema.ts";
import { Guesses } from "../login/guesses.ts";
import { passwordIs, passwordSetting } from "../login/password.ts";
import {
  csrfIs,
  csrfOf,
  endSessions,
  findSession,
  openSession,
  type Session,
  sessionSeconds,
  useLink,
} from "../login/sessions.ts";
import type { Records } from "../store/records.ts";
import { codes, type Refusal, type Reply } from "./call.ts";

const sessionPath = "/dashboard/api/session";

const loginBody = z.union(
  [
    z.strictObject({ password: z.string().min(1).max(1_024) }),
    z.strictObject({ link: z.string().min(1).max(128) }),
  ],
  { error: "must be {password} or {link}" },
);

/** Who looks at the dashboard. */
export const sessionView = z.object({
  signedIn: z.boolean(),
  /** Goes into the header x-sluice-csrf of every call; absent while nobody is signed in. */
  csrf: z.string().optional(),
  expires: z.string().optional(),
  /** false until the administrator has chosen a password. */
  passwordSet: z.boolean(),
});

/** Its scripts and styles are beside the player's; the player needs blob: for its media and its worker, and a port of its own for QUIC. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "media-src 'self' blob: data:",
  "worker-src 'self' blob:",
  "font-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

export interface DashboardOptions {
  readonly records: Records;
  /** Where the built pages are; absent is no dashboard. */
  readonly pages: string | undefined;
  readonly send: (reply: FastifyReply, said: Reply<unknown>) => FastifyReply;
}

/** Adds the dashboard's page and its login. */
export function addDashboard(app: FastifyInstance, { records, pages, send }: DashboardOptions): void {
  const guesses = new Guesses();
  let page: Promise<string> | undefined;

  const shown = async (session: Session | undefined) => ({
    status: 200 as const,
    result: {
      signedIn: session !== undefined,
      ...(session && { csrf: csrfOf(session), expires: session.expires }),
      passwordSet: (await records.setting(passwordSetting)) !== undefined,
    } satisfies z.infer<typeof sessionView>,
  });

  app.get(sessionPath, async (request, reply) =>
    send(reply, await shown(await findSession(records, cookieOf(request)))),
  );

  app.post(sessionPath, async (request, reply) => {
    if (isElsewhere(request)) return send(reply, elsewhere);
    const body = loginBody.safeParse(request.body ?? {});
    if (!body.success) return send(reply, refusal(400, "The body must be {password} or {link}."));
    const refused =
      "link" in body.data ? await byLink(body.data.link) : await byPassword(body.data.password, request);
    if (refused) {
      if (refused.waitSeconds) reply.header("retry-after", String(refused.waitSeconds));
      return send(reply, refused.refusal);
    }
    const session = await openSession(records, "link" in body.data ? "link" : "password");
    reply.header("set-cookie", cookie(request, session.id, sessionSeconds));
    return send(reply, await shown(session));
  });

  app.delete(sessionPath, async (request, reply) => {
    const session = await sessionOf(request, records);
    if (!session) return send(reply, refusal(401, "You are not signed in."));
    const { all } = request.query as { readonly all?: string };
    await endSessions(records, all === "true" ? "all" : session.id);
    reply.header("set-cookie", cookie(request, "", 0));
    return send(reply, await shown(undefined));
  });

  const answer = async (request: FastifyRequest, reply: FastifyReply) => {
    page ??= readFile(join(pages ?? "", "dashboard.html"), "utf8");
    let html: string;
    try {
      html = await page;
    } catch {
      page = undefined;
      return send(reply, refusal(503, "The dashboard is not built; run npm start, which builds it."));
    }
    return reply
      .header("content-type", "text/html; charset=utf-8")
      .header("content-security-policy", `${policy}; connect-src 'self'${ownPorts(request)}`)
      .header("referrer-policy", "no-referrer")
      .header("x-content-type-options", "nosniff")
      .header("x-frame-options", "DENY")
      .header("cross-origin-opener-policy", "same-origin")
      .header("cache-control", "no-cache")
      .send(html);
  };
  app.get("/dashboard", answer);
  app.get("/dashboard/*", answer);

  async function byLink(code: string): Promise<Refused | undefined> {
    if (await useLink(records, code)) return undefined;
    return {
      refusal: refusal(
        401,
        "This link was used before or is older than an hour. Type `sluice admin link` for a new one.",
      ),
    };
  }

  async function byPassword(password: string, request: FastifyRequest): Promise<Refused | undefined> {
    const waitSeconds = guesses.take(peerOf(request), Date.now());
    if (waitSeconds > 0)
      return {
        waitSeconds,
        refusal: refusal(
          429,
          `Too many wrong passwords; wait ${waitSeconds} s, or type \`sluice admin link\` on the server.`,
        ),
      };
    if (!(await passwordIs(password, await records.setting(passwordSetting))))
      return {
        refusal: refusal(
          401,
          "This is not the password. `sluice admin password` on the server sets another one.",
        ),
      };
    guesses.forgive(peerOf(request));
    return undefined;
  }
}

interface Refused {
  readonly refusal: Refusal;
  readonly waitSeconds?: number;
}

/** The session of a request that its own page made: with the cookie, and with what only that page knows. */
export async function sessionOf(request: FastifyRequest, records: Records): Promise<Session | undefined> {
  const given = request.headers["x-sluice-csrf"];
  if (given === undefined || isElsewhere(request)) return undefined;
  const session = await findSession(records, cookieOf(request));
  return session && csrfIs(session, given) ? session : undefined;
}

/** A page of another site made the browser send this. Browsers say so; others are held by the CSRF header. */
function isElsewhere(request: FastifyRequest): boolean {
  const site = request.headers["sec-fetch-site"];
  return site !== undefined && site !== "same-origin" && site !== "none";
}

/** The origin puts the viewer's address here, and believes nobody but its own proxies. */
function peerOf(request: FastifyRequest): string {
  return String(request.headers["x-forwarded-for"] ?? "");
}

function isSecure(request: FastifyRequest): boolean {
  return request.headers["x-forwarded-proto"] === "https";
}

/** With the prefix a browser takes it only from this very host over HTTPS (RFC 6265bis 4.1.3.2). */
function nameOf(request: FastifyRequest): string {
  return isSecure(request) ? "__Host-sluice" : "sluice";
}

function cookie(request: FastifyRequest, value: string, seconds: number): string {
  const secure = isSecure(request) ? "; Secure" : "";
  return `${nameOf(request)}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`;
}

function cookieOf(request: FastifyRequest): string | undefined {
  const name = nameOf(request);
  for (const pair of String(request.headers.cookie ?? "").split(";")) {
    const [key, value] = pair.trim().split("=", 2);
    if (key === name && value && /^[\w-]{43}$/.test(value)) return value;
  }
  return undefined;
}

/** Every port of the name that the page was asked for by, as a source of a content security policy. */
function ownPorts(request: FastifyRequest): string {
  const [name] = /^[a-z0-9.-]+/i.exec(String(request.headers["x-forwarded-host"] ?? "")) ?? [];
  return name ? ` https://${name}:*` : "";
}

function refusal(status: Refusal["status"], message: string): Refusal {
  const code = { 401: codes.unauthorized, 403: codes.forbidden, 429: codes.tooMany, 503: codes.unavailable };
  return { status, errors: [{ code: code[status as 401] ?? codes.badRequest, message }] };
}

const elsewhere = refusal(403, "This request comes from another site's page; open the dashboard itself.");
