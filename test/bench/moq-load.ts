import { Peer } from "../../services/moq/session.ts";
import { connectWebTransport } from "../../services/moq/webtransport.ts";
import { readVideo } from "../../services/packager/flv.ts";
import { makeFlv } from "../support/flv.ts";
import { chunked, connectRtmp } from "../support/rtmp-client.ts";
import type { Sluice } from "../support/sluice.ts";

const CHUNK_BYTES = 65_536;
/** Enough of a picture's end to know it by. */
const TAIL = 24;

export const tailOf = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(-TAIL)).toString("latin1");

/** Pictures that are sent at their times, again and again. */
export interface Source {
  /** When the picture after this one was sent, by the end of its bytes. */
  readonly nextSentAt: ReadonlyMap<string, number>;
  stop(): Promise<void>;
}

/** Publishes 30 pictures a second with sound, a keyframe each second. */
export async function startSource(
  { ready }: Sluice,
  picture: { readonly width: number; readonly height: number; readonly kbps: number },
): Promise<Source> {
  const { tags } = await makeFlv({ seconds: 4, ...picture });
  const { hostname, port, pathname } = new URL(`${ready.rtmp}/${ready.streamKey}`);
  const [app = "", ...key] = pathname.slice(1).split("/");
  const rtmp = await connectRtmp({ host: hostname, port: Number(port), chunkBytes: CHUNK_BYTES });
  await rtmp.publish(app, key.join("/"));
  const nextSentAt = new Map<string, number>();
  let before: string | undefined;
  const began = performance.now();
  const lengthMs = Math.round((tags.at(-1)!.timestampMs / 33 + 1) * 33);
  let next = 0;
  let loop = 0;
  const sending = setInterval(() => {
    for (;;) {
      const tag = tags[next]!;
      const timestampMs = tag.timestampMs + loop * lengthMs;
      if (timestampMs > performance.now() - began) return;
      const isFrame = tag.type !== "script" && tag.payload[1] === 1;
      if (loop === 0 || isFrame) {
        rtmp.raw(
          chunked(
            { type: { audio: 8, video: 9, script: 18 }[tag.type], timestampMs, payload: tag.payload },
            CHUNK_BYTES,
          ),
        );
        if (tag.type === "video" && readVideo(tag.payload).type === "frame") {
          if (before) nextSentAt.set(before, performance.now());
          before = tailOf(tag.payload);
        }
      }
      if (++next < tags.length) continue;
      next = 0;
      loop++;
    }
  }, 2);
  return {
    nextSentAt,
    async stop() {
      clearInterval(sending);
      await rtmp.finish();
    },
  };
}

/** One object as a subscriber has it. */
export interface Heard {
  readonly track: string;
  readonly group: number;
  readonly object: number;
  readonly payload: Uint8Array;
}

/** A subscriber without a browser, from the next group on, again until the relay knows the broadcast. */
export async function subscribe(options: {
  readonly port: number;
  readonly uid: string;
  readonly tracks: readonly string[];
  readonly heard?: (what: Heard) => void;
  readonly ended?: (track: string, group: number, whole: boolean) => void;
}): Promise<Peer> {
  const { port, uid, tracks, heard, ended } = options;
  const transport = await connectWebTransport({
    ...{ host: "127.0.0.1", port, path: `/${uid}`, protocols: ["moqt-16"] },
  });
  const peer = new Peer({ transport, side: "client", on: {} });
  const ask = (name: string): Promise<void> =>
    new Promise((resolve) => {
      const again = () => setTimeout(() => void ask(name).then(resolve), 200);
      peer.subscribe(
        { namespace: [uid], name },
        { filter: { from: "next group" } },
        {
          ok: () => resolve(),
          refused: again,
          group: ({ group }) => ({
            object: ({ object, payload }) => heard?.({ track: name, group, object, payload }),
            end: () => ended?.(name, group, true),
            gone: () => ended?.(name, group, false),
          }),
          done: () => {},
        },
      );
    });
  await Promise.all(tracks.map(ask));
  return peer;
}
