/** Who watches, as far as requests tell. */
export interface Visitor {
  /** The same over reconnects, renditions and protocols where the player says who it is; else `place`. */
  readonly key: string;
  /** Where it asks from: address and program. */
  readonly place: string;
}

/**
 * A viewer by the best name that he gives: the session of his player (CMCD's `sid`, or that of Apple's players), the viewer
 * that his token was signed for, or the place that he asks from.
 */
export function visitorOf(said: {
  readonly session?: string | undefined;
  readonly viewer?: string | undefined;
  readonly address: string;
  readonly agent: string;
}): Visitor {
  const { session, viewer, address, agent } = said;
  const place = `${address} ${agent}`;
  if (session !== undefined) return { key: `s:${session}`, place };
  // One person may watch on a telephone and a television.
  if (viewer !== undefined) return { key: `v:${viewer} ${agent}`, place };
  return { key: place, place };
}
