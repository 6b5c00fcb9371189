import http from "node:http";
import { text } from "node:stream/consumers";
import { parseAddress } from "../lib/http.ts";

/** How the origin's side of an upload ended. */
export type UploadEnd =
  | { readonly how: "taken" }
  /** 404: the broadcast is over. 409: another has been granted these rungs. */
  | { readonly how: "refused"; readonly status: number; readonly message: string }
  | { readonly how: "broken"; readonly message: string };

/** One rung on its way to the origin: an endless request body. */
export interface Upload {
  /**
   * Never waits. When the origin does not read, whole tags are left out until it does and a keyframe comes; a configuration
   * never is.
   */
  write(tag: Uint8Array, kind: "config" | "key" | "other"): void;
  /** Ends the body as complete; `ended` then has the origin's answer. */
  finish(): void;
  /** Breaks the body off: what was sent is not all there was to be. */
  abort(): void;
  readonly ended: Promise<UploadEnd>;
}

/** More unread than this and tags are left out; below the second figure they may begin again. */
const fullBytes = 2 << 20;
const roomBytes = 1 << 19;
/** How long the origin has to answer a body that has ended. */
const answerMs = 3_000;

/** Opens `POST path` at an internal address; `onDropped` hears of each tag that is left out. */
export function openUpload(options: {
  readonly address: string;
  readonly path: string;
  readonly secret: string | undefined;
  readonly onDropped: () => void;
}): Upload {
  const { address, path, secret, onDropped } = options;
  const done = Promise.withResolvers<UploadEnd>();
  let dropping = false;
  let over = false;
  const settle = (end: UploadEnd) => {
    over = true;
    done.resolve(end);
  };
  const request = http.request({
    ...parseAddress(address),
    path,
    method: "POST",
    agent: false,
    headers: {
      "content-type": "video/x-flv",
      "transfer-encoding": "chunked",
      ...(secret && { authorization: `Bearer ${secret}` }),
    },
  });
  // The origin knows its writer before the first picture is there.
  request.flushHeaders();
  request.once("response", (response) => {
    const status = response.statusCode ?? 0;
    text(response).then(
      (body) => {
        settle(status < 300 ? { how: "taken" } : { how: "refused", status, message: body.slice(0, 500) });
        // An answer before the end of the body: the rest of it is not wanted.
        request.destroy();
      },
      (error: Error) => settle({ how: "broken", message: error.message }),
    );
  });
  request.on("error", (error) => settle({ how: "broken", message: error.message }));
  request.once("close", () => settle({ how: "broken", message: "the connection closed without an answer" }));

  return {
    ended: done.promise,
    write(tag, kind) {
      if (over || request.writableEnded) return;
      if (dropping) dropping = !(kind === "key" && request.writableLength < roomBytes);
      else dropping = request.writableLength > fullBytes;
      if (dropping && kind !== "config") return onDropped();
      request.write(tag);
    },
    finish() {
      if (request.writableEnded || over) return;
      request.end();
      const late = setTimeout(() => request.destroy(new Error("no answer at its end")), answerMs);
      void done.promise.then(() => clearTimeout(late));
    },
    abort() {
      request.destroy();
    },
  };
}
