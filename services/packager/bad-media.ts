/** What can be wrong with media. */
export const badMediaCodes = [
  "bad_flv",
  "bad_config",
  "unsupported_video_codec",
  "unsupported_audio_codec",
  "too_large",
] as const;

/** Bytes from a publisher that cannot be packaged. `code` is stable; the message tells a person what to change. */
export class BadMedia extends Error {
  readonly code: (typeof badMediaCodes)[number];
  constructor(code: BadMedia["code"], message: string) {
    super(message);
    this.name = "BadMedia";
    this.code = code;
  }
}
