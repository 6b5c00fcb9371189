/** How players reach a relay. */
export interface Door {
  /** UDP. */
  readonly port: number;
  /** SHA-256 of its certificates in base64, for browsers that do not know who signed them; empty where they do. */
  readonly hashes: readonly string[];
}

/** What the roles speak on a socket: MoQT over the streams of `PipeSession`. */
export const pipeProtocol = "moqt-16";
