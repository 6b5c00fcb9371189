/** The playback that this page is about: the first segment of its address, e.g. `/{uid}` of `/{uid}/iframe`. */
export function playbackOf(pathname: string): string {
  return `/${pathname.split("/")[1] ?? ""}`;
}

/** One thing that a page can ask of the player: the attribute that it becomes, and its value from the text. */
interface Parameter {
  readonly attribute: string;
  /** Undefined for what is no value of it. */
  readonly read: (text: string) => string | undefined;
}

/** A colour in hexadecimal, by name or by a function of numbers: nothing that could reach beyond its property. */
const colour =
  /^(#[0-9a-f]{3,8}|[a-z]{3,20}|(rgba?|hsla?|hwb|lab|lch|oklab|oklch|color)\([a-z0-9\s.,%/+-]{1,60}\))$/i;

/** What an address says for yes; its mere name does too. */
export const isYes = (value: string): boolean => /^(|1|true|yes)$/i.test(value);

const flag = (attribute: string): Parameter => ({
  attribute,
  read: (text) => (isYes(text) ? "" : /^(0|false|no)$/i.test(text) ? "false" : undefined),
});
const text = (attribute: string, pattern: RegExp): Parameter => ({
  attribute,
  read: (value) => (pattern.test(value) ? value : undefined),
});

/** Names as Cloudflare Stream's player takes them, in its address and as properties of its SDK. */
const parameters: Readonly<Record<string, Parameter>> = {
  autoplay: flag("autoplay"),
  muted: flag("muted"),
  controls: flag("controls"),
  loop: flag("loop"),
  dvrEnabled: flag("dvr"),
  preload: {
    attribute: "preload",
    // `metadata`, `auto` and `true` all mean that pressing play should be quick, which it is.
    read: (value) =>
      /^(none|false)$/i.test(value) ? "none" : /^(|metadata|auto|true)$/i.test(value) ? "auto" : undefined,
  },
  poster: text("poster", /^(https?:\/\/|\/)/i),
  primaryColor: text("primary-color", colour),
  letterboxColor: text("letterbox-color", colour),
  startTime: text("start-time", /^(?=.)(\d{1,4}h)?(\d{1,6}m)?(\d{1,8}(\.\d{1,3})?s?)?$/i),
  defaultTextTrack: text("default-text-track", /^[a-z]{2,3}(-[a-z0-9]{2,8})*$/i),
};

/** What asks for advertisements, which this player does not show. */
const adNames: ReadonlySet<string> = new Set(["ad-url", "adUrl"]);

/** The attribute of the player that this parameter sets; undefined with a value that it does not have. */
export function attributeOf(name: string, value: string): readonly [name: string, value: string] | undefined {
  const parameter = Object.hasOwn(parameters, name) ? parameters[name] : undefined;
  const read = parameter?.read(value);
  return parameter && read !== undefined ? [parameter.attribute, read] : undefined;
}

/**
 * Attributes of the player that the page's query asks for; `?autoplay` and `?autoplay=true` mean the same. `ignored` are
 * the parameters whose value is none, as they stand there; names that are not the player's are somebody else's.
 */
export function attributesOf(query: URLSearchParams): {
  readonly attributes: Map<string, string>;
  readonly ignored: readonly string[];
} {
  const attributes = new Map<string, string>();
  const ignored: string[] = [];
  for (const [name, value] of query) {
    const found = attributeOf(name, value);
    if (found) attributes.set(...found);
    else if (Object.hasOwn(parameters, name)) ignored.push(`${name}=${value.slice(0, 60)}`);
    else if (adNames.has(name)) ignored.push(`${name} (this player shows no advertisements)`);
  }
  return { attributes, ignored };
}

/** Puts what the page's address asks for onto the player; what is no value is said once. */
export function applyQuery(player: HTMLElement, search: string): void {
  const { attributes, ignored } = attributesOf(new URLSearchParams(search));
  for (const [name, value] of attributes) player.setAttribute(name, value);
  if (ignored.length > 0) console.warn(`The player's address has what is ignored: ${ignored.join(", ")}`);
}
