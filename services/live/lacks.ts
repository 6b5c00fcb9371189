import type { Broadcast } from "./broadcast.ts";

/** What only playlists have of a broadcast: players that want it do not take it as Media over QUIC. */
export type Lack = "captions" | "languages";

/** What of it is not among its tracks in Media over QUIC. */
export function lacksOf(broadcast: Broadcast | undefined): Lack[] {
  const renditions = [...(broadcast?.renditions.values() ?? [])];
  const captions = broadcast?.subtitles !== undefined || renditions.some((one) => one.captions.length > 0);
  const languages = renditions.some(({ name }) => /^audio\d+$/.test(name));
  return [...(captions ? (["captions"] as const) : []), ...(languages ? (["languages"] as const) : [])];
}
