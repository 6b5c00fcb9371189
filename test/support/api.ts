import { type IncomingHttpHeaders, request } from "node:http";

/** Where one Sluice answers, and as whom it is asked. */
export interface Door {
  /** `http://host:port`, or `unix:/path` of a control alone. */
  readonly http: string;
  readonly apiToken: string;
}

interface Said {
  readonly code: number;
  readonly message: string;
}

/** All of one answer, with whatever else its envelope has. */
export interface Answer<Result> {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly result: Result;
  readonly errors: readonly Said[];
  readonly messages: readonly Said[];
}

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
/** A method and a path within the account, or a whole one from `/v1/` on. */
export type Asked = Method | `${Method} ${string}`;

/** Asks for `"PUT /live_inputs/x"` and answers with the result; throws with what was said where that is no success. */
// biome-ignore lint/suspicious/noExplicitAny: who asks knows what it gets, or looks into it
export type Api = <Result = any>(asked: Asked, body?: object) => Promise<Result>;

const account = "/client/v4/accounts/local/stream";

/** The API of the Sluice that `door` names at the time of each request. */
export function apiOf(door: () => Door): Api {
  return async (asked, body) => {
    const { status, result, errors } = await ask<never>(door(), asked, body);
    if (status < 200 || status > 299) throw new Error(`${asked}: ${status} ${JSON.stringify(errors)}`);
    return result;
  };
}

/** Asks once, over a connection of its own, and answers whatever the status is. Bodies are sent as JSON but for forms. */
// biome-ignore lint/suspicious/noExplicitAny: as above
export async function ask<Result = any>(door: Door, asked: Asked, body?: object): Promise<Answer<Result>> {
  const [method = "", named = ""] = asked.split(" ");
  const path = named.startsWith("/v1/") ? named : account + named;
  const sent = body && (body instanceof FormData ? new Response(body) : Response.json(body));
  const bytes = await sent?.bytes();
  const headers = {
    authorization: `Bearer ${door.apiToken}`,
    ...(sent && { "content-type": sent.headers.get("content-type")!, "content-length": bytes!.length }),
  };
  const options = { method, path, headers, agent: false as const };
  const where = door.http.startsWith("unix:")
    ? { socketPath: door.http.slice("unix:".length) }
    : { host: new URL(door.http).hostname.replace(/[[\]]/g, ""), port: new URL(door.http).port };
  return await new Promise((resolve, reject) => {
    const going = request({ ...options, ...where }, async (response) => {
      try {
        let text = "";
        for await (const piece of response.setEncoding("utf8")) text += piece;
        const envelope = text ? JSON.parse(text) : { result: undefined, errors: [], messages: [] };
        resolve({ ...envelope, status: response.statusCode!, headers: response.headers });
      } catch (error) {
        reject(error);
      }
    });
    going.on("error", reject).end(bytes);
  });
}
