/** How players reach a relay. */
export interface Door {
  /** UDP. */
  readonly port: number;
  /** SHA-256 of its certificates in base64, for browsers that do not know who signed them; empty where they do. */
  readonly hashes: readonly string[];
}

/** How long a relay holds the answer to who has its door already, unless it changes. */
export const doorHoldMs = 20_000;

/** Differs where doors do. */
export const doorName = (door: Door | undefined) => (door ? `${door.port} ${door.hashes.join(" ")}` : "");

/** What the roles speak on a socket: MoQT over the streams of `PipeSession`. */
export const pipeProtocol = "moqt-16";

/** The field after a live input's uid in a namespace whose catalog is that of earlier drafts; its tracks are the same. */
export const warp = "warp";

/** Where a role that takes tracks asks the relay for a session; who has some asks elsewhere. */
export const tracksPath = "/internal/tracks";
