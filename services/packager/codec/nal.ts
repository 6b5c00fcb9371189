/** What becomes of a NAL unit in a sample: a parameter set is for the sample entry alone, `told` is kept and may say something. */
export type Role = "dropped" | "set" | "kept" | "told" | "picture" | "key";

const numbers = { dropped: 0, set: 1, kept: 2, told: 3, picture: 4, key: 5 } as const;

/** A table of roles by the first byte of a NAL unit, for `cleanUnits`. */
export function rolesOf(role: (header: number) => Role): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, header) => numbers[role(header)]);
}

export interface CleanedUnits {
  readonly key: boolean;
  readonly picture: boolean;
  /** Views into the input with 4-byte lengths; together they are the sample. */
  readonly pieces: readonly Uint8Array[];
  /** Parameter sets that came in band, without padding. */
  readonly sets: readonly Uint8Array[];
  /** Supplemental information: views, as they came. */
  readonly told: readonly Uint8Array[];
}

const noSets: readonly Uint8Array[] = [];

/**
 * One access unit of NAL units behind lengths of `lengthSize` bytes, without those that `roles` drops. Nothing is copied.
 * Undefined where the lengths do not fit the bytes.
 */
export function cleanUnits(
  data: Uint8Array,
  lengthSize: number,
  roles: Uint8Array,
): CleanedUnits | undefined {
  const pieces: Uint8Array[] = [];
  let sets: Uint8Array[] | undefined;
  let told: Uint8Array[] | undefined;
  let from = 0; // of the run of units that are kept
  let at = 0;
  let key = false;
  let picture = false;
  while (at + lengthSize <= data.length) {
    let length = data[at]!;
    for (let i = 1; i < lengthSize; i++) length = length * 256 + data[at + i]!;
    const start = at + lengthSize;
    if (length > data.length - start) return undefined;
    const end = start + length;
    const role = length === 0 ? numbers.dropped : roles[data[start]!]!;
    if (role <= numbers.set) {
      if (from < at) pieces.push(data.subarray(from, at));
      from = end;
      if (role === numbers.set) {
        sets ??= [];
        sets.push(withoutPadding(data.subarray(start, end)));
      }
    } else {
      if (role >= numbers.picture) picture = true;
      if (role === numbers.key) key = true;
      if (role === numbers.told) {
        told ??= [];
        told.push(data.subarray(start, end));
      }
      if (lengthSize !== 4) {
        pieces.push(
          Uint8Array.of(length >>> 24, length >>> 16, length >>> 8, length),
          data.subarray(start, end),
        );
        from = end;
      }
    }
    at = end;
  }
  // Fewer bytes than a length are left: zeros are padding, anything else is damage.
  for (let i = at; i < data.length; i++) if (data[i] !== 0) return undefined;
  if (from < at) pieces.push(data.subarray(from, at));
  return { key, picture, pieces, sets: sets ?? noSets, told: told ?? noSets };
}

/** A NAL unit never ends in zeros (ISO/IEC 14496-10 7.4.1), but encoders append some to the parameter sets that they send in band. */
export function withoutPadding(unit: Uint8Array): Uint8Array {
  let end = unit.length;
  while (end > 1 && unit[end - 1] === 0) end--;
  return unit.subarray(0, end);
}

/** Takes out the 3 of each 00 00 03: 7.4.1. */
export function unescaped(unit: Uint8Array): Uint8Array {
  const out = new Uint8Array(unit.length);
  let length = 0;
  let zeros = 0;
  for (const byte of unit) {
    if (zeros >= 2 && byte === 3) {
      zeros = 0;
      continue;
    }
    zeros = byte === 0 ? zeros + 1 : 0;
    out[length++] = byte;
  }
  return out.subarray(0, length);
}

/** Annex B, where a length belongs. */
export function startsWithStartCode(bytes: Uint8Array): boolean {
  return bytes[0] === 0 && bytes[1] === 0 && (bytes[2] === 1 || (bytes[2] === 0 && bytes[3] === 1));
}
