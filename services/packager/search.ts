/**
 * The first index from `from` on of which `holds` is true, `count` where there is none. Once it is true of an index it has
 * to be true of all that follow.
 */
export function firstOf(count: number, holds: (index: number) => boolean, from = 0): number {
  let low = from;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
