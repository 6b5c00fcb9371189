import { existsSync, type FSWatcher, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { isIPv6 } from "node:net";
import { basename, dirname } from "node:path";
import { setImmediate as breathe } from "node:timers/promises";
import { type CountryResponse, Reader } from "mmdb-lib";
import { plainAddress } from "../lib/address.ts";
import { messageOf } from "../lib/errors.ts";
import type { Running } from "../lib/lifecycle.ts";
import type { Log } from "../lib/log.ts";
import type { Geo } from "./rules.ts";

/** Where Debian's package tor-geoipdb puts its tables; read when no other file is named. */
const usual = ["/usr/share/tor/geoip", "/usr/share/tor/geoip6"];
/** An update writes for a while; the file is read when it has been quiet for this long. */
const quietMs = 500;

/** Databases of places, read in the background and again whenever a file changes. */
export interface GeoFiles extends Running {
  readonly geo: Geo;
  /** Settles when the first reading is done. */
  readonly ready: Promise<void>;
}

/** Follows MMDB files (country, ASN) and Tor's text tables; what cannot be read answers nothing, and rules about it refuse. */
export function openGeo(options: {
  readonly files: readonly string[];
  readonly log: Log;
  readonly changed: () => void;
}): GeoFiles {
  const { log, changed } = options;
  const files = options.files.length > 0 ? options.files : usual.filter((file) => existsSync(file));
  const tables = new Map<string, Table>();
  const watchers: FSWatcher[] = [];
  const timers = new Map<string, NodeJS.Timeout>();
  const done = Promise.withResolvers<void>();
  let closed = false;
  const load = async (file: string): Promise<void> => {
    try {
      const table = await readTable(file);
      if (closed) return;
      tables.set(file, table);
      log.info({ file, knows: table.knows }, "places of addresses are known");
    } catch (error) {
      // What was read before goes on: an update in the middle of its writing is no reason to refuse viewers.
      log.error(
        { file, err: messageOf(error) },
        "cannot read where addresses lie; rules about places refuse",
      );
    }
    changed();
  };
  const all = () => [...tables.values()];
  const lookup = <T>(knows: "country" | "asn", of: (place: Place) => T | undefined) => {
    const able = all().filter((table) => table.knows.includes(knows));
    if (able.length === 0) return undefined;
    return (address: string): T | undefined => {
      for (const table of able) {
        const place = table.find(address);
        const found = place && of(place);
        if (found !== undefined) return found;
      }
      return undefined;
    };
  };
  for (const file of files) {
    const deaf = (error: unknown) =>
      log.warn({ file, err: messageOf(error) }, "updates of this file need a restart");
    try {
      // Its folder: an update puts another file in its place, and after that nothing is heard of this one.
      const watcher = watch(dirname(file), { persistent: false }, (_event, name) => {
        if (name !== null && name !== basename(file)) return;
        clearTimeout(timers.get(file));
        timers.set(file, setTimeout(() => void load(file), quietMs).unref());
      });
      watchers.push(watcher.on("error", deaf));
    } catch (error) {
      deaf(error);
    }
  }
  return {
    ready: (async () => {
      for (const file of files) await load(file);
    })(),
    geo: {
      get country() {
        return lookup("country", (place) => place.country);
      },
      get asn() {
        return lookup("asn", (place) => place.asn);
      },
    },
    closed: done.promise,
    async close() {
      closed = true;
      for (const watcher of watchers) watcher.close();
      for (const timer of timers.values()) clearTimeout(timer);
      done.resolve();
    },
  };
}

interface Place {
  readonly country: string | undefined;
  readonly asn: number | undefined;
}

interface Table {
  readonly knows: readonly ("country" | "asn")[];
  find(address: string): Place | undefined;
}

async function readTable(file: string): Promise<Table> {
  const bytes = await readFile(file);
  // The metadata of an MMDB file begins with these bytes, near its end.
  const marker = Buffer.from("abcdef4d61784d696e642e636f6d", "hex");
  return bytes.subarray(-131_072).includes(marker) ? mmdb(bytes) : torTable(bytes.toString("latin1"));
}

function mmdb(bytes: Buffer): Table {
  const reader = new Reader<CountryResponse>(bytes);
  const asn = /asn|isp|enterprise/i.test(reader.metadata.databaseType);
  const country = /country|city|enterprise|location/i.test(reader.metadata.databaseType) || !asn;
  return {
    knows: [...(country ? (["country"] as const) : []), ...(asn ? (["asn"] as const) : [])],
    find(address) {
      // A file of IPv4 alone must not answer for IPv6.
      if (isIPv6(address) && reader.metadata.ipVersion !== 6) return undefined;
      const found = reader.get(address) as Record<string, unknown> | null;
      if (!found) return undefined;
      const inner = found.country as { iso_code?: unknown } | string | undefined;
      const code = typeof inner === "string" ? inner : (inner?.iso_code ?? found.country_code);
      const number = Number(found.autonomous_system_number ?? found.asn);
      return {
        country: typeof code === "string" ? code.toUpperCase() : undefined,
        asn: Number.isSafeInteger(number) ? number : undefined,
      };
    },
  };
}

/** Tor's tables: sorted lines `first,last,CC`, IPv4 as numbers, IPv6 as addresses, of which the first half tells countries apart. */
async function torTable(text: string): Promise<Table> {
  const lines = text.split("\n");
  const v6 = lines.some((line) => !line.startsWith("#") && line.includes(":"));
  const first = new BigUint64Array(lines.length);
  const last = new BigUint64Array(lines.length);
  const country = new Array<string>(lines.length);
  let count = 0;
  for (const [i, line] of lines.entries()) {
    // Half a million lines: whoever watches meanwhile must not wait for them.
    if (i % 5_000 === 4_999) await breathe();
    if (line === "" || line.startsWith("#")) continue;
    const [from = "", to = "", code = ""] = line.split(",");
    const [low, high] = v6 ? [upperHalf(from), upperHalf(to)] : [BigInt(from), BigInt(to)];
    if (!/^[A-Z0-9?]{2}$/.test(code.trim()) || (count > 0 && low < last[count - 1]!))
      throw new Error(`line ${i + 1} is not sorted "first,last,country"`);
    first[count] = low;
    last[count] = high;
    country[count++] = code.trim();
  }
  if (count === 0) throw new Error("holds no ranges");
  return {
    knows: ["country"],
    find(address) {
      if (isIPv6(address) !== v6) return undefined;
      const wanted = v6 ? upperHalf(address) : numberOf(address);
      let low = 0;
      let high = count - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (first[middle]! <= wanted) low = middle;
        else high = middle - 1;
      }
      const inside = first[low]! <= wanted && wanted <= last[low]!;
      return inside && country[low] !== "??" ? { country: country[low], asn: undefined } : undefined;
    },
  };
}

function numberOf(address: string): bigint {
  return BigInt(address.split(".").reduce((sum, byte) => sum * 256 + Number(byte), 0));
}

/** The first 64 bits of an IPv6 address. */
function upperHalf(address: string): bigint {
  const bare = plainAddress(address.trim());
  if (!isIPv6(bare)) throw new Error(`"${address}" is not an IPv6 address`);
  const [head = "", tail] = bare.split("::");
  const left = head ? head.split(":") : [];
  const right = tail ? tail.split(":") : [];
  // The last group may be written as IPv4, which fills two.
  const width = left.length + right.length + (bare.includes(".") ? 1 : 0);
  const groups = tail === undefined ? left : [...left, ...Array<string>(8 - width).fill("0"), ...right];
  return groups.slice(0, 4).reduce((sum, group) => sum * 65_536n + BigInt(Number.parseInt(group, 16)), 0n);
}
