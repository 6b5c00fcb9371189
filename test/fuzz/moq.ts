import { ControlReader, encodeMessage, type Place } from "../../services/moq/codec/control.ts";
import { decodeDatagram, encodeDatagram } from "../../services/moq/codec/datagrams.ts";
import { type Draft, draft14, draft16, draft18 } from "../../services/moq/codec/drafts.ts";
import { DataReader } from "../../services/moq/codec/objects.ts";
import { readRecord } from "../../services/moq/routes.ts";
import { BadMedia } from "../../services/packager/bad-media.ts";
import { readCatalog } from "../../services/packager/msf.ts";
import { bytesOf } from "../support/bytes.ts";
import type { Target } from "./target.ts";

const kinds = ["subscribe", "fetch", "track-status", "publish-namespace", "subscribe-namespace"] as const;

/** A stream of messages, in pieces of the size that its first byte says; what was read is written and read again to the same. */
function control(draft: Draft, name: string, seeds: readonly string[]): Target {
  return {
    name,
    seeds: seeds.map(bytesOf),
    run: (bytes) => {
      const size = Math.max(1, bytes[0] ?? 1);
      // Answers say no number where each request has a stream: whose stream this is, is said by the first byte, too.
      const kind = draft.ownStream === "all" ? kinds[size % 8] : undefined;
      const on: Place | undefined = kind && { id: 4, kind };
      const reader = new ControlReader(draft, on);
      let place = on;
      for (let at = 1; at < bytes.length; at += size)
        for (const message of reader.push(bytes.subarray(at, at + size))) {
          const wire = encodeMessage(draft, message);
          const [again] = new ControlReader(draft, place).push(wire);
          // A request makes the stream its own.
          if ("id" in message && message.id >= 0 && draft.ownStream !== "all") place = undefined;
          if (JSON.stringify({ ...again, id: 0 }) !== JSON.stringify({ ...message, id: 0 }))
            throw new Error(`${message.type} reads differently when it was written again`);
        }
    },
  };
}

export const moqControl = control(draft16, "moq-control", [
  "ff 20 0007 02 01 02 2f61 01 05 15 0001 20 10 0003 02 2f62",
  "03 03 001e 00 02 04 6c697665 03 6f6e65 07 636174616c6f67 04 10 01 10 4080 01 01 02 01 02 0a 0001 00",
  "40 04 0007 02 05 01 09 02 0703 05 0006 02 10 01 02 6e6f 0b 0005 02 02 03 00 00",
  "07 16 0019 04 01 02 04 6c697665 03 6f6e65 07 636174616c6f67 05 00 06 01 00 18 0005 04 01 07 03 00",
  "10 0d 0017 06 02 04 6c697665 03 6f6e65 03 6c6f67 01 03 05 03 00 6a7774 08 0005 01 03 6f6e65",
  "20 11 0009 00 01 04 6c697665 01 00 02 0009 02 00 01 21 04 04 05 00 06 0c 0004 02 01 01 61",
]);

export const moqControl18 = control(draft18, "moq-control-18", [
  "ff af00 0007 01 02 2f61 06 01 53 10 0005 01 2f 80c8 06",
  "07 03 001d 04 02 04 6c697665 03 6f6e65 07 636174616c6f67 04 10 01 10 c8 01 01 02 01 02 02 0004 06 01 10 00",
  "40 04 0006 05 01 09 8080 03 0b 0004 05 03 01 61 05 0005 10 01 02 6e6f",
  "41 18 0004 01 07 03 00 05 000a 34 01 00 01 62 01 01 61 01 74",
  "4c 50 0008 00 01 04 6c697665 00 08 0005 01 03 6f6e65 0e 0005 01 03 6f6e65 0f 0007 01 03 6f6e65 01 74",
]);

export const moqControl14 = control(draft14, "moq-control-14", [
  "ff 20 000c 01 c0000000ff00000e 01 02 05 15 0001 20",
  "05 03 0018 00 02 04 6c697665 03 6f6e65 07 636174616c6f67 80 02 01 02 00 0a 0001 00",
  "40 04 0008 02 05 00 01 01 07 03 00 02 0008 04 02 05 00 08 80 00 00",
  "10 16 0007 04 80 00 02 02 00 00 18 0006 04 02 00 07 03 00 19 0003 02 05 00",
  "11 1d 0018 00 02 04 6c697665 03 6f6e65 07 636174616c6f67 05 01 00 01 00 14 0005 01 03 6f6e65",
]);

