import type { SluicePlayer } from "../player.ts";
import { attributeOf } from "./place.ts";
import { type Command, type Notice, type Ranges, readMessage, type Snapshot, versions } from "./protocol.ts";

/** A page that makes channel after channel keeps the newest. */
const MOST_LINKS = 8;

/** Of the media element, passed on as they come. */
const mediaEvents = [
  ...["abort", "canplay", "canplaythrough", "durationchange", "loadeddata", "loadedmetadata", "loadstart"],
  ...[
    "progress",
    "ratechange",
    "resize",
    "seeked",
    "seeking",
    "stalled",
    "suspend",
    "timeupdate",
    "volumechange",
  ],
] as const;
/** Of the player: what its engines do to the element would be told wrongly by the element's own. */
const playerEvents = ["play", "pause", "playing", "waiting", "ended", "error", "statechange"] as const;

/** The channel of one SDK. */
interface Link {
  readonly port: MessagePort;
  /** Of the last command. */
  seq: number;
  /** It was asked for a token and has not answered. */
  asked: boolean;
}

/** Lets the page around this one use the player through its SDK; nothing for a page that is not in a frame. */
export function openBridge(player: SluicePlayer): void {
  const { parent } = window;
  if (parent === window) return;
  const page = Math.random().toString(36).slice(2);
  const links = new Set<Link>();
  const warned = new Set<string>();
  let host = hostOf(location);
  let waiting: PromiseWithResolvers<string | undefined> | undefined;

  const say = (link: Link, notice: Notice) => link.port.postMessage(notice);
  const tell = (link: Link, event?: string) =>
    say(link, { type: "state", seq: link.seq, state: snapshotOf(player), ...(event && { event }) });
  const tellAll = (event: string) => {
    for (const link of links) tell(link, event);
  };
  const announce = () =>
    parent.postMessage(
      { sluice: "here", page, versions },
      host === undefined || host === "null" ? "*" : host,
    );

  for (const name of mediaEvents) player.media.addEventListener(name, () => tellAll(name));
  for (const name of playerEvents) player.addEventListener(name, () => tellAll(name));

  const needed = () => {
    waiting ??= Promise.withResolvers();
    for (const link of links) if (!link.asked) ask(link);
    return waiting.promise;
  };
  function ask(link: Link): void {
    link.asked = true;
    say(link, { type: "token-needed" });
  }
  function answer(link: Link, token: unknown): void {
    link.asked = false;
    const found = typeof token === "string" && token !== "" ? token : undefined;
    // One of several may still have one.
    if (!waiting || (found === undefined && [...links].some(({ asked }) => asked))) return;
    waiting.resolve(found);
    waiting = undefined;
  }

  function take(link: Link, command: Command): void {
    link.seq = command.seq;
    switch (command.type) {
      case "set":
        if (!set(player, command.name, command.value) && !warned.has(command.name)) {
          warned.add(command.name);
          console.warn(`The player ignores ${command.name} = ${String(command.value).slice(0, 60)}`);
        }
        return tell(link);
      case "call":
        return void call(link, command);
      case "token":
        return answer(link, command.token);
    }
  }

  async function call(link: Link, { seq, name }: Extract<Command, { type: "call" }>): Promise<void> {
    try {
      if (name === "play") await player.play({ mute: false });
      else if (name === "pause") player.pause();
      else if (name === "goLive") player.goLive();
      say(link, { type: "done", call: seq });
    } catch (error) {
      const { name: kind, message } = error instanceof DOMException ? error : new DOMException(String(error));
      say(link, { type: "done", call: seq, error: { name: kind, message } });
    }
  }

  addEventListener("message", (event) => {
    if (event.source !== parent) return;
    const message = readMessage(event.data);
    if (message?.sluice === "who") return announce();
    const port = event.ports[0];
    if (message?.sluice !== "hello" || !port || !versions.includes(message.version)) return;
    // Whose page this is in does not change while it is there.
    host ??= event.origin;
    if (event.origin !== host) return port.close();
    const link: Link = { port, seq: 0, asked: false };
    links.add(link);
    for (const old of [...links].slice(0, -MOST_LINKS)) {
      old.port.close();
      links.delete(old);
    }
    port.onmessage = ({ data }) => {
      if (isCommand(data)) take(link, data);
    };
    tell(link);
    if (waiting) ask(link);
    if (player.onTokenNeeded) return;
    player.onTokenNeeded = needed;
    if (player.state === "denied") player.retry();
  });
  announce();
}

/** The origin of the page around this one, where the browser says it. */
function hostOf({
  ancestorOrigins,
}: Location & { readonly ancestorOrigins?: DOMStringList }): string | undefined {
  return ancestorOrigins?.[0];
}

function isCommand(data: unknown): data is Command {
  if (typeof data !== "object" || data === null || !("type" in data) || !("seq" in data)) return false;
  if (typeof data.seq !== "number") return false;
  if (data.type === "token") return true;
  return (data.type === "set" || data.type === "call") && "name" in data && typeof data.name === "string";
}

/** False for a property or a value that the player does not have. */
function set(player: SluicePlayer, name: string, value: unknown): boolean {
  const number = typeof value === "number" && Number.isFinite(value) ? value : undefined;
  switch (name) {
    case "volume":
      if (number === undefined || number < 0 || number > 1) return false;
      player.media.volume = number;
      return true;
    case "currentTime":
      if (number === undefined) return false;
      player.currentTime = number;
      return true;
    case "playbackRate":
      if (number === undefined || number < 0.0625 || number > 16) return false;
      player.playbackRate = number;
      return true;
    case "adUrl":
      return value === undefined || value === null || value === "";
    case "startTime":
    case "dvrEnabled":
      return false;
  }
  if (value === undefined || value === null) {
    const attribute = plain[name];
    if (attribute) player.removeAttribute(attribute);
    return attribute !== undefined;
  }
  const found = attributeOf(name, String(value));
  if (!found) return false;
  player.setAttribute(...found);
  if (name === "autoplay" && value === true && player.state === "ready") player.play().catch(() => {});
  return true;
}

/** Properties that can be taken back, and their attributes. */
const plain: Readonly<Record<string, string>> = {
  poster: "poster",
  primaryColor: "primary-color",
  letterboxColor: "letterbox-color",
  defaultTextTrack: "default-text-track",
};

function snapshotOf(player: SluicePlayer): Snapshot {
  const { media } = player;
  const on = (name: string) => player.hasAttribute(name) && player.getAttribute(name) !== "false";
  const text = (name: string) => player.getAttribute(name) ?? undefined;
  return {
    currentTime: media.currentTime,
    duration: player.duration,
    paused: player.paused,
    ended: player.state === "ended",
    seeking: media.seeking,
    readyState: media.readyState,
    volume: media.volume,
    muted: media.muted,
    playbackRate: player.playbackRate,
    videoWidth: media.videoWidth,
    videoHeight: media.videoHeight,
    buffered: listOf(media.buffered),
    played: listOf(media.played),
    seekable: listOf(media.seekable),
    autoplay: on("autoplay"),
    controls: player.getAttribute("controls") !== "false",
    loop: on("loop"),
    preload: text("preload") === "none" ? "none" : "auto",
    poster: text("poster"),
    primaryColor: text("primary-color"),
    letterboxColor: text("letterbox-color"),
    defaultTextTrack: text("default-text-track"),
    state: player.state,
    latency: player.latency,
  };
}

function listOf(ranges: TimeRanges): Ranges {
  return Array.from({ length: ranges.length }, (_, i) => [ranges.start(i), ranges.end(i)] as const);
}
