import { z } from "../../lib/schema.ts";
import { type Call, call, codes } from "./call.ts";

const base = "/client/v4/accounts/:account/stream";
const anything = z.object({});

/** Calls of Cloudflare Stream that are not served: each says so in a sentence, rather than that it does not exist. */
const later: readonly { readonly what: string; readonly why: string; readonly calls: readonly string[] }[] = [
  {
    what: "Uploads",
    why: "Videos come from live broadcasts; uploads are not offered.",
    calls: ["POST ", "POST /copy", "POST /direct_upload"],
  },
  {
    what: "Watermarks",
    why: "Watermarks are not offered; put them into the picture in the encoder.",
    calls: ["POST /watermarks", "GET /watermarks", "GET /watermarks/:id", "DELETE /watermarks/:id"],
  },
  {
    what: "Extra audio tracks",
    why: "A video has the sound of its broadcast; further audio tracks are not offered.",
    calls: [
      "GET /:uid/audio",
      "POST /:uid/audio/copy",
      "PATCH /:uid/audio/:track",
      "DELETE /:uid/audio/:track",
    ],
  },
  {
    what: "Generated captions",
    why: "Captions are not made from speech here; upload a WebVTT file, or have the encoder send them.",
    calls: ["POST /:uid/captions/:language/generate"],
  },
  {
    what: "Deleting downloads",
    why: "A download is made while it is sent, so there is none to delete; demand signed URLs to keep people from it.",
    calls: ["DELETE /:uid/downloads"],
  },
];

/** The calls that answer 501 with what they would need. */
export function laterCalls(): readonly Call[] {
  return later.flatMap(({ what, why, calls }) =>
    calls.map((one) => {
      const [method, path] = one.split(" ") as [Call["method"], string];
      const names = [...`${base}${path}`.matchAll(/:(\w+)/g)].map(([, name]) => [name!, z.string()]);
      return call({
        method,
        path: `${base}${path}`,
        summary: `${what}: not served`,
        detail: `Answers 501. ${why}`,
        scope: method === "GET" ? "stream:read" : "stream:write",
        params: z.object(Object.fromEntries(names)),
        query: anything,
        async handle() {
          return { status: 501, errors: [{ code: codes.notImplemented, message: why }] };
        },
      });
    }),
  );
}
