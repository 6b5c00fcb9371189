/** One page of a bucket's listing. */
export interface Listing {
  readonly objects: readonly { readonly key: string; readonly bytes: number }[];
  /** Asks for the next page; undefined on the last. */
  readonly next: string | undefined;
}

/** An error as S3 writes it, its texts cut to a length that fits a log. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  /** The region that the bucket is in, where that was the mistake. */
  readonly region: string | undefined;
}

const longest = 300;
const mostObjects = 1_000;

/** A page of ListObjectsV2 with `encoding-type=url`; undefined when it is something else, as an error that came with a 200. */
export function parseListing(xml: string): Listing | undefined {
  if (!/<ListBucketResult[\s>]/.test(xml)) return undefined;
  const objects: { key: string; bytes: number }[] = [];
  for (let at = 0; ; ) {
    const found = inside(xml, "Contents", at);
    if (!found) break;
    const { inner } = found;
    at = found.end;
    const key = decoded(textOf(inner, "Key"));
    const size = textOf(inner, "Size");
    if (key === undefined || !/^\d{1,15}$/.test(size ?? "") || objects.length === mostObjects)
      return undefined;
    objects.push({ key, bytes: Number(size) });
  }
  const token = textOf(xml, "NextContinuationToken");
  const more = textOf(xml, "IsTruncated") === "true";
  if (more && !token) return undefined;
  return { objects, next: more ? token : undefined };
}

/** The error in a body; undefined where there is none. */
export function parseRefusal(xml: string): Refusal | undefined {
  const inner = inside(xml, "Error", 0)?.inner;
  if (inner === undefined) return undefined;
  const short = (name: string): string => (textOf(inner, name) ?? "").slice(0, longest);
  return { code: short("Code"), message: short("Message"), region: short("Region") || undefined };
}

/** What stands in the next element of that name. */
function inside(xml: string, name: string, from: number): { inner: string; end: number } | undefined {
  const start = xml.indexOf(`<${name}>`, from);
  const end = start < 0 ? -1 : xml.indexOf(`</${name}>`, start);
  return end < 0 ? undefined : { inner: xml.slice(start + name.length + 2, end), end };
}

/** The first element of that name that has nothing but text in it. */
function textOf(xml: string, name: string): string | undefined {
  const raw = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
  return raw?.replace(/&(lt|gt|quot|apos|amp|#\d{1,6}|#x[0-9a-f]{1,5});/gi, (_, what: string) => {
    if (!what.startsWith("#")) return entities[what.toLowerCase()]!;
    const code = Number(what[1]?.toLowerCase() === "x" ? `0${what.slice(1)}` : what.slice(1));
    return code <= 0x10_ffff ? String.fromCodePoint(code) : "";
  });
}

const entities: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

function decoded(key: string | undefined): string | undefined {
  if (!key) return undefined;
  try {
    return decodeURIComponent(key.replaceAll("+", " "));
  } catch {
    return undefined;
  }
}
