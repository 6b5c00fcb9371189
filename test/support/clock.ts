/**
 * A picture that tells the time: 10 x 4 blocks, black or white, row by row the 32 bits of a number of milliseconds
 * (highest first) and 8 bits of check. Blocks survive any encoder and any scaling.
 */
export const clockColumns = 10;
export const clockRows = 4;

const white = 235;
const black = 16;

/** Draws `ms` into the luma plane at the front of a yuv420p frame. */
export function drawClock(frame: Uint8Array, width: number, height: number, ms: number): void {
  const bits = bitsOf(ms);
  for (let row = 0; row < clockRows; row++) {
    const top = Math.round((row * height) / clockRows);
    const bottom = Math.round(((row + 1) * height) / clockRows);
    for (let column = 0; column < clockColumns; column++) {
      const left = Math.round((column * width) / clockColumns);
      const right = Math.round(((column + 1) * width) / clockColumns);
      frame.fill(bits[row * clockColumns + column] ? white : black, top * width + left, top * width + right);
    }
    for (let y = top + 1; y < bottom; y++) frame.copyWithin(y * width, top * width, (top + 1) * width);
  }
}

/** The number in 40 brightness values (0..255), or undefined when they are not a clock. */
export function readClock(levels: ArrayLike<number>): number | undefined {
  let ms = 0;
  let check = 0;
  for (let i = 0; i < 40; i++) {
    const bit = levels[i]! > 127 ? 1 : 0;
    if (i < 32) ms = ms * 2 + bit;
    else check = check * 2 + bit;
  }
  return check === checkOf(ms) ? ms : undefined;
}

function bitsOf(ms: number): boolean[] {
  const check = checkOf(ms);
  return Array.from({ length: 40 }, (_, i) =>
    i < 32 ? ((ms >>> (31 - i)) & 1) === 1 : ((check >>> (39 - i)) & 1) === 1,
  );
}

/** Differs for a grey or a blank picture, and for any single block read wrong. */
function checkOf(ms: number): number {
  return ((Math.imul(ms ^ (ms >>> 15), 0x2c1b3c6d) >>> 11) ^ 0xa5) & 0xff;
}
