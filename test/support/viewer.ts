import { exceeded, type Sent } from "../conformance/bandwidth.ts";
import { createJudge, type Judge } from "../conformance/hls-rules.ts";

/** One segment as a media playlist lists it. */
export interface Listed {
  readonly number: number;
  readonly uri: string;
  readonly seconds: number;
  readonly gap: boolean;
  /** EXT-X-PROGRAM-DATE-TIME in ms since 1970. */
  readonly dateMs: number;
}

/** A player without a picture: loads the list once, follows renditions by blocking reload, and has every playlist judged. */
export interface Viewer {
  readonly judge: Judge;
  /** The multivariant playlist. */
  readonly text: string;
  /** The media playlists of the multivariant playlist by rendition name. */
  readonly renditions: ReadonlyMap<string, string>;
  /** Reloads a rendition until `enough` of its playlist, at most `limitMs`. Resolves with the segments of the last one. */
  follow(
    name: string,
    enough: (segments: readonly Listed[], text: string) => boolean,
    limitMs?: number,
  ): Promise<readonly Listed[]>;
  fetch(name: string, segment: Listed): Promise<Uint8Array>;
  /** What the list declares and the segments fetched so far exceed. */
  exceeded(): readonly string[];
}

/** Of every media playlist of the product. */
const targetDuration = 4;

/** Opens a playback, such as `http://host:port/{uid}`, once it is on air. */
export async function openViewer(playback: string): Promise<Viewer> {
  await untilLive(playback);
  const url = `${playback}/manifest/video.m3u8`;
  const text = await (await fetch(url)).text();
  const judge = createJudge({ slackMs: 2_500 });
  judge.playlist(url, text, Date.now());
  const uris = [...text.matchAll(/^(?:#EXT-X-MEDIA:.*URI="([^"]+)".*|([^#\n].*))$/gm)].map(
    (match) => (match[1] ?? match[2])!,
  );
  const renditions = new Map(uris.map((uri) => [/([^/]+)\.m3u8$/.exec(uri)![1]!, new URL(uri, url).href]));
  const sent = new Map<string, Map<number, Sent>>();
  return {
    judge,
    text,
    renditions,
    exceeded: () =>
      exceeded(
        text,
        new Map([...sent].map(([name, segments]) => [name, [...segments.values()]])),
        targetDuration,
      ),
    async follow(name, enough, limitMs = 20_000) {
      const address = renditions.get(name);
      if (!address) throw new Error(`there is no ${name} among ${[...renditions.keys()].join(", ")}`);
      const until = Date.now() + limitMs;
      let query = "";
      for (;;) {
        const response = await fetch(address + query, { signal: AbortSignal.timeout(limitMs) });
        const listing = await response.text();
        if (response.status !== 200) throw new Error(`${name}: ${response.status} ${listing}`);
        judge.playlist(address, listing, Date.now(), { held: query !== "" });
        const segments = segmentsOf(listing, address);
        if (enough(segments, listing)) return segments;
        if (Date.now() > until || listing.includes("#EXT-X-ENDLIST"))
          throw new Error(`${name} has not come to it:\n${listing}`);
        query = nextOf(listing);
      }
    },
    async fetch(name, segment) {
      const response = await fetch(segment.uri);
      if (response.status !== 200) throw new Error(`${segment.uri}: ${response.status}`);
      const bytes = new Uint8Array(await response.arrayBuffer());
      const { number, seconds } = segment;
      const known = sent.get(name) ?? new Map<number, Sent>();
      sent.set(name, known.set(number, { number, seconds, bytes: bytes.length }));
      return bytes;
    },
  };
}

/** Resolves when `playback`, the address of a live input, is on air and listed. */
export async function untilLive(playback: string): Promise<void> {
  for (let status = "idle"; status !== "live"; ) {
    const answer = await fetch(`${playback}/lifecycle?wait=${status}`);
    ({ status } = (await answer.json()) as { status: string });
  }
}

function segmentsOf(text: string, address: string): Listed[] {
  const segments: Listed[] = [];
  let number = Number(/#EXT-X-MEDIA-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0);
  let [seconds, gap, dateMs] = [0, false, 0];
  for (const line of text.split("\n")) {
    if (line.startsWith("#EXTINF:")) seconds = Number.parseFloat(line.slice(8));
    else if (line === "#EXT-X-GAP") gap = true;
    else if (line.startsWith("#EXT-X-PROGRAM-DATE-TIME:")) dateMs = Date.parse(line.slice(25));
    else if (line && !line.startsWith("#")) {
      segments.push({ number: number++, uri: new URL(line, address).href, seconds, gap, dateMs });
      gap = false;
    }
  }
  return segments;
}

/** What a player asks for next: the part after the last one that is listed. */
function nextOf(text: string): string {
  const first = Number(/#EXT-X-MEDIA-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0);
  const complete = text.match(/^#EXTINF:/gm)?.length ?? 0;
  const open = text.slice(text.lastIndexOf("#EXTINF:")).match(/^#EXT-X-PART:/gm)?.length ?? 0;
  return `?_HLS_msn=${first + complete}&_HLS_part=${open}`;
}
