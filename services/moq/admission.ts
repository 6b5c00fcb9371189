import { type Client, Gate, type Admission as Granted } from "../auth/gate.ts";
import { type GroundOptions, openGround } from "../auth/ground.ts";
import { warp } from "./door.ts";
import type { Right } from "./reader.ts";
import type { Incoming } from "./transport.ts";

/** A subscription is looked at again when its token ends, and then at the latest. */
const longestMs = 2 ** 31 - 1;

/** Who may subscribe to what: the gate of HTTP, asked with the tokens of a session and of its requests. */
export class Admission {
  readonly #ground: ReturnType<typeof openGround>;
  readonly #gate: Gate;
  readonly #inside = new Set<() => void>();

  constructor(options: Omit<GroundOptions, "changed" | "ownerOf">) {
    this.#ground = openGround({
      ...options,
      // Namespaces are live inputs; videos are watched over HTTP.
      ownerOf: () => undefined,
      changed: () => {
        for (const recheck of [...this.#inside]) recheck();
      },
    });
    this.#gate = new Gate(this.#ground);
  }

  close(): void {
    this.#ground.end();
  }

  /** What is known of addresses has changed. */
  geoChanged(): void {
    this.#gate.geoChanged();
    for (const recheck of [...this.#inside]) recheck();
  }

  /** Why a session that names a playback in its path is refused; undefined when it is not. */
  refuse(text: string, client: Client): string | undefined {
    const found = this.#gate.admit(text, client, Date.now());
    return "status" in found ? found.message : undefined;
  }

  /** What one of these texts, tokens or the uid itself, allows of a namespace. */
  may(namespace: readonly string[], texts: readonly string[], client: Client): Right | undefined {
    const uid = namespace[0];
    const [, shape] = namespace;
    if (uid === undefined || namespace.length > 2 || (shape !== undefined && shape !== warp))
      return undefined;
    const allowed = (text: string) => {
      const found = this.#gate.admit(text, client, Date.now());
      return "status" in found || found.uid !== uid ? undefined : found;
    };
    for (const text of new Set([...texts, uid])) {
      if (!allowed(text)) continue;
      return { watch: (revoked) => this.#watch(() => allowed(text), revoked) };
    }
    return undefined;
  }

  #watch(allowed: () => Pick<Granted, "untilMs" | "againMs"> | undefined, revoked: () => void): () => void {
    let timer: NodeJS.Timeout | undefined;
    const end = () => {
      clearTimeout(timer);
      this.#inside.delete(recheck);
    };
    const recheck = () => {
      clearTimeout(timer);
      const found = allowed();
      if (!found) {
        end();
        return revoked();
      }
      const inMs = Math.min(found.untilMs - Date.now() + 1, found.againMs ?? longestMs);
      if (inMs === longestMs) return;
      timer = setTimeout(recheck, inMs);
      timer.unref();
    };
    this.#inside.add(recheck);
    recheck();
    return end;
  }
}

/** Whoever asks for a session, as the gate sees him. */
export function clientOf({
  remote,
  agent,
  origin,
  authority,
}: Pick<Incoming, "remote" | "agent" | "origin" | "authority">): Client {
  const page = origin !== undefined && URL.canParse(origin) ? new URL(origin) : undefined;
  const own = URL.canParse(`https://${authority}`) ? new URL(`https://${authority}`).hostname : undefined;
  return {
    address: remote.host,
    agent,
    // A page that hides where it is from (`null`) is some page all the same, and no client without one.
    page: origin === undefined ? undefined : (page?.origin ?? "null"),
    // Our own pages are on another port of the same name.
    host: page && page.hostname === own ? page.host : authority,
  };
}
