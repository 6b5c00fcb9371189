import Hls, { Events, type LevelDetails, type ManifestParsedData, type MediaPlaylist } from "hls.js";

/** What is needed of a controller whose members TypeScript calls private. */
interface Tracks {
  readonly allSubtitleTracks: readonly MediaPlaylist[];
  onManifestParsed(event: Events.MANIFEST_PARSED, data: Pick<ManifestParsedData, "subtitleTracks">): void;
}
type Constructor = new (hls: Hls) => Tracks;

/** How often the multivariant playlist is read again where no other list says that there is news. */
const againMs = 10_000;

/**
 * Takes up words that a broadcast has only begun to have. hls.js reads the multivariant playlist once; but every media playlist
 * of low latency reports on all the others (rfc8216bis 4.4.5.4), so one that nobody has named yet is a reason to read it again.
 * Plain lists report on none. The version of hls.js is pinned.
 */
class Words extends (Hls.DefaultConfig.subtitleTrackController as unknown as Constructor) {
  readonly #hls: Hls;
  /** Names of lists that were looked for. */
  readonly #asked = new Set<string>();
  #reader: Hls | undefined;
  #readMs = performance.now();

  constructor(hls: Hls) {
    super(hls);
    this.#hls = hls;
    hls.on(Events.LEVEL_LOADED, (_, { details }) => this.#look(details));
    hls.on(Events.DESTROYING, () => this.#reader?.destroy());
  }

  #look({ live, canBlockReload, renditionReports = [] }: LevelDetails): void {
    const { levels, allAudioTracks, url } = this.#hls;
    if (this.#reader || !url || this.allSubtitleTracks.length > 0) return;
    if (!canBlockReload) {
      if (live && performance.now() - this.#readMs > againMs) this.#read(url, () => {});
      return;
    }
    const known = [...levels.map(({ uri }) => uri), ...allAudioTracks.map((track) => track.url)].map(nameOf);
    const news = renditionReports
      .map((report) => nameOf(report.URI ?? ""))
      .filter((name) => !known.includes(name) && !this.#asked.has(name));
    if (news.length === 0) return;
    for (const name of news) this.#asked.add(name);
    this.#read(url, () => {
      for (const name of news) this.#asked.delete(name);
    });
  }

  #read(url: string, failed: () => void): void {
    this.#readMs = performance.now();
    const reader = new Hls({ ...this.#hls.userConfig, autoStartLoad: false });
    const end = () => {
      this.#reader = undefined;
      reader.destroy();
    };
    reader.on(Events.MANIFEST_PARSED, (event, { subtitleTracks }) => {
      // They are offered when a list is loaded next. The reader empties its own list when it ends.
      if (subtitleTracks.length > 0) this.onManifestParsed(event, { subtitleTracks: [...subtitleTracks] });
      end();
    });
    reader.on(Events.ERROR, (_, { fatal }) => {
      if (!fatal) return;
      failed();
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
