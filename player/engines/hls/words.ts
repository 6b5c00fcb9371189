import Hls, { Events, type LevelDetails, type ManifestParsedData, type MediaPlaylist } from "hls.js";

/** What is needed of a controller whose members TypeScript calls private. */
interface Tracks {
  readonly allSubtitleTracks: readonly MediaPlaylist[];
  onManifestParsed(event: Events.MANIFEST_PARSED, data: Pick<ManifestParsedData, "subtitleTracks">): void;
}
type Constructor = new (hls: Hls) => Tracks;

/**
 * Takes up words that a broadcast has only begun to have. hls.js reads the multivariant playlist once; but every media playlist
 * reports on all the others (rfc8216bis 4.4.5.4), so one that nobody has named yet is a reason to read it again. The version of
 * hls.js is pinned.
 */
class Words extends (Hls.DefaultConfig.subtitleTrackController as unknown as Constructor) {
  readonly #hls: Hls;
  /** Names of lists that were looked for. */
  readonly #asked = new Set<string>();
  #reader: Hls | undefined;

  constructor(hls: Hls) {
    super(hls);
    this.#hls = hls;
    hls.on(Events.LEVEL_LOADED, (_, { details }) => this.#look(details));
    hls.on(Events.DESTROYING, () => this.#reader?.destroy());
  }

  #look({ renditionReports = [] }: LevelDetails): void {
    const { levels, allAudioTracks, url } = this.#hls;
    if (this.#reader || !url || this.allSubtitleTracks.length > 0) return;
    const known = [...levels.map(({ uri }) => uri), ...allAudioTracks.map((track) => track.url)].map(nameOf);
    const news = renditionReports
      .map((report) => nameOf(report.URI ?? ""))
      .filter((name) => !known.includes(name) && !this.#asked.has(name));
    if (news.length === 0) return;
    for (const name of news) this.#asked.add(name);
    const reader = new Hls({ ...this.#hls.userConfig, autoStartLoad: false });
    const end = () => {
      this.#reader = undefined;
      reader.destroy();
    };
    reader.on(Events.MANIFEST_PARSED, (event, { subtitleTracks }) => {
      // They are offered when a list is loaded next. The reader empties its own list when it ends.
      this.onManifestParsed(event, { subtitleTracks: [...subtitleTracks] });
      end();
    });
    reader.on(Events.ERROR, (_, { fatal }) => {
      if (!fatal) return;
      for (const name of news) this.#asked.delete(name);
      end();
    });
    this.#reader = reader;
    reader.loadSource(url);
  }
}

/** A list's name among those of its broadcast, whatever token its address has. */
function nameOf(uri: string): string {
  return uri.replace(/[?#].*$/s, "").replace(/^.*\//s, "");
}

/** For `HlsConfig.subtitleTrackController`. */
export const WordReader = Words as unknown as NonNullable<typeof Hls.DefaultConfig.subtitleTrackController>;
