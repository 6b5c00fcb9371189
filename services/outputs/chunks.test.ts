import { expect, test } from "vitest";
import { bytesOf, concat } from "../../test/support/bytes.ts";
import { chunked, chunkSizeMessage } from "../../test/support/rtmp-client.ts";
import { BadMedia } from "../packager/bad-media.ts";
import { ChunkReader, chunksOf } from "./chunks.ts";

const payload = Uint8Array.from({ length: 300 }, (_, i) => i & 255);

test.for([
  { name: "a short message", timestampMs: 40, length: 5, chunkBytes: 128 },
  { name: "one of several chunks", timestampMs: 40, length: 300, chunkBytes: 128 },
  { name: "one that ends with its chunk", timestampMs: 0, length: 256, chunkBytes: 128 },
  { name: "a time just below the extended one", timestampMs: 0xfffffe, length: 300, chunkBytes: 128 },
  { name: "the first extended time", timestampMs: 0xffffff, length: 300, chunkBytes: 128 },
  { name: "a time past 49 days", timestampMs: 2 ** 32 + 5, length: 300, chunkBytes: 128 },
  { name: "nothing at all", timestampMs: 1, length: 0, chunkBytes: 128 },
])("$name goes out as encoders write it", ({ timestampMs, length, chunkBytes }) => {
  const message = { type: 9, timestampMs, payload: payload.subarray(0, length), streamId: 1 };
  const written = concat(chunksOf(message, 5, chunkBytes));
  expect(Buffer.compare(written, chunked(message, chunkBytes))).toBe(0);
});

test("what a server says is read however it comes in pieces, on several chunk streams at once", () => {
  const bytes = concat([
    chunked(chunkSizeMessage(100), 128),
    chunked({ type: 20, timestampMs: 0, payload, chunkStream: 3, streamId: 0 }, 100),
    chunked({ type: 20, timestampMs: 0xffffff, payload, chunkStream: 5, streamId: 1 }, 100),
    chunked({ type: 4, timestampMs: 7, payload: payload.subarray(0, 6), streamId: 0, delta: false }, 100),
  ]);
  for (const size of [1, 2, 7, 99, 1000]) {
    const reader = new ChunkReader();
    const read = [];
    for (let at = 0; at < bytes.length; at += size) read.push(...reader.push(bytes.subarray(at, at + size)));
    expect(read.map(({ type, streamId, payload: { length } }) => [type, streamId, length])).toEqual([
      [20, 0, 300],
      [20, 1, 300],
      [4, 0, 6],
    ]);
    expect(Buffer.compare(read[1]!.payload, payload)).toBe(0);
  }
});

test("chunks of two streams may alternate", () => {
  const [first, second] = [3, 4].map((chunkStream) => {
    const whole = chunked({ type: 20, timestampMs: 0, payload, chunkStream, streamId: 0 }, 128);
    return [whole.subarray(0, 140), whole.subarray(140, 269), whole.subarray(269)];
  });
  const reader = new ChunkReader();
  const read = [0, 1, 2].flatMap((i) => [...reader.push(first![i]!), ...reader.push(second![i]!)]);
  expect(read.map((message) => Buffer.compare(message.payload, payload))).toEqual([0, 0]);
});

test.for([
  { name: "a message of a megabyte", bytes: bytesOf("03 000000 100000 14 00000000") },
  { name: "a chunk stream that begins in the middle", bytes: bytesOf("c3") },
  { name: "chunks of no bytes", bytes: bytesOf("02 000000 000004 01 00000000 00000000") },
  { name: "a chunk size that is cut short", bytes: bytesOf("02 000000 000002 01 00000000 0001") },
  {
    name: "a message inside of another",
    bytes: concat([
      bytesOf("03 000000 000100 14 00000000"),
      payload.subarray(0, 128),
      bytesOf("03 000000 000100 14 00000000"),
      payload.subarray(0, 128),
    ]),
  },
  {
    name: "seventeen chunk streams",
    bytes: concat(
      Array.from({ length: 17 }, (_, i) =>
        bytesOf(`${(i + 3).toString(16).padStart(2, "0")} 000000 000000 14 00000000`),
      ),
    ),
  },
])("$name is not RTMP", ({ bytes }) => {
  expect(() => new ChunkReader().push(bytes)).toThrow(BadMedia);
});
