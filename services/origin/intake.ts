import type { IncomingMessage } from "node:http";
import { messageOf } from "../lib/errors.ts";
import { openInternal } from "../lib/http.ts";
import type { Log } from "../lib/log.ts";
import type { Broadcast } from "../live/broadcast.ts";
import { BadMedia } from "../packager/bad-media.ts";
import { FlvReader, readScript } from "../packager/flv.ts";

export interface Feed {
  /** Ingest's internal address and the path of the publish's feed there. */
  readonly address: string;
  readonly path: string;
  readonly secret: string | undefined;
}

/** How a feed came to its end: as the publisher's last tag says, or because it broke, or by media that nobody can use. */
export type FeedEnd =
  | { readonly how: "clean" | "lost" | "replaced" | "aborted" }
  | { readonly how: "refused"; readonly code: string; readonly message: string };

/**
 * Reads one feed into the broadcast until it ends or `signal` is aborted. Never throws for what a peer does: the
 * outcome says how the feed ended.
 */
export async function readFeed(
  feed: Feed,
  broadcast: Broadcast,
  signal: AbortSignal,
  log: Log,
): Promise<FeedEnd> {
  let body: IncomingMessage;
  try {
    body = await openInternal(feed.address, feed.path, { signal, secret: feed.secret });
  } catch (error) {
    if (!signal.aborted) log.warn({ error: messageOf(error), path: feed.path }, "feed could not be opened");
    return { how: signal.aborted ? "aborted" : "lost" };
  }
  const age = Number(body.headers["x-sluice-age-ms"] ?? 0);
  broadcast.begin(Date.now(), Number.isFinite(age) ? Math.min(Math.max(age, 0), 60_000) : 0);
  const reader = new FlvReader();
  let end: FeedEnd | undefined;
  // Its last tag is its end: who watches does not wait for the connection to go.
  const over = Promise.withResolvers<void>();
  // Events instead of an async iterator: one promise less per chunk of a busy feed.
  body.on("data", (bytes: Buffer) => {
    if (end) return;
    try {
      const now = Date.now();
      for (const tag of reader.push(bytes)) {
        const said = tag.type === "script" ? endOf(tag.payload) : undefined;
        if (said) {
          end = { how: said };
          over.resolve();
        } else broadcast.push(tag, now);
      }
    } catch (error) {
      if (!(error instanceof BadMedia)) {
        body.destroy(error as Error);
        return;
      }
      end = { how: "refused", code: error.code, message: error.message };
      body.destroy();
    }
  });
  let broke: unknown;
  body.on("error", (error) => {
    broke = error;
  });
  // Not `once` of node:events: that rejects where the body breaks, and how it broke is said below.
  body.once("close", () => over.resolve());
  await over.promise;
  if (signal.aborted) return { how: "aborted" };
  if (!end && broke && (broke as { code?: string }).code !== "ECONNRESET")
    log.error({ err: broke, path: feed.path }, "feed broke");
  return end ?? { how: "lost" };
}

/** The last tag of a finished publish says why it finished. */
function endOf(payload: Uint8Array): "clean" | "lost" | "replaced" | undefined {
  const { name, value } = readScript(payload);
  if (name !== "onPublishEnd") return undefined;
  const reason =
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as { reason?: unknown }).reason
      : undefined;
  return reason === "clean" || reason === "replaced" ? reason : "lost";
}
