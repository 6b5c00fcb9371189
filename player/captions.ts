/** The part of a browser's `TextTrack` that matters here. */
export interface Track {
  readonly kind: string;
  readonly label: string;
  readonly language: string;
  mode: "disabled" | "hidden" | "showing";
}

/** One choice of captions or subtitles. */
export interface Caption {
  /** Language and label: what a choice is remembered by. */
  readonly id: string;
  readonly label: string;
}

/** Nothing shown. */
export const OFF = "off";

/** What a viewer can have shown, in the order of the tracks; a track that comes twice is listed once. */
export function captionsOf(tracks: Iterable<Track>): Caption[] {
  const found = new Map<string, Caption>();
  for (const track of readable(tracks)) {
    const id = idOf(track);
    if (!found.has(id)) found.set(id, { id, label: track.label || languageName(track.language) });
  }
  return [...found.values()];
}

/** The id of what is shown now, or `OFF`. */
export function shown(tracks: Iterable<Track>): string {
  for (const track of readable(tracks)) if (track.mode === "showing") return idOf(track);
  return OFF;
}

/**
 * Shows what `choice` names: an id, or else a language ("en" also means "en-GB"). Anything else shows nothing.
 * A choice whose track is not there yet changes nothing when it comes: call again for each new track.
 */
export function show(tracks: Iterable<Track>, choice: string): void {
  const all = [...readable(tracks)];
  const language = choice.toLowerCase();
  const wanted =
    all.find((track) => idOf(track) === choice) ??
    all.find((track) => track.language.toLowerCase() === language) ??
    all.find((track) => track.language.toLowerCase().split("-")[0] === language);
  for (const track of all) {
    const mode = track === wanted ? "showing" : "disabled";
    // Each assignment is a change event, also one that changes nothing.
    if (track.mode !== mode && (mode === "showing" || track.mode === "showing")) track.mode = mode;
  }
}

/** Metadata and chapters are text tracks too. */
function* readable(tracks: Iterable<Track>): Iterable<Track> {
  for (const track of tracks) if (track.kind === "captions" || track.kind === "subtitles") yield track;
}

function idOf({ language, label }: Track): string {
  return `${language}|${label}`;
}

function languageName(language: string): string {
  try {
    return new Intl.DisplayNames(undefined, { type: "language" }).of(language) ?? language;
  } catch {
    return language || "Captions";
  }
}
