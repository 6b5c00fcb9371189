/** One way to play the broadcast that a viewer can ask for. */
export interface Quality {
  /** What a menu shows and what is remembered, e.g. "720p60". Unique in a list. */
  readonly name: string;
  /** Of the picture's shorter side; 0 for sound alone. */
  readonly height: number;
  /** 0 where it is not known. */
  readonly bitsPerSecond: number;
}

/** What stands for the engine's own choice among all qualities that have a picture. */
export const AUTO = "auto";
/** The name of the quality without a picture. */
export const SOUND_ALONE = "Audio only";

/** A variant as playlists describe it; 0 where a figure is absent. */
export interface Variant {
  readonly width: number;
  readonly height: number;
  readonly frameRate: number;
  /** Bits per second. */
  readonly bitrate: number;
}

/** Up to this rate nobody expects a number behind the height. */
const PLAIN_FRAME_RATE = 31;

/** A quality for each variant, in their order; equal heights are told apart by rate, then by bits. */
export function qualitiesOf(variants: readonly Variant[]): Quality[] {
  const plain = variants.map(nameOf);
  const names = plain.map((name, index) =>
    plain.filter((other) => other === name).length === 1 ? name : `${name} ${bits(variants[index]!.bitrate)}`,
  );
  return variants.map(({ width, height, bitrate }, index) => {
    // Two that differ in nothing that is declared are still two.
    const same = names.slice(0, index).filter((name) => name === names[index]).length;
    const name = same === 0 ? names[index]! : `${names[index]} (${same + 1})`;
    return { name, height: shorter(width, height), bitsPerSecond: bitrate };
  });
}

/**
 * The quality that a remembered `choice` means here: itself, else one of its height, else the next lower, else the lowest.
 * Undefined for the engine's own choice, or where the choice cannot be had.
 */
export function qualityFor(qualities: readonly Quality[], choice: string): Quality | undefined {
  const exact = qualities.find(({ name }) => name === choice);
  const height = Number(/^(\d+)p/.exec(choice)?.[1] ?? Number.NaN);
  if (exact || Number.isNaN(height)) return exact;
  const pictures = qualities.filter((one) => one.height > 0).toSorted((a, b) => b.height - a.height);
  return pictures.find((one) => one.height <= height) ?? pictures.at(-1);
}

function nameOf({ width, height, frameRate, bitrate }: Variant): string {
  const side = shorter(width, height);
  if (side === 0) return bits(bitrate);
  return `${side}p${frameRate > PLAIN_FRAME_RATE ? Math.round(frameRate) : ""}`;
}

const shorter = (width: number, height: number) => Math.min(width || height, height);

function bits(bitsPerSecond: number): string {
  return bitsPerSecond >= 1e6
    ? `${(bitsPerSecond / 1e6).toFixed(1)} Mb/s`
    : `${Math.round(bitsPerSecond / 1000)} kb/s`;
}
