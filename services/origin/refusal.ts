import type { OutgoingHttpHeaders } from "node:http";
import { cacheControl, type Kind } from "./caching.ts";
import type { Exchange } from "./exchange.ts";

/** Answers with a sentence for a person and a status for a program. */
export function refuse(
  exchange: Exchange,
  status: number,
  message: string,
  headers: OutgoingHttpHeaders = {},
  kind: Kind = "error",
): void {
  exchange.reply(
    status,
    { "content-type": "text/plain; charset=utf-8", "cache-control": cacheControl(kind, 0), ...headers },
    [Buffer.from(`${message}\n`)],
  );
}
