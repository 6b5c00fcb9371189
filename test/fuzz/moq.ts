import { ControlReader, draft16 } from "../../services/moq/codec/draft16.ts";
import { DataReader } from "../../services/moq/codec/objects.ts";
import { bytesOf } from "../support/bytes.ts";
import type { Target } from "./target.ts";

/** A control stream, in pieces of the size that its first byte says; what was read is written and read again to the same. */
export const moqControl: Target = {
  name: "moq-control",
  seeds: [
    "ff 20 0007 02 01 02 2f61 01 05 15 0001 20 10 0003 02 2f62",
    "03 03 001e 00 02 04 6c697665 03 6f6e65 07 636174616c6f67 04 10 01 10 4080 01 01 02 01 02 0a 0001 00",
    "40 04 0007 02 05 01 09 02 0703 05 0006 02 10 01 02 6e6f 0b 0005 02 02 03 00 00",
    "07 16 0019 04 01 02 04 6c697665 03 6f6e65 07 636174616c6f67 05 00 06 01 00 18 0005 04 01 07 03 00",
    "10 0d 0017 06 02 04 6c697665 03 6f6e65 03 6c6f67 01 03 05 03 00 6a7774 08 0005 01 03 6f6e65",
    "20 11 0009 00 01 04 6c697665 01 00 02 0009 02 00 01 21 04 04 05 00 06 0c 0004 02 01 01 61",
  ].map(bytesOf),
  run: (bytes) => {
    const reader = new ControlReader(draft16);
    const size = Math.max(1, bytes[0] ?? 1);
    for (let at = 1; at < bytes.length; at += size)
      for (const message of reader.push(bytes.subarray(at, at + size))) {
        const [again] = new ControlReader(draft16).push(draft16.encode(message));
        if (JSON.stringify(again) !== JSON.stringify(message))
          throw new Error(`${message.type} reads differently when it was written again`);
      }
  },
};

/** A stream of objects, likewise in pieces. */
export const moqObjects: Target = {
  name: "moq-objects",
  seeds: [
    "03 14 02 00 00 00 00 04 61626364 00 04 65666768",
    "ff 35 02 00 00 03 04 4201 04 61626364 00 00 04 65666768 00 00 00 03",
    "05 05 06 1c 04 00 80 01 aa 00 01 cc 1c 05 00 80 01 dd 408c 07 03",
  ].map(bytesOf),
  run: (bytes) => {
    let left = 0;
    const reader = new DataReader({
      header: () => {},
      object: ({ payload }) => {
        left += payload.length;
      },
    });
    const size = Math.max(1, bytes[0] ?? 1);
    for (let at = 1; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
    reader.end();
    if (left > bytes.length) throw new Error("more came out than went in");
  },
};
