/** Pictures of media: one, one that moves, or many side by side. Sizes are pixels; all of it is bounded by whoever asks. */
export interface PictureJob {
  /** An init segment and chunks of it, in order. */
  readonly media: readonly Uint8Array[];
  readonly form: "jpg" | "gif";
  readonly width: number | undefined;
  readonly height: number | undefined;
  readonly fit: Fit;
  /** Pictures in a row and rows of them; each picture of the media has a place. */
  readonly tiles?: { readonly across: number; readonly down: number };
  /** Of a moving one: what is shown of the media, in seconds from its first picture. */
  readonly moves?: { readonly from: number; readonly seconds: number; readonly fps: number };
}

/** How a picture fills a box of another shape, in Cloudflare's words: cut, within it, distorted, or with bars. */
export const fits = ["crop", "clip", "scale", "fill"] as const;
export type Fit = (typeof fits)[number];

/** Whoever can decode. */
export interface Pictures {
  /**
   * `job` is asked for its media when its turn comes. Throws `Failure` "limit" when too many wait, "bad_media" when it cannot be
   * decoded in time, and whatever `job` throws.
   */
  make(job: () => Promise<PictureJob>): Promise<Uint8Array>;
}
