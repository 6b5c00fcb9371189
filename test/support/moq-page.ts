import "@moq/watch/element";
import * as Moq from "@moq/net";

// Bundled by the test and opened in Chromium: clients that others wrote, unmodified.

interface Asked {
  /** Of the relay, with the playback as path. */
  readonly url: string;
  readonly hash: string;
  readonly namespace: string;
  /** What the page offers to speak; nothing is draft 14, which is named in SETUP. */
  readonly protocols: readonly string[];
}

/** From now on sessions offer these protocols, whatever their client does. */
function speak(protocols: readonly string[]): void {
  window.WebTransport = new Proxy(WebTransport, {
    construct: (target, [url, options]) => new target(url, { ...options, protocols: [...protocols] }),
  });
}

/** What @moq/net reads of the catalog and of a track that it names: group, and bytes of its first objects. */
async function read({ url, hash, namespace, protocols }: Asked) {
  speak(protocols);
  const connection = await Moq.Connection.connect(new URL(url), {
    webtransport: { serverCertificateHashes: [{ value: hash }] },
    websocket: { enabled: false },
  });
  const broadcast = connection.consume(Moq.Path.from(namespace));
  const catalog = await firstOf(broadcast, "catalog");
  const { tracks } = JSON.parse(new TextDecoder().decode(catalog[0])) as {
    tracks: { name: string; packaging: string }[];
  };
  const found: Record<string, number[][]> = {};
  for (const { name, packaging } of tracks) {
    if (packaging !== "cmaf") continue;
    const objects = await firstOf(broadcast, name, 3);
    found[name] = objects.map((object) => [...object.subarray(0, 8)]);
  }
  const version = connection.version;
  connection.close();
  return { version, tracks: found };
}

async function firstOf(broadcast: Moq.Broadcast.Consumer, name: string, count = 1): Promise<Uint8Array[]> {
  const subscriber = broadcast.track(name).subscribe();
  const group = await subscriber.nextGroup();
  const objects: Uint8Array[] = [];
  while (group && objects.length < count) {
    const frame = await group.readFrame();
    if (!frame) break;
    objects.push(frame.payload);
  }
  subscriber.close();
  return objects;
}

/** Shows the broadcast with <moq-watch>; `pixels` is a sum over what is painted, 0 for nothing. */
function watch({ url, namespace, protocols }: Asked): void {
  speak(protocols);
  const element = document.createElement("moq-watch");
  for (const [name, value] of [
    ["url", url.replace("https:", "http:")],
    ["name", namespace],
    ["catalog-format", "msf"],
    ["visible", "always"],
    ["muted", ""],
  ] as const)
    element.setAttribute(name, value);
  const canvas = document.createElement("canvas");
  canvas.width = 640;
  canvas.height = 360;
  element.append(canvas);
  document.body.append(element);
}

function pixels(): number {
  const canvas = document.querySelector("canvas");
  if (!canvas?.width) return 0;
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const pen = copy.getContext("2d")!;
  pen.drawImage(canvas, 0, 0);
  const { data } = pen.getImageData(0, 0, copy.width, copy.height);
  let sum = 0;
  for (let i = 0; i < data.length; i += 41) if (i % 4 !== 3) sum = (sum * 31 + data[i]!) >>> 0;
  return data.some((value, i) => i % 4 !== 3 && value > 8) ? sum : 0;
}

Object.assign(window, { outside: { read, watch, pixels } });
