import { X509Certificate } from "node:crypto";
import { getCACertificates } from "node:tls";
import type { Trust } from "./quic.ts";

/** What a relay says of its certificate, for those who connect to it. */
export interface Identity {
  /** A DNS name that it is for. */
  readonly name: string;
  /** PEM: who signed it, where that is a certificate of its own. Undefined: an authority that everybody knows. */
  readonly roots?: string | undefined;
}

const maxRootsBytes = 16 << 10;

/** Of these chains (PEM), of which the first is shown and the others may be at any moment. */
export function identityOf(shown: string, ...next: readonly string[]): Identity {
  const names = new X509Certificate(shown).subjectAltName ?? "";
  const name = /DNS:([^\s,]+)/.exec(names)?.[1] ?? "localhost";
  const own = [shown, ...next].flatMap((chain) => ownRoot(chain) ?? []);
  return {
    name: name.replace(/^\*\./, "relay."),
    ...(ownRoot(shown) !== undefined && { roots: [...new Set(own)].join("\n") }),
  };
}

/** What a server has to show who says this of itself; `host` is where it was found, for one who says nothing. */
export function trustIn(identity: Identity | undefined, host: string): Trust {
  const { name = host, roots = knownRoots() } = identity ?? {};
  return { name, roots };
}

let known: string | undefined;

/** The authorities that this process trusts in TLS: those that come with Node, and those of NODE_EXTRA_CA_CERTS. */
export function knownRoots(): string {
  known ??= getCACertificates("default").join("\n");
  return known;
}

/** Reads what `identityOf` has made; undefined for anything else. */
export function readIdentity(value: unknown): Identity | undefined {
  const { name, roots } = (value ?? {}) as Record<string, unknown>;
  if (typeof name !== "string" || name.length > 253) return undefined;
  if (roots === undefined) return { name };
  return typeof roots === "string" && roots.length <= maxRootsBytes ? { name, roots } : undefined;
}

/** The last certificate of a chain, where it is signed by itself. */
function ownRoot(chain: string): string | undefined {
  const last = chain.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)?.at(-1);
  if (last === undefined) return undefined;
  const root = new X509Certificate(last);
  return root.checkIssued(root) ? last : undefined;
}
