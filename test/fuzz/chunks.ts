import { ChunkReader } from "../../services/outputs/chunks.ts";
import { AmfReader } from "../../services/packager/amf.ts";
import { bytesOf, concat } from "../support/bytes.ts";
import { chunked, chunkSizeMessage, command } from "../support/rtmp-client.ts";
import type { Target } from "./target.ts";

function read(bytes: Uint8Array, size: number): string[] {
  const reader = new ChunkReader();
  const said: string[] = [];
  for (let at = 0; at < bytes.length; at += size)
    for (const { type, streamId, timestampMs, payload } of reader.push(bytes.subarray(at, at + size))) {
      said.push(`${type} ${streamId} ${timestampMs} ${Buffer.from(payload).toString("hex")}`);
      if (type !== 20) continue;
      const amf = new AmfReader(payload);
      while (!amf.done) amf.read();
    }
  return said;
}

/** What the server of another service says to us. However it is cut into packets, the same comes of it. */
export const chunks: Target = {
  name: "chunks",
  seeds: [
    concat([
      chunked({ type: 5, timestampMs: 0, payload: bytesOf("002625a0"), streamId: 0 }, 128),
      chunked(chunkSizeMessage(4096), 128),
      chunked(
        command(
          "_result",
          1,
          { fmsVer: "FMS/3,0,1,123", fourCcList: ["hvc1"], capsEx: 4 },
          { code: "NetConnection.Connect.Success" },
        ),
        4096,
      ),
      chunked(command("onStatus", 0, null, { level: "error", code: "NetStream.Publish.BadName" }), 4096),
    ]),
    chunked(command("_error", 1, null, { description: "x".repeat(300) }), 128),
    bytesOf("00 00 ffffff 000006 04 00000000 01000000 0006 00000001 c0 00"),
    bytesOf("01 0010 000000 000006 04 00000000 0006 00000001 41 0010 000001 000002 04 0101"),
  ],
  run(bytes) {
    const whole = read(bytes, bytes.length || 1);
    const pieces = read(bytes, 1 + (bytes.length % 89));
    if (whole.join() !== pieces.join()) throw new Error("other packets, other meaning");
  },
};
