/** What is longer nobody asks twice, or it is somebody who wants to fill this. */
const longest = 256;

/**
 * `make`, called once for what many ask in the same words: its answers for the last `most` texts or so are shared, so nobody may
 * change them.
 */
export function remembered<T>(most: number, make: (text: string) => T): (text: string) => T {
  let known = new Map<string, T>();
  let before = known;
  return (text) => {
    if (text.length > longest) return make(text);
    const found = known.get(text);
    if (found !== undefined) return found;
    const made = before.get(text) ?? make(text);
    if (known.size >= most) {
      before = known;
      known = new Map();
    }
    known.set(text, made);
    return made;
  };
}
