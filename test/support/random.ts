/** mulberry32: the same numbers for the same seed everywhere. */
export function randomOf(from: number): () => number {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The same as whole numbers, from 0 up to but not including what is asked. */
export function belowOf(from: number): (end: number) => number {
  const random = randomOf(from);
  return (end) => Math.floor(random() * end);
}
