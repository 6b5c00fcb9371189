/** The playback that this page is about: the first segment of its address, e.g. `/{uid}` of `/{uid}/iframe`. */
export function playbackOf(pathname: string): string {
  return `/${pathname.split("/")[1] ?? ""}`;
}

/** Query parameters that are on or off, and the attribute that each becomes. */
const flags = {
  autoplay: "autoplay",
  muted: "muted",
  controls: "controls",
  loop: "loop",
  dvrEnabled: "dvr",
} as const;

/** A colour in hexadecimal or by name: nothing that could reach beyond its property. */
const colour = /^(#[0-9a-f]{3,8}|[a-z]{3,20})$/i;

/** Query parameters with a value, the attribute that each becomes, and what it must look like. */
const values: readonly (readonly [parameter: string, attribute: string, pattern: RegExp])[] = [
  ["poster", "poster", /^(https?:\/\/|\/)/i],
  ["primaryColor", "primary-color", colour],
  ["letterboxColor", "letterbox-color", colour],
  ["startTime", "start-time", /^[0-9hms.]{1,20}$/i],
  ["defaultTextTrack", "default-text-track", /^[a-z]{2,3}(-[a-z0-9]{2,8})*$/i],
];

/**
 * Attributes of the player that the page's query asks for, under the names that Cloudflare Stream's player takes;
 * `?autoplay` and `?autoplay=true` mean the same.
 */
export function attributesOf(query: URLSearchParams): Map<string, string> {
  const attributes = new Map<string, string>();
  for (const [parameter, attribute] of Object.entries(flags)) {
    const value = query.get(parameter);
    if (value !== null) attributes.set(attribute, /^(|1|true|yes)$/i.test(value) ? "" : "false");
  }
  for (const [parameter, attribute, pattern] of values) {
    const value = query.get(parameter);
    if (value !== null && pattern.test(value)) attributes.set(attribute, value);
  }
  // `metadata`, `auto` and `true` all mean that pressing play should be quick, which it is.
  if (/^(none|false)$/i.test(query.get("preload") ?? "")) attributes.set("preload", "none");
  return attributes;
}
