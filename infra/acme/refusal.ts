import type { ChallengeKind } from "./client.ts";

/** What an authority says no with (RFC 7807, RFC 8555 6.7), or why it could not be asked. */
export interface Refused {
  /** The last word of its type, as in RFC 8555 6.7; `unreachable` and `notAcme` are ours too. */
  readonly type: string;
  readonly detail: string;
  readonly domain?: string | undefined;
  /** The challenge that it was about. */
  readonly kind?: ChallengeKind | undefined;
  readonly status?: number | undefined;
  readonly retryMs?: number | undefined;
}

/** Why there is no certificate. The message is for logs; `adviceOf` says what to change. */
export class Refusal extends Error implements Refused {
  readonly type: string;
  readonly detail: string;
  readonly domain: string | undefined;
  readonly kind: ChallengeKind | undefined;
  readonly status: number | undefined;
  readonly retryMs: number | undefined;
  constructor({ type, detail, domain, kind, status, retryMs }: Refused) {
    const short = type.replace(/^urn:ietf:params:acme:error:/, "");
    super(detail ? `${short}: ${detail}` : short);
    this.name = "Refusal";
    this.type = short;
    this.detail = detail;
    this.domain = domain;
    this.kind = kind;
    this.status = status;
    this.retryMs = retryMs;
  }
}

/** One sentence for the person who runs this: what to change so that the next try works. */
export function adviceOf(
  error: unknown,
  here: {
    readonly directory: string;
    readonly domains: readonly string[];
    readonly httpPort: number;
    readonly httpsPort: number;
  },
): string {
  if (!(error instanceof Refusal)) return error instanceof Error ? error.message : String(error);
  const { host } = new URL(here.directory);
  const name = error.domain ?? here.domains.join(", ");
  const says = error.detail ? ` (${host} says: ${error.detail.replace(/\.$/, "")})` : "";
  const door =
    error.kind === "tls-alpn-01"
      ? `TCP port 443 of ${name} has to lead to this machine's port ${here.httpsPort} (httpsPort) without a proxy that ends TLS`
      : `TCP port 80 of ${name} has to lead to this machine's port ${here.httpPort} (httpPort)`;
  switch (error.type) {
    case "unreachable":
      return `${host} cannot be reached: let this machine out to it over HTTPS, or correct acmeDirectory (${error.detail})`;
    case "connection":
    case "tls":
      return `${name} cannot be reached from outside: ${door}; open it in the firewall, or forward it${says}`;
    case "unauthorized":
    case "incorrectResponse":
      return `another server answers for ${name}: its DNS record has to point to this machine, and ${door}${says}`;
    case "dns":
      return `the name ${name} does not lead anywhere: give it an A or AAAA record with the address of this machine${says}`;
    case "caa":
      return `a CAA record in the DNS of ${name} forbids it: add one that names the authority, or remove it${says}`;
    case "rateLimited":
      return `too many certificates or failed tries for ${name}: it is asked again when it allows it; nothing to do but to mend what failed before${says}`;
    case "rejectedIdentifier":
    case "unsupportedIdentifier":
      return `${host} does not sign for ${name}: domain must be a public DNS name that is yours${says}`;
    case "externalAccountRequired":
      return `${host} wants an account of yours: set acmeEabKid and acmeEabSecret to what it gave you${says}`;
    case "invalidContact":
    case "unsupportedContact":
      return `${host} does not take acmeEmail: give an address that can receive mail, or none${says}`;
    case "userActionRequired":
      return `${host} wants a person to agree to something first${says}`;
    case "unsupportedChallenge":
      return `${host} cannot check ${name} in this way: set acmeChallenge to the other one, or to auto${says}`;
    case "notAcme":
      return `${host} does not answer as an ACME server: correct acmeDirectory${says}`;
    default:
      return `${host} has no certificate for ${name} (${error.message})`;
  }
}
