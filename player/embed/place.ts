/** The playback that this page is about: the first segment of its address, e.g. `/{uid}` of `/{uid}/iframe`. */
export function playbackOf(pathname: string): string {
  return `/${pathname.split("/")[1] ?? ""}`;
}

/** Attributes of the player that the page's query asks for; `?autoplay` and `?autoplay=true` mean the same. */
export function attributesOf(query: URLSearchParams): Map<string, string> {
  const attributes = new Map<string, string>();
  for (const name of ["autoplay", "muted", "controls"]) {
    const value = query.get(name);
    if (value !== null) attributes.set(name, /^(|1|true|yes)$/i.test(value) ? "" : "false");
  }
  const poster = query.get("poster");
  if (poster && /^(https?:\/\/|\/)/i.test(poster)) attributes.set("poster", poster);
  const colour = query.get("primaryColor");
  if (colour && /^(#[0-9a-f]{3,8}|[a-z]{3,20})$/i.test(colour)) attributes.set("primary-color", colour);
  return attributes;
}
