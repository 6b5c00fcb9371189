import { encodeObject } from "../../services/moq/codec/objects.ts";
import type { Outgoing, Refused } from "../../services/moq/requests.ts";
import { Peer } from "../../services/moq/session.ts";
import type { Closed } from "../../services/moq/transport.ts";
import { connectWebTransport } from "../../services/moq/webtransport.ts";
import { Waiters } from "./waiters.ts";

/** Whose tracks are sent on. */
interface Source {
  readonly peer: Peer;
  readonly namespace: string;
}

/** An encoder that speaks MoQ: it publishes what another peer has, object by object. */
export class MoqPublisher {
  readonly peer: Peer;
  /** Tracks that were subscribed to. */
  readonly taken: string[] = [];
  closed: Closed | undefined;
  readonly #waiting = new Waiters();
  readonly #ends: ((code: number) => void)[] = [];
  readonly #source: Source;

  private constructor(source: Source, peer: (publisher: MoqPublisher) => Peer) {
    this.#source = source;
    this.peer = peer(this);
  }

  /** `path` is what stands after the host, with the stream key. */
  static async open(port: number, path: string, source: Source, protocol = "moqt-16"): Promise<MoqPublisher> {
    const transport = await connectWebTransport({ host: "127.0.0.1", port, path, protocols: [protocol] });
    return new MoqPublisher(
      source,
      (publisher) =>
        new Peer({
          transport,
          side: "client",
          on: {
            subscribe: (asked) => {
              const { name } = asked.track;
              publisher.taken.push(name);
              publisher.#send(name, asked.accept({ largest: undefined }));
            },
            closed: (how) => {
              publisher.closed = how;
              publisher.#waiting.wake();
            },
          },
        }),
    );
  }

  /** Undefined is yes. */
  announce(namespace: readonly string[]): Promise<Refused | undefined> {
    return this.peer.publishNamespace(namespace).answer;
  }

  /** Sends tracks unasked. What becomes of each; undefined is yes. */
  push(namespace: readonly string[], names: readonly string[]): Promise<(Refused | undefined)[]> {
    return Promise.all(
      names.map((name) => {
        const { answer, outgoing } = this.peer.publish({ namespace, name }, { forward: true });
        this.#send(name, outgoing);
        return answer;
      }),
    );
  }

  #send(name: string, outgoing: Outgoing): void {
    const { integers } = outgoing.draft;
    this.#ends.push((code) => outgoing.done(code, "", 0));
    const subscription = this.#source.peer.subscribe(
      { namespace: [this.#source.namespace], name },
      { filter: { from: "largest object" } },
      {
        ok: () => {},
        refused: ({ code, reason }) => outgoing.done(code, reason, 0),
        group: (header) => {
          const stream = outgoing.open(header);
          return {
            object: ({ payload }) => stream.write(encodeObject(payload.slice(), { integers })),
            end: () => stream.write(new Uint8Array(0), true),
            gone: () => stream.reset(0),
          };
        },
        done: (code) => outgoing.done(code, "", 0),
      },
    );
    outgoing.onEnd = () => subscription.end();
  }

  /** The tracks are over. */
  end(code: number): void {
    for (const end of this.#ends) end(code);
  }

  until(met: () => boolean): Promise<void> {
    return this.#waiting.until(met);
  }

  close(): void {
    this.peer.close("noError", "");
  }
}
