import type { Running } from "../../services/lib/lifecycle.ts";
import { type FlvTag, readAudio, readScript, readVideo } from "../../services/packager/flv.ts";
import { chunked, connectRtmp, type RtmpClient } from "./rtmp-client.ts";

/** Pictures and audio frames are sent in bursts this far apart, as an encoder's own clock would. */
const TICK_MS = 20;
const CHUNK_BYTES = 65_536;
const typeOf = { audio: 8, video: 9, script: 18 } as const;

export interface Sender extends Running {
  /** Epoch milliseconds at which the first coded picture was handed to the socket. */
  readonly firstPictureAt: number | undefined;
  /** Ends as an encoder that lost power does; `close` ends as one whose user pressed stop. */
  drop(): Promise<void>;
}

/**
 * Publishes `tags` over RTMP in real time, from the first again when they end, at next to no cost: tags are encoded
 * already and each tick is one write. Resolves once the server lets it publish, throws its refusal. `localAddress`
 * (any of 127.0.0.0/8 on Linux) is who the server sees.
 */
export async function startSender(
  url: string,
  tags: readonly FlvTag[],
  options: { readonly localAddress?: string } = {},
): Promise<Sender> {
  const { hostname, port, pathname } = new URL(url);
  const [app = "", ...key] = pathname.slice(1).split("/");
  const to = { host: hostname, port: Number(port || 1935), ...options };
  const client = await connectRtmp({ ...to, chunkBytes: CHUNK_BYTES });
  const answer = await client.publish(app, key.join("/"));
  if (answer.code !== "NetStream.Publish.Start") {
    client.socket.destroy();
    throw new Error(`refused: ${answer.code} ${answer.description}`);
  }
  const run = new Run(client, tags);
  return {
    closed: client.closed,
    get firstPictureAt() {
      return run.firstPictureAt;
    },
    async close() {
      run.stop();
      if (!client.socket.destroyed) await client.finish();
    },
    async drop() {
      run.stop();
      await client.drop();
    },
  };
}

/** Paces tags by their timestamps. */
class Run {
  readonly #client: RtmpClient;
  readonly #tags: readonly FlvTag[];
  readonly #loopMs: number;
  readonly #begun = performance.now();
  readonly #timer: NodeJS.Timeout;
  #next = 0;
  #offsetMs = 0;
  firstPictureAt: number | undefined;

  constructor(client: RtmpClient, tags: readonly FlvTag[]) {
    this.#client = client;
    this.#tags = tags;
    this.#loopMs = lengthOf(tags);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    client.closed.then(() => this.stop());
    this.#tick();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = performance.now() - this.#begun;
    const out: Buffer[] = [];
    for (;;) {
      const tag = this.#tags[this.#next]!;
      const timestampMs = tag.timestampMs + this.#offsetMs;
      if (timestampMs > now) break;
      // Decoder configs and metadata go out once.
      if (this.#offsetMs === 0 || isFrame(tag) || isSaid(tag)) {
        if (tag.type === "video" && isFrame(tag)) this.firstPictureAt ??= Date.now();
        out.push(chunked({ type: typeOf[tag.type], timestampMs, payload: tag.payload }, CHUNK_BYTES));
      }
      if (++this.#next === this.#tags.length) {
        this.#next = 0;
        this.#offsetMs += this.#loopMs;
      }
    }
    if (out.length > 0) this.#client.raw(out.length === 1 ? out[0]! : Buffer.concat(out));
  }
}

/** Until the first picture can follow the last: whole frames, so that the loop has no seam. */
function lengthOf(tags: readonly FlvTag[]): number {
  const video = tags.filter((tag) => tag.type === "video" && isFrame(tag));
  const any = video.length > 1 ? video : tags.filter(isFrame);
  const [first, last] = [any[0]!, any.at(-1)!];
  return Math.round(((last.timestampMs - first.timestampMs) * any.length) / (any.length - 1));
}

/** Something of a moment. */
function isSaid(tag: FlvTag): boolean {
  return tag.type === "script" && readScript(tag.payload).name !== "onMetaData";
}

function isFrame(tag: FlvTag): boolean {
  if (tag.type === "script") return false;
  const { type } = tag.type === "video" ? readVideo(tag.payload) : readAudio(tag.payload);
  return type === "frame" || type === "many";
}
