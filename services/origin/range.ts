/** What of a whole body a Range header asks for (RFC 9110 14.1.2): one range of bytes, or everything where it says anything else. */
export function rangeOf(
  header: string | undefined,
  length: number,
): { from: number; to: number } | "all" | "none" {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? "") ?? [];
  if (first === undefined || last === undefined || (first === "" && last === "")) return "all";
  const from = first === "" ? Math.max(0, length - Number(last)) : Number(first);
  const to = first === "" || last === "" ? length - 1 : Math.min(Number(last), length - 1);
  // 14.1.1: a last position before the first one makes it no range at all.
  if (first !== "" && last !== "" && Number(last) < from) return "all";
  return from > to ? "none" : { from, to };
}

/** The bytes from `from` to `to`, both included, of a body in pieces. */
export function cut(body: readonly Uint8Array[], { from, to }: { from: number; to: number }): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let start = 0;
  for (const piece of body) {
    const end = start + piece.length;
    if (end > from && start <= to)
      pieces.push(piece.subarray(Math.max(0, from - start), Math.min(piece.length, to + 1 - start)));
    start = end;
  }
  return pieces;
}