/** A stream of objects, likewise in pieces. */
function objects(draft: Draft, name: string, seeds: readonly string[]): Target {
  return {
    name,
    seeds: seeds.map(bytesOf),
    run: (bytes) => {
      let left = 0;
      const size = Math.max(1, bytes[0] ?? 1);
      const reader = new DataReader(draft, {
        header: () => {},
        object: ({ payload }) => {
          left += payload.length;
        },
        descends: () => size % 2 === 1,
      });
      for (let at = 1; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
      reader.end();
      if (left > bytes.length) throw new Error("more came out than went in");
    },
  };
}

export const moqObjects = objects(draft16, "moq-objects", [
  "03 14 02 00 00 00 00 04 61626364 00 04 65666768",
  "ff 35 02 00 00 03 04 4201 04 61626364 00 00 04 65666768 00 00 00 03",
  "05 05 06 1c 04 00 80 01 aa 00 01 cc 1c 05 00 80 01 dd 408c 07 03",
]);

export const moqObjects18 = objects(draft18, "moq-objects-18", [
  "03 54 02 00 00 00 00 04 61626364 00 04 65666768",
  "04 05 06 1c 04 00 80 01 aa 808c 01 09 00 01 bb 0c 01 00 01 cc",
  "05 05 06 1c 09 00 80 01 aa 1c 01 00 80 01 bb",
]);

export const moqObjects14 = objects(draft14, "moq-objects-14", [
  "04 05 06 04 00 00 80 00 01 aa 06 00 00 80 00 01 bb 06 00 01 80 00 00 03",
]);

/** A datagram in the draft that its first byte says; what was read is written and read again to the same. */
export const moqDatagrams: Target = {
  name: "moq-datagrams",
  seeds: [
    "00 00 02 412c 05 80 aabb",
    "01 08 02 412c 05 aabb",
    "02 08 02 812c 05 aabb",
    "02 21 02 05 05 80 01 02 00",
  ].map(bytesOf),
  run: (bytes) => {
    const draft = [draft14, draft16, draft18][(bytes[0] ?? 0) % 3]!;
    const datagram = decodeDatagram(bytes.subarray(1), draft);
    if (!datagram) return;
    const again = decodeDatagram(encodeDatagram(datagram, draft), draft);
    if (again?.payload.length !== datagram.payload.length || again.object !== datagram.object)
      throw new Error("a datagram reads differently when it was written again");
  },
};

/** What a field of a catalog may hold, right or wrong. */
const catalogValues = [
  ...["cmaf", "loc", "video", "audio", "video/mp4", "AAAA", "A===", "v", ""],
  ...[1, -1, 1e300, null, true, {}, []],
];

/** A catalog with as many tracks and inits as the bytes last, each field chosen by one of them. */
function catalogOf(bytes: Uint8Array): string {
  let at = 0;
  const value = (usual: unknown): unknown => {
    const byte = bytes[at++] ?? 0;
    return byte < 0x80 ? usual : catalogValues[byte % catalogValues.length];
  };
  const tracks: unknown[] = [];
  const initDataList: unknown[] = [];
  while (at < bytes.length) {
    initDataList.push({ id: value("v"), type: value("inline"), data: value("AAAA") });
    tracks.push({
      ...{ name: value("v"), packaging: value("cmaf"), role: value("video"), bitrate: value(1) },
      ...(bytes[at++]! % 2
        ? { initRef: value("v") }
        : { mimeType: value("video/mp4"), initData: value("AA==") }),
    });
  }
  return JSON.stringify({ tracks: value(tracks), initDataList: value(initDataList) });
}

function takeCatalog(text: string): void {
  for (const { name, init } of readCatalog(text))
    if (init.length > text.length || name.length > text.length) throw new Error("more came out than went in");
}

/** The catalog of an encoder that speaks MoQ: hardly a change of its text is JSON, so the bytes also choose one that is. */
export const moqCatalog: Target = {
  name: "moq-catalog",
  seeds: [
    '{"version":"draft-01","tracks":[{"name":"v","packaging":"cmaf","role":"video","bitrate":1,"initRef":"v"}],"initDataList":[{"id":"v","type":"inline","data":"AAAA"}]}',
    '{"tracks":[{"name":"a","packaging":"cmaf","mimeType":"audio/mp4","initData":"AAAA"}]}',
  ].map((text) => Buffer.from(text)),
  run: (bytes) => {
    try {
      takeCatalog(Buffer.from(bytes).toString("utf8"));
    } catch (error) {
      if (!(error instanceof BadMedia)) throw error;
    }
    takeCatalog(catalogOf(bytes));
  },
};

/** What another relay wrote on the board. */
export const moqRecord: Target = {
  name: "moq-record",
  seeds: [
    '{"node":"a.example:8443","costs":{"b.example:8443":10},"namespaces":[{"namespace":["live"],"epoch":5}]}',
  ].map((text) => Buffer.from(text)),
  run: (bytes) => {
    const record = readRecord(Buffer.from(bytes).toString("utf8"));
    for (const cost of Object.values(record?.costs ?? {})) if (!(cost >= 1)) throw new Error("a hop is free");
  },
};
