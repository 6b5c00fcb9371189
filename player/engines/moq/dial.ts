/**
 * What is spoken. Draft 18 lets whoever connects ask for things in the flight that SETUP is in; the ones before make him wait for the
 * answer to it.
 */
const PROTOCOL = "moqt-18";
/** A session that was opened with the page and that nobody took by then is of no use. */
const EARLY_MS = 5_000;

/** How to reach a relay, as the lifecycle answer says it. */
export interface Way {
  /** UDP port of the host that the page's media comes from. */
  readonly port: number;
  /** SHA-256 of its certificates in base64; empty where the browser knows who signed them. */
  readonly hashes: readonly string[];
  /** Of the broadcast. */
  readonly namespace: string;
  /** What only playlists have of it: captions, languages. */
  readonly lacks?: readonly string[];
  /** Its catalog when that was said. */
  readonly catalog?: string | undefined;
}

/** A relay that is called for a playback. */
export interface Call {
  /** Address of the playback (a uid or a token): the relay is beside it. */
  readonly base: string;
  readonly way: Way;
  /** Another relay's address for it, which that one told. */
  readonly elsewhere?: string | undefined;
  /** Names the viewer to the relay. */
  readonly session: string;
  /** Names of tracks that are to come with the session; the first of them first. */
  readonly wants?: readonly string[] | undefined;
}

/** A session as it is opened, and the tracks that it was asked to bring. */
export interface Dialled {
  readonly transport: WebTransport;
  readonly wants: readonly string[];
}

/** A session that was opened before the player was here. */
interface Early extends Dialled {
  readonly session: string;
  /** Without what it is to bring. */
  readonly address: string;
}

declare global {
  var sluiceEarly: Early | undefined;
}

/** Opens a session, or takes the one that was opened with the page. */
export function dial(call: Call): Dialled {
  const early = globalThis.sluiceEarly;
  if (early?.address !== addressOf(call)) return open(call);
  globalThis.sluiceEarly = undefined;
  return early;
}

/** Opens a session for a player that is on its way to this page. */
export function dialEarly(call: Call): void {
  const dialled = open(call);
  const { transport } = dialled;
  const early: Early = { ...dialled, session: call.session, address: addressOf(call) };
  globalThis.sluiceEarly = early;
  // Whoever takes it looks for himself.
  for (const one of [transport.ready, transport.closed]) one.catch(() => {});
  setTimeout(() => {
    if (globalThis.sluiceEarly !== early) return;
    globalThis.sluiceEarly = undefined;
    transport.close();
  }, EARLY_MS);
}

/** Names a viewer to the server: letters and digits, as CMCD wants it. Pages without TLS have no `randomUUID`. */
export function newSession(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The name of the viewer for whom a session was opened with the page; another one where none was. */
export function sessionName(): string {
  return globalThis.sluiceEarly?.session ?? newSession();
}

function open(call: Call): Dialled {
  const { way, wants = [] } = call;
  const { hashes, namespace } = way;
  const url = new URL(addressOf(call));
  // See `wantedOf` in `services/moq/viewers.ts`.
  if (wants.length > 0) url.searchParams.set("push", [namespace, ...wants].join("/"));
  const transport = new WebTransport(url.href, {
    protocols: [PROTOCOL],
    ...(hashes.length > 0 && {
      serverCertificateHashes: hashes.map((hash) => ({ algorithm: "sha-256", value: fromBase64(hash) })),
    }),
  } as WebTransportOptions);
  return { transport, wants };
}

function addressOf({ base, way, elsewhere, session }: Call): string {
  const { hostname, pathname } = new URL(base, location.href);
  const url = new URL(elsewhere ?? `https://${hostname}:${way.port}${pathname}`);
  // Of one that told where to go on.
  url.searchParams.delete("push");
  // A page can set no header of a session, and no cache sees its address.
  url.searchParams.set("CMCD", `sid="${session}"`);
  return url.href;
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
