import { type AmfObject, AmfReader, type AmfValue } from "../amf.ts";
import { BadMedia } from "../bad-media.ts";
import type { Colour, Hdr } from "../track.ts";

/** What a publisher says of its picture beside the bitstream. */
export interface ColourInfo {
  readonly colour: Colour | undefined;
  readonly hdr: Hdr | undefined;
}

const nothing: ColourInfo = { colour: undefined, hdr: undefined };

/** `colorInfo` of enhanced-rtmp-v2, "Metadata Frame", as AMF. Anything else, and what is damaged, says nothing: it is only a hint. */
export function readColour(body: Uint8Array): ColourInfo {
  let info: AmfValue;
  try {
    const reader = new AmfReader(body);
    if (reader.read() !== "colorInfo") return nothing;
    info = reader.read();
  } catch (error) {
    if (error instanceof BadMedia) return nothing;
    throw error;
  }
  const config = part(info, "colorConfig");
  const [primaries = 2, transfer = 2, matrix = 2] = [
    whole(config, "colorPrimaries", 255),
    whole(config, "transferCharacteristics", 255),
    whole(config, "matrixCoefficients", 255),
  ];
  const colour =
    transfer === 2 && primaries === 2 ? undefined : { primaries, transfer, matrix, fullRange: false };
  const hdr = { mastering: mastering(part(info, "hdrMdcv")), light: light(part(info, "hdrCll")) };
  return { colour, hdr: hdr.mastering || hdr.light ? hdr : undefined };
}

/** mdcv: chromaticities in steps of 0.00002 in the order green, blue, red, white; luminance in 0.0001 candela. */
function mastering(value: AmfValue): Uint8Array | undefined {
  const out = new DataView(new ArrayBuffer(24));
  const points = ["greenX", "greenY", "blueX", "blueY", "redX", "redY", "whitePointX", "whitePointY"];
  for (const [i, name] of points.entries()) {
    const at = number(value, name);
    if (at === undefined || !(at >= 0 && at <= 1)) return undefined;
    out.setUint16(2 * i, Math.round(at * 50_000));
  }
  const [most, least] = [number(value, "maxLuminance"), number(value, "minLuminance")];
  if (most === undefined || least === undefined || !(least >= 0 && most <= 100_000 && least < most))
    return undefined;
  out.setUint32(16, Math.round(most * 10_000));
  out.setUint32(20, Math.round(least * 10_000));
  return new Uint8Array(out.buffer);
}

/** clli: greatest light of a pixel, and of a picture on average, in candela. */
function light(value: AmfValue): Uint8Array | undefined {
  const most = whole(value, "maxCLL", 0xffff);
  const average = whole(value, "maxFall", 0xffff);
  if (most === undefined || average === undefined) return undefined;
  return Uint8Array.of(most >> 8, most & 255, average >> 8, average & 255);
}

function part(value: AmfValue, name: string): AmfValue {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  return (value as AmfObject)[name] ?? null;
}

function number(value: AmfValue, name: string): number | undefined {
  const found = part(value, name);
  return typeof found === "number" ? found : undefined;
}

function whole(value: AmfValue, name: string, most: number): number | undefined {
  const found = number(value, name);
  return found !== undefined && found >= 0 && found <= most ? Math.round(found) : undefined;
}
