import { joined } from "./bits.ts";
import { unescaped } from "./nal.ts";

/**
 * Captions as pictures carry them: ATSC A/53 cc_data (ANSI/CTA-708-E 4.3), here as its triplets alone, each one byte of
 * `11111 cc_valid(1) cc_type(2)` and two of data. Types 0 and 1 are the fields of CEA-608, 3 begins a packet of CEA-708, 2 goes on with it.
 */
export type Triplets = Uint8Array;

/** cc_count has five bits. */
export const mostTriplets = 31;
/** Real ones have about 100 bytes; an encoder's letter may be longer and has none. */
const maxUnit = 4096;
/** Each with the count of its triplets; no encoder sends more than one. */
const maxMessages = 4;
/** user_data_registered_itu_t_t35 (ISO/IEC 14496-10 D.1.6, 23008-2 D.2.6). */
const registered = 4;
/** United States, ATSC, `GA94`, user_data_type_code of cc_data. */
const captionsHead = [0xb5, 0x00, 0x31, 0x47, 0x41, 0x39, 0x34, 0x03];
/** United States, Samsung, 1, and the application identifier of ST 2094-40. */
const hdr10PlusHead = [0xb5, 0x00, 0x3c, 0x00, 0x01, 0x04];

/** The captions in a supplemental information NAL unit, whose header has so many bytes; undefined for none. Never throws. */
function captionsInSei(unit: Uint8Array, headerBytes: number): Triplets | undefined {
  if (!hasRun(unit, captionsHead)) return undefined;
  return together(registeredIn(unit, headerBytes).flatMap((message) => captionsInT35(message) ?? []));
}

/** Whether an access unit has HDR10+ (SMPTE ST 2094-40) in its supplemental information. */
export function hasHdr10Plus(units: readonly Uint8Array[], headerBytes: number): boolean {
  return units.some(
    (unit) => hasRun(unit, hdr10PlusHead) && registeredIn(unit, headerBytes).some(isHdr10Plus),
  );
}

/** Whether an ITU-T T.35 message, from its country code on, is HDR10+. */
export function isHdr10Plus(message: Uint8Array): boolean {
  return hdr10PlusHead.every((byte, i) => message[i] === byte);
}

/** Its messages of ITU-T T.35. */
function registeredIn(unit: Uint8Array, headerBytes: number): Uint8Array[] {
  if (unit.length > maxUnit) return [];
  const plain = unescaped(unit);
  const found: Uint8Array[] = [];
  let at = headerBytes;
  // The last byte is that of the trailing bits.
  while (at + 2 < plain.length && found.length < maxMessages) {
    let type = 0;
    let size = 0;
    while (plain[at] === 0xff) type += plain[at++]!;
    type += plain[at++] ?? 0;
    while (plain[at] === 0xff) size += plain[at++]!;
    size += plain[at++] ?? 0;
    if (size > plain.length - at) break;
    if (type === registered) found.push(plain.subarray(at, at + size));
    at += size;
  }
  return found;
}

/** The captions in all supplemental information of an access unit. */
export function captionsInUnits(units: readonly Uint8Array[], headerBytes: number): Triplets | undefined {
  return together(units.flatMap((unit) => captionsInSei(unit, headerBytes) ?? []));
}

/** The captions in an ITU-T T.35 message from its country code on; undefined for none. Never throws. */
export function captionsInT35(message: Uint8Array): Triplets | undefined {
  return captionsHead.every((byte, i) => message[i] === byte)
    ? captionsInData(message.subarray(captionsHead.length))
    : undefined;
}

/** The captions in cc_data: its flags and count, a reserved byte, triplets. Undefined for none. Never throws. */
export function captionsInData(data: Uint8Array): Triplets | undefined {
  const flags = data[0] ?? 0;
  // process_cc_data_flag
  if ((flags & 0x40) === 0) return undefined;
  const count = Math.min(flags & 31, Math.floor((data.length - 2) / 3));
  const valid: number[] = [];
  for (let at = 2; at < 2 + 3 * count; at += 3)
    if (data[at]! & 4) valid.push(data[at]! | 0xf8, data[at + 1]!, data[at + 2]!);
  return valid.length > 0 ? Uint8Array.from(valid) : undefined;
}

/** A supplemental information NAL unit of H.264 with up to 31 triplets, behind its length of four bytes. */
export function captionsUnit(triplets: Triplets): Uint8Array {
  const count = Math.min(mostTriplets, Math.floor(triplets.length / 3));
  const size = captionsHead.length + 3 + 3 * count;
  const content = [
    registered,
    size,
    ...captionsHead,
    0xc0 | count,
    0xff,
    ...triplets.subarray(0, 3 * count),
    0xff,
    0x80,
  ];
  // nal_ref_idc 0, type 6; then 7.4.1: no two zeros before 0 to 3.
  const unit = [6];
  let zeros = 0;
  for (const byte of content) {
    if (zeros >= 2 && byte <= 3) {
      unit.push(3);
      zeros = 0;
    }
    unit.push(byte);
    zeros = byte === 0 ? zeros + 1 : 0;
  }
  return Uint8Array.of(0, 0, unit.length >> 8, unit.length & 255, ...unit);
}

/** One after the other; undefined for none. */
export function together(pieces: readonly Triplets[]): Triplets | undefined {
  return pieces.length <= 1 ? pieces[0] : joined(pieces);
}

/** These have no two zeros in a row, so they stand in the escaped bytes as they are: almost every unit is done with here. */
function hasRun(unit: Uint8Array, run: readonly number[]): boolean {
  for (let at = unit.indexOf(run[0]!); at >= 0; at = unit.indexOf(run[0]!, at + 1))
    if (run.every((byte, i) => unit[at + i] === byte)) return true;
  return false;
}
