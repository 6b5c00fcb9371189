import { call, stream } from "./api.ts";
import type { Input, Video } from "./types.ts";

/** As the encoder has to reach it: an installation that knows no name of its own calls itself localhost, which is right only there. */
function reachable(url: string): string {
  return url.replace(/^([a-z]+:\/\/)(localhost|127\.0\.0\.1)(?=[:/])/, (all, scheme) =>
    /^(localhost|127\.0\.0\.1|\[::1\])$/.test(location.hostname) ? all : `${scheme}${location.hostname}`,
  );
}

/** What goes into the two fields of an encoder; plain RTMP where it is offered, as OBS takes that without a certificate. */
export function doorsOf(
  input: Input,
): readonly { readonly name: string; readonly server: string; readonly key: string }[] {
  const doors = [
    { name: "RTMP", door: input.rtmp },
    { name: "RTMPS", door: input.rtmps },
  ];
  return doors.flatMap(({ name, door }) =>
    door ? [{ name, server: reachable(door.url).replace(/\/$/, ""), key: door.streamKey }] : [],
  );
}

/** A test picture with sound, for whoever has no encoder at hand. */
export function testCommand(input: Input): string {
  const [door] = doorsOf(input);
  return door
    ? `ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=330 -c:v libx264 -preset veryfast -pix_fmt yuv420p -b:v 2500k -g 60 -c:a aac -f flv ${door.server}/${door.key}`
    : "";
}

export function watchUrl(playback: string): string {
  return `${location.origin}/${playback}/watch`;
}

/** What puts the player on a page. */
export function embedCode(playback: string): string {
  return `<iframe src="${location.origin}/${playback}/iframe" style="border:0;aspect-ratio:16/9;width:100%" allow="autoplay; encrypted-media; fullscreen; picture-in-picture" allowfullscreen></iframe>`;
}

/** How long the dashboard's own tokens are good for. */
const ownSeconds = 12 * 3_600;
const tokens = new Map<string, { readonly token: Promise<string>; readonly goodUntilMs: number }>();

/** What stands for a live input or a video in a playback URL: its uid, or where viewers need one a token for the administrator; `fresh` makes a new one. */
export async function playbackOf(
  what: Pick<Video, "uid" | "requireSignedURLs"> | Pick<Input, "uid" | "recording">,
  fresh = false,
): Promise<string> {
  const signed = "recording" in what ? what.recording.requireSignedURLs : what.requireSignedURLs;
  if (!signed) return what.uid;
  const kept = tokens.get(what.uid);
  if (!fresh && kept && kept.goodUntilMs > Date.now()) return kept.token;
  const exp = Math.floor(Date.now() / 1_000) + ownSeconds;
  const token = call<{ token: string }>("POST", `${stream}/${what.uid}/token`, {
    exp,
    downloadable: true,
  }).then((made) => made.token);
  tokens.set(what.uid, { token, goodUntilMs: (exp - 3_600) * 1_000 });
  token.catch(() => tokens.delete(what.uid));
  return token;
}
