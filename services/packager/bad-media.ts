/** Bytes from a publisher that cannot be packaged. `code` is stable; the message tells a person what to change. */
export class BadMedia extends Error {
  readonly code: "bad_flv" | "bad_config" | "unsupported_codec" | "too_large";
  constructor(code: BadMedia["code"], message: string) {
    super(message);
    this.name = "BadMedia";
    this.code = code;
  }
}
