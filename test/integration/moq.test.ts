import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { doneCodes, requestErrors } from "../../services/moq/codec/messages.ts";
import { sessionErrors } from "../../services/moq/codec/wire.ts";
import { connectNative } from "../../services/moq/native.ts";
import { connectWebTransport } from "../../services/moq/webtransport.ts";
import { apiOf } from "../support/api.ts";
import { type Publisher, publish } from "../support/ffmpeg.ts";
import { MoqViewer, type Way, wayTo } from "../support/moq-viewer.ts";
import { type Sluice, startSluice } from "../support/sluice.ts";

describe("Media over QUIC", () => {
  let sluice: Sluice;
  let encoder: Publisher;
  let way: Way;
  let uid: string;
  let nativePort: number;
  const next = "https://another.example:8443";
  const viewers: MoqViewer[] = [];

  beforeAll(async () => {
    nativePort = await freeUdpPort();
    const env = {
      ...{ SLUICE_MOQ: "true", SLUICE_MOQ_NATIVE_PORT: String(nativePort), SLUICE_RELAY_NEXT: next },
    };
    sluice = await startSluice({ env });
    uid = sluice.ready.uid!;
    encoder = publish({ url: `${sluice.ready.rtmp}/${sluice.ready.streamKey}`, gop: 1 });
    way = await wayTo(sluice.ready, uid);
  });
  afterAll(async () => {
    for (const viewer of viewers) viewer.close();
    await encoder?.stop();
    await sluice?.stop();
  });
  beforeEach(({ onTestFailed }) => onTestFailed(() => console.error(sluice.log())));

  async function open(path = `/${uid}`): Promise<MoqViewer> {
    const viewer = await MoqViewer.open(way, path);
    viewers.push(viewer);
    return viewer;
  }

  const api = apiOf(() => sluice.ready);
  const guard = (requireSignedURLs: boolean) =>
    api(`PUT /live_inputs/${uid}`, { recording: { requireSignedURLs } });
  const tokenFor = async (of: string, more: object = {}): Promise<string> =>
    (await api(`POST /${of}/token`, more)).token;

  test("has the bytes of HLS, group for segment and by hash, and equal numbers for picture and sound", async () => {
    const viewer = await open();
    const { sluiceEpoch, tracks: all, initDataList } = await viewer.catalog(uid);
    expect(all.map(({ name }) => name).sort()).toEqual(["audio.0", "source.0", "timeline"]);
    const tracks = all.filter(({ packaging }) => packaging === "cmaf");
    for (const { name } of tracks) viewer.subscribe(uid, name);
    const whole = (name: string) => viewer.tracks.get(name)!.filter(({ state }) => state === "whole");
    await viewer.until(() => tracks.every(({ name }) => whole(name).length >= 2));

    const { videoUID } = (await (await fetch(`${sluice.ready.http}/${uid}/lifecycle`)).json()) as {
      videoUID: string;
    };
    const hls = async (path: string) => {
      const response = await fetch(`${sluice.ready.http}/${uid}/manifest/${videoUID}/${path}`);
      expect(response.status, path).toBe(200);
      return Buffer.from(await response.arrayBuffer());
    };
    const hash = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
    for (const { name, initRef } of tracks) {
      const rendition = name.split(".")[0]!;
      const init = initDataList.find(({ id }) => id === initRef)!.data;
      expect(hash(Buffer.from(init, "base64"))).toBe(hash(await hls(`${rendition}/0/init.mp4`)));
      for (const { id, objects } of whole(name)) {
        expect(objects.map(({ object }) => object)).toEqual(objects.map((_, index) => index));
        const segment = await hls(`${rendition}/0/${id - sluiceEpoch}.m4s`);
        expect(hash(Buffer.concat(objects.map(({ payload }) => payload)))).toBe(hash(segment));
      }
    }
    const ids = (name: string) => new Set(viewer.tracks.get(name)!.map(({ id }) => id));
    expect([...ids("audio.0")].filter((id) => ids("source.0").has(id)).length).toBeGreaterThanOrEqual(2);
  });

  test("is subscribed to once at the origin, and gives who comes late the current group at once", async () => {
    const first = await open();
    first.subscribe(uid, "source.0");
    await first.until(() => (first.tracks.get("source.0")?.[0]?.objects.length ?? 0) > 5);
    const others = await Promise.all(Array.from({ length: 10 }, () => open()));
    for (const other of others) {
      const asked = performance.now();
      other.subscribe(uid, "source.0");
      await other.until(() => (other.tracks.get("source.0")?.[0]?.objects.length ?? 0) > 0);
      // A group lasts a second: nobody waited for the next.
      expect(performance.now() - asked).toBeLessThan(500);
      expect(other.tracks.get("source.0")![0]!.objects[0]!.object).toBe(0);
    }
    for (const other of others) other.close();
  });

  test("brings the tracks that a session's address names with the session, from the current group on", async () => {
    const viewer = await MoqViewer.open(way, `/${uid}?push=${uid}/audio.0/source.0`, "moqt-18");
    viewers.push(viewer);
    for (const name of ["audio.0", "source.0"]) {
      await viewer.until(() => (viewer.tracks.get(name)?.[0]?.objects.length ?? 0) > 5);
      expect(viewer.tracks.get(name)![0]!.objects[0]!.object).toBe(0);
    }
    viewer.close();
  });

  test.for(["moqt-14", "moqt-16", "moqt-18", "moqt-19"])(
    "answers a joining FETCH with the group before, and what is not there with the defined code, in %s",
    async (protocol) => {
      const viewer = await MoqViewer.open(way, `/${uid}`, protocol);
      viewers.push(viewer);
      const { id } = viewer.subscribe(uid, "source.0");
      const groups = viewer.tracks.get("source.0")!;
      await viewer.until(() => groups.length > 0);
      const fetched: { group: number; object: number }[] = [];
      await new Promise<void>((resolve, reject) =>
        viewer.peer.fetch(
          { kind: "relative", joining: id, start: 0 },
          {},
          {
            ok: () => {},
            refused: ({ reason }) => reject(new Error(reason)),
            object: ({ group, object }) => fetched.push({ group, object }),
            end: resolve,
            gone: () => reject(new Error("gone")),
          },
        ),
      );
      expect(new Set(fetched.map(({ group }) => group))).toEqual(new Set([groups[0]!.id - 1]));
      viewer.subscribe(uid, "nothing.0");
      await viewer.until(() => viewer.refused.has("nothing.0"));
      expect(viewer.refused.get("nothing.0")).toBe(requestErrors.doesNotExist);
    },
  );

  test("is for those whom the gate lets in, and ends for a token that is revoked within a second", async () => {
    const before = await open();
    before.subscribe(uid, "source.0");
    await before.until(() => before.tracks.get("source.0")!.length > 0);
    await guard(true);
    try {
      // Who watched without a token has no right any more.
      await before.until(() => before.done.has("source.0"));
      expect(before.done.get("source.0")).toBe(doneCodes.unauthorized);

      const stranger = await open();
      await stranger.until(() => stranger.closed !== undefined);
      expect(stranger.closed!.code).toBe(sessionErrors.unauthorized);
      const nobody = await open("/");
      nobody.subscribe(uid, "source.0");
      await nobody.until(() => nobody.refused.has("source.0"));
      expect(nobody.refused.get("source.0")).toBe(requestErrors.unauthorized);

      const hopeful = await MoqViewer.open(way, `/?push=${uid}/source.0`, "moqt-18");
      viewers.push(hopeful);
      hopeful.subscribe(uid, "audio.0");
      await hopeful.until(() => hopeful.refused.has("audio.0"));
      expect([...hopeful.tracks.keys()]).toEqual(["audio.0"]);

      const token = await tokenFor(uid);
      const inPath = await open(`/${token}`);
      const inQuery = await open(`/?jwt=${token}`);
      for (const viewer of [inPath, inQuery]) viewer.subscribe(uid, "source.0");
      const value = Buffer.from(token);
      nobody.subscribe(uid, "audio.0", { tokens: [{ use: "value", type: 0, value }] });
      await Promise.all(
        [inPath, inQuery].map((one) => one.until(() => one.tracks.get("source.0")!.length > 0)),
      );
      await nobody.until(() => nobody.tracks.get("audio.0")!.length > 0);

      const { uid: other } = await api("POST /live_inputs", {});
      const foreign = await open(`/${await tokenFor(other)}`);
      foreign.subscribe(uid, "source.0");
      await foreign.until(() => foreign.refused.has("source.0"));
      expect(foreign.refused.get("source.0")).toBe(requestErrors.unauthorized);

      const brief = await open(`/${await tokenFor(uid, { exp: Math.floor(Date.now() / 1000) + 2 })}`);
      brief.subscribe(uid, "source.0");
      await brief.until(() => brief.tracks.get("source.0")!.length > 0);
      await brief.until(() => brief.done.has("source.0"));
      expect(brief.done.get("source.0")).toBe(doneCodes.unauthorized);

      const revokedAt = performance.now();
      await api("POST /v1/revocations", { token });
      await Promise.all([
        ...[inPath, inQuery].map((one) => one.until(() => one.done.has("source.0"))),
        nobody.until(() => nobody.done.has("audio.0")),
      ]);
      expect(performance.now() - revokedAt).toBeLessThan(1000);
    } finally {
      await guard(false);
    }
  });

  test.for(["moqt-16", "moqt-18"])("is to be had without WebTransport too, in %s", async (protocol) => {
    const native = async (path: string) => {
      const transport = await connectNative({ host: "127.0.0.1", port: nativePort, protocol });
      const viewer = new MoqViewer(transport, { path, authority: "localhost" });
      viewers.push(viewer);
      return viewer;
    };
    const viewer = await native(`/${uid}`);
    viewer.subscribe(uid, "source.0");
    await viewer.until(() => viewer.tracks.get("source.0")!.some(({ state }) => state === "whole"));
    await guard(true);
    try {
      const stranger = await native(`/${uid}`);
      await stranger.until(() => stranger.closed !== undefined);
      const allowed = await native(`/${await tokenFor(uid)}`);
      allowed.subscribe(uid, "audio.0");
      await allowed.until(() => allowed.tracks.get("audio.0")!.length > 0);
    } finally {
      await guard(false);
    }
  });

  test("refuses a client of another version with the code for it", async () => {
    const session = await connectWebTransport({
      ...{ host: "127.0.0.1", port: way.port, path: `/${uid}`, protocols: ["moqt-99"] },
    });
    const closed = await new Promise<{ code: number }>((resolve) =>
      session.serve({ uni: () => {}, bi: () => {}, closed: resolve }),
    );
    expect(closed.code).toBe(sessionErrors.versionNegotiation);
  });

  test("a hundred clients that connect and vanish leave nothing behind", async () => {
    const figures = async () => {
      const text = await (await fetch(`${sluice.ready.metrics}/metrics`)).text();
      const value = (name: string) => Number(new RegExp(`^${name}\\{[^}]*\\} (\\S+)`, "m").exec(text)?.[1]);
      return { sessions: value("sluice_moq_sessions"), subscriptions: value("sluice_moq_subscriptions") };
    };
    for (const viewer of viewers.splice(0)) viewer.close();
    for (let i = 0; i < 10; i++) {
      const some = await Promise.all(Array.from({ length: 10 }, () => MoqViewer.open(way, `/${uid}`)));
      for (const [index, viewer] of some.entries()) {
        viewer.subscribe(uid, "source.0");
        // Some leave in the middle of it all.
        if (index % 2) await viewer.until(() => viewer.tracks.get("source.0")!.length > 0);
        viewer.close();
      }
    }
    await expect.poll(figures, { timeout: 10_000 }).toEqual({ sessions: 0, subscriptions: 0 });
  });

  test.for(["moqt-14", "moqt-16", "moqt-18"])(
    "gives any group of the past by FETCH, with the bytes of HLS, in %s",
    async (protocol) => {
      const viewer = await MoqViewer.open(way, `/${uid}`, protocol);
      viewers.push(viewer);
      const { sluiceEpoch, tracks } = await viewer.catalog(uid);
      const timeline = tracks.find(({ packaging }) => packaging === "mediatimeline")!;
      viewer.subscribe(uid, timeline.name);
      const said = () => viewer.tracks.get(timeline.name)![0]?.objects[0];
      await viewer.until(() => said() !== undefined);
      const rows = JSON.parse(Buffer.from(said()!.payload).toString()) as [
        number,
        [number, number],
        number,
      ][];
      expect(rows.length).toBeGreaterThan(3);
      for (const [mediaMs, [group, object], wallMs] of rows) {
        expect([object, wallMs]).toEqual([0, sluiceEpoch + mediaMs]);
        expect(group).toBeGreaterThanOrEqual(sluiceEpoch);
      }
      const [first, second] = [rows[0]![1][0], rows[1]![1][0]];
      const { videoUID } = (await (await fetch(`${sluice.ready.http}/${uid}/lifecycle`)).json()) as {
        videoUID: string;
      };
      for (const name of ["source.0", "audio.0"]) {
        for (const order of ["ascending", "descending"] as const) {
          const range = { start: { group: first, object: 0 }, end: { group: second, object: 0 }, order };
          const { objects, end } = await viewer.fetch({ namespace: [uid], name }, range);
          expect(end).toEqual({ group: second, object: 0 });
          const ids = [...new Set(objects.map(({ group }) => group))];
          expect(ids).toEqual(order === "ascending" ? [first, second] : [second, first]);
          const mine = objects.filter(({ group }) => group === first);
          expect(mine.map(({ object }) => object)).toEqual(mine.map((_, index) => index));
          const path = `${name.split(".")[0]}/0/${first - sluiceEpoch}.m4s`;
          const segment = await fetch(`${sluice.ready.http}/${uid}/manifest/${videoUID}/${path}`);
          const hash = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
          expect(hash(Buffer.concat(mine.map(({ payload }) => payload)))).toBe(
            hash(Buffer.from(await segment.arrayBuffer())),
          );
        }
        const part = await viewer.fetch(
          { namespace: [uid], name },
          { start: { group: first, object: 1 }, end: { group: first, object: 3 } },
        );
        expect(part.objects.map(({ group, object }) => [group, object])).toEqual([
          [first, 1],
          [first, 2],
        ]);
        const later = { start: { group: 2 ** 45, object: 0 }, end: { group: 2 ** 45, object: 0 } };
        await expect(viewer.fetch({ namespace: [uid], name }, later)).rejects.toMatchObject({
          code: requestErrors.invalidRange,
        });
      }
    },
  );

  test("has the catalog of earlier drafts where it is asked for, with init segments in its tracks", async () => {
    const viewer = await open();
    viewer.peer.subscribe({ namespace: [uid, "warp"], name: "catalog" }, {}, viewer.into("warp"));
    const groups = viewer.tracks.get("warp")!;
    await viewer.until(() => groups.some(({ objects }) => objects.length > 0));
    const catalog = JSON.parse(
      Buffer.from(groups.find(({ objects }) => objects[0])!.objects[0]!.payload).toString(),
    );
    expect(catalog.version).toBe(1);
    const [video] = catalog.tracks.filter(({ role }: { role: string }) => role === "video");
    expect(Buffer.from(video.initData, "base64").subarray(4, 8).toString()).toBe("ftyp");
  });

  test("a relay that is killed comes back, and the origin offers its broadcasts again", async () => {
    const { descendants } = await import("../bench/processes.ts");
    const [pid] = descendants(sluice.pid, "role relay");
    const viewer = await open();
    viewer.subscribe(uid, "source.0");
    await viewer.until(() => viewer.tracks.get("source.0")!.length > 0);
    process.kill(pid!, "SIGKILL");
    await expect
      .poll(
        async () => {
          try {
            const again = await MoqViewer.open(way, `/${uid}`);
            again.subscribe(uid, "source.0");
            viewers.push(again);
            await Promise.race([
              again.until(() => again.tracks.get("source.0")!.length > 0),
              new Promise((_resolve, reject) => setTimeout(reject, 2000)),
            ]);
            return true;
          } catch {
            return false;
          }
        },
        { timeout: 30_000 },
      )
      .toBe(true);
  });

  test("at the end the catalog is that of a video, and all of it can be fetched", async () => {
    const viewer = await open();
    const { tracks } = await viewer.catalog(uid);
    const catalogs = viewer.tracks.get("catalog")!;
    await encoder.stop();
    const last = () => {
      const text = catalogs.findLast(({ objects }) => objects[0])!.objects[0]!.payload;
      return JSON.parse(Buffer.from(text).toString()) as {
        tracks: { name: string; isLive: boolean; trackDuration?: number }[];
      };
    };
    await viewer.until(() => viewer.done.has("catalog"));
    expect(viewer.done.get("catalog")).toBe(doneCodes.trackEnded);
    expect(last().tracks.map(({ name, isLive }) => [name, isLive])).toEqual(
      tracks.map(({ name }) => [name, false]),
    );
    expect(last().tracks[0]!.trackDuration).toBeGreaterThan(5_000);
    const late = await open();
    late.subscribe(uid, "source.0");
    await late.until(() => late.done.has("source.0"));
    const all = { start: { group: 0, object: 0 }, end: { group: 2 ** 45, object: 0 } };
    const { objects, endOfTrack } = await late.fetch({ namespace: [uid], name: "source.0" }, all);
    expect(endOfTrack).toBe(true);
    expect(new Set(objects.map(({ group }) => group)).size).toBeGreaterThan(5);
  });

  test("who watches is told where to go on when the relay stops", async () => {
    const viewer = await open(`/${uid}?CMCD=sid%3D%22ab%22`);
    await viewer.catalog(uid);
    await sluice.stop();
    await viewer.until(() => viewer.closed !== undefined);
    expect(viewer.sentTo).toBe(`${next}/${uid}?CMCD=sid%3D%22ab%22`);
  });
});

function freeUdpPort(): Promise<number> {
  const socket = createSocket("udp4");
  return new Promise((resolve) =>
    socket.bind(0, "127.0.0.1", () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    }),
  );
}
