import type { OutgoingHttpHeaders } from "node:http";
import { cacheControl, type Kind } from "./caching.ts";
import type { Exchange } from "./exchange.ts";

/** Answers with a sentence for a person and a status for a program; a cache keeps it as long as `found` says. */
export function refuse(
  exchange: Exchange,
  status: number,
  message: string,
  headers: OutgoingHttpHeaders = {},
  found: { readonly kind: Kind; readonly targetDuration: number } = { kind: "error", targetDuration: 0 },
): void {
  exchange.reply(
    status,
    {
      "content-type": "text/plain; charset=utf-8",
      "cache-control": cacheControl(found.kind, found.targetDuration),
      ...headers,
    },
    [Buffer.from(`${message}\n`)],
  );
}
