import { type Catalog, type MoqTrack, readCatalog } from "./catalog.ts";
import type { Way } from "./dial.ts";
import { Rungs } from "./rungs.ts";

/** A catalog's text as far as this browser can play it; undefined for what cannot be read. */
export function catalogOf(text: string): Catalog | undefined {
  try {
    return readCatalog(text, (type) => MediaSource.isTypeSupported(type));
  } catch {
    return undefined;
  }
}

/** What of a catalog plays first: this picture and the sound, as far as there are any. */
export const firstOf = ({ audio }: Catalog, picture: MoqTrack | undefined): MoqTrack[] =>
  [picture, audio[0]].filter((track) => track !== undefined);

/**
 * Names of the tracks that will be subscribed to first, what is to come first of them first; none where that is not known yet. `choice` is
 * a quality's name or `AUTO`, `pixels` the height of the picture on the screen, 0 where it is not known.
 */
export function wantsOf({ catalog }: Way, choice: string, pixels: number): string[] {
  const known = catalog === undefined ? undefined : catalogOf(catalog);
  if (!known || known.complete || known.unshown) return [];
  const tracks = firstOf(known, new Rungs(choice).wanted(known, pixels));
  return tracks.map(({ name }) => name).toReversed();
}
