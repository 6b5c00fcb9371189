import { createFeed, feedLimits } from "../../services/ingest/feed.ts";
import { createProtocol, type Protocol } from "../../services/ingest/protocol.ts";
import { Failure } from "../../services/lib/errors.ts";
import { BadMedia } from "../../services/packager/bad-media.ts";
import { bytesOf, concat } from "../support/bytes.ts";
import {
  chunked,
  chunkSizeMessage,
  command,
  greeting,
  media,
  publishCommands,
} from "../support/rtmp-client.ts";
import type { Target } from "./target.ts";

const hello = Buffer.concat([greeting(), Buffer.alloc(1536, 7)]);

/** What one connection made of `bytes`, given to it in pieces of `size`. */
function outcome(bytes: Uint8Array, size: number): { readonly said: string[]; readonly error: unknown } {
  const said: string[] = [];
  const feed = createFeed({ limits: feedLimits, onReaders: () => undefined });
  const protocol: Protocol = createProtocol({
    send: (out) => said.push(`sent ${out.length}`),
    publish(app, name) {
      said.push(`publish ${app} ${name}`);
      protocol.accept();
    },
    media(type, timestampMs, tag) {
      said.push(`${type} ${timestampMs} ${tag.length}`);
      feed.write(type, timestampMs, tag);
    },
    unpublish: () => protocol.stop(),
  });
  protocol.push(hello);
  try {
    for (let at = 0; at < bytes.length; at += size) protocol.push(Buffer.from(bytes.subarray(at, at + size)));
    return { said, error: undefined };
  } catch (error) {
    return { said, error };
  } finally {
    feed.end("lost");
  }
}

/** What an encoder sends after the handshake. However it is cut into packets, the same comes of it. */
export const rtmp: Target = {
  name: "rtmp",
  seeds: [
    concat([
      chunked(chunkSizeMessage(100), 128),
      ...publishCommands("live", "key").map((m) => chunked(m, 100)),
      chunked({ type: 18, timestampMs: 0, payload: media.metadata({ width: 320 }) }, 100),
      chunked({ type: 9, timestampMs: 0, payload: media.avcConfig }, 100),
      chunked({ type: 8, timestampMs: 0, payload: media.aacConfig }, 100),
      chunked({ type: 9, timestampMs: 2 ** 24 - 1, payload: media.keyframe(250) }, 100),
      chunked({ type: 8, timestampMs: 5, payload: media.audio(40), delta: true }, 100),
      chunked({ type: 9, timestampMs: 2 ** 32 - 9, payload: media.frame(120, -40) }, 100),
      chunked(command("FCUnpublish", 6, null, "key"), 100),
    ]),
    concat(publishCommands("live", "key").map((m) => chunked(m, 128))),
    // Chunk stream ids of two and three bytes, a ping, an abort, a window size.
    bytesOf("00 00 000000 000004 05 00000000 00002000"),
    bytesOf("01 0010 000000 000006 04 00000000 0006 00000001"),
    bytesOf("02 000000 000004 02 00000000 00000003"),
  ],
  run(bytes) {
    const whole = outcome(bytes, bytes.length || 1);
    const pieces = outcome(bytes, 1 + (bytes.length % 97));
    // An acknowledgement or an error comes with the packet, so only what was understood must be the same.
    if (!whole.error && !pieces.error && whole.said.join() !== pieces.said.join())
      throw new Error("other packets, other meaning");
    const { error } = whole;
    // A cause is something that nobody foresaw, caught at the last moment.
    if (error instanceof Failure && error.cause === undefined) throw new BadMedia("bad_flv", error.message);
    if (error) throw error;
  },
};
