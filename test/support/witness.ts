import { createHash } from "node:crypto";

/** Remembers every media URL that was announced, with its bytes, while it follows a playback as a player does. */
export interface Witness {
  /** SHA-256 of what was served, by absolute URL. */
  readonly seen: ReadonlyMap<string, string>;
  /** Media sequences that went back, and bytes that were announced and not to be had. */
  readonly faults: readonly string[];
  /** When ENDLIST was first seen, by rendition, and the playlist that had it. */
  readonly ended: ReadonlyMap<string, { readonly atMs: number; readonly text: string }>;
  /** Resolves when every rendition has ended, or `stop` was called. */
  readonly done: Promise<void>;
  stop(): void;
}

/** Follows `base` (`http://host:port/{uid}`) from now on, over restarts of its origin. */
export async function openWitness(base: string): Promise<Witness> {
  const seen = new Map<string, string>();
  const faults: string[] = [];
  const ended = new Map<string, { atMs: number; text: string }>();
  const stop = new AbortController();
  const master = `${base}/manifest/video.m3u8`;
  const text = await patiently(master, stop.signal, 200);
  const uris = [...text.matchAll(/URI="([^"]+\.m3u8)"|^([^#\n].*\.m3u8)$/gm)].map((m) => (m[1] ?? m[2])!);
  const done = Promise.all(uris.map((uri) => follow(new URL(uri, master).href))).then(() => undefined);
  return { seen, faults, ended, done, stop: () => stop.abort() };

  async function follow(address: string): Promise<void> {
    let query = "";
    let newest = 0;
    while (!stop.signal.aborted) {
      const listing = await patiently(address + query, stop.signal, 200);
      if (!listing) return;
      const first = Number(/#EXT-X-MEDIA-SEQUENCE:(\d+)/.exec(listing)?.[1] ?? 0);
      const last = first + (listing.match(/^#EXTINF:/gm)?.length ?? 0) - 1;
      if (last < newest) faults.push(`${address}: the last segment was ${newest} and is ${last}`);
      newest = Math.max(newest, last);
      const over = listing.includes("#EXT-X-ENDLIST");
      if (over) ended.set(address, { atMs: Date.now(), text: listing });
      await Promise.all(mediaOf(listing, address).map(look));
      if (over) return;
      const open = listing.slice(listing.lastIndexOf("#EXTINF:")).match(/^#EXT-X-PART:/gm)?.length ?? 0;
      query = `?_HLS_msn=${last + 1}&_HLS_part=${open}`;
    }
  }

  async function look(url: string): Promise<void> {
    if (seen.has(url)) return;
    // Claimed before the answer, so that it is asked for once.
    seen.set(url, "");
    const hash = await hashOf(url, stop.signal);
    if (hash) seen.set(url, hash);
    else if (!stop.signal.aborted) faults.push(`${url} was announced and is not there`);
    if (!hash) seen.delete(url);
  }
}

/** URLs of inits, segments and parts that a playlist announces, hints and gaps left out. */
export function mediaOf(listing: string, address: string): string[] {
  const urls: string[] = [];
  let gap = false;
  for (const line of listing.split("\n")) {
    const map = /^#EXT-X-MAP:URI="([^"]+)"/.exec(line);
    const part = /^#EXT-X-PART:.*URI="([^"]+)"/.exec(line);
    if (map) urls.push(map[1]!);
    else if (part && !line.includes("GAP=YES")) urls.push(part[1]!);
    else if (line === "#EXT-X-GAP") gap = true;
    else if (line && !line.startsWith("#")) {
      if (!gap) urls.push(line);
      gap = false;
    }
  }
  return urls.map((url) => new URL(url, address).href);
}

/** SHA-256 of what `url` answers with; undefined when it has nothing. Waits while its origin is away. */
export async function hashOf(url: string, signal?: AbortSignal): Promise<string | undefined> {
  for (let tries = 0; ; tries++) {
    try {
      const answer = await fetch(url, signal ? { signal } : {});
      const body = Buffer.from(await answer.arrayBuffer());
      if (answer.status === 200) return createHash("sha256").update(body).digest("hex");
      if (answer.status === 404) return undefined;
    } catch {
      if (signal?.aborted) return undefined;
    }
    if (tries > 400) return undefined;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** What `url` answers with once its status is `wanted`; empty when it was called off. */
async function patiently(url: string, signal: AbortSignal, wanted: number): Promise<string> {
  for (const until = Date.now() + 30_000; Date.now() < until; ) {
    try {
      const answer = await fetch(url, { signal });
      const body = await answer.text();
      if (answer.status === wanted) return body;
    } catch {
      if (signal.aborted) return "";
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`${url} does not answer ${wanted}`);
}
