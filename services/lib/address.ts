import { BlockList, isIP } from "node:net";

/** A set of networks; built once, asked often. */
export interface Networks {
  has(address: string): boolean;
}

/** An address as everything here compares it: IPv4 in IPv6 clothes is IPv4, a zone is nobody's business. */
export function plainAddress(address: string): string {
  const bare = address.replace(/%.*$/, "");
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare);
  return mapped ? mapped[1]! : bare;
}

/** The networks of a list of addresses and CIDRs, v4 and v6; undefined when one of them is neither. */
export function networksOf(list: readonly string[]): Networks | undefined {
  const blocks = new BlockList();
  for (const entry of list) {
    const [given = "", bits, more] = entry.split("/");
    const address = plainAddress(given);
    const family = isIP(address);
    const most = family === 4 ? 32 : 128;
    if (family === 0 || more !== undefined || (bits !== undefined && !/^\d{1,3}$/.test(bits)))
      return undefined;
    const prefix = bits === undefined ? most : Number(bits) - (family === 4 && isIP(given) === 6 ? 96 : 0);
    if (prefix < 0 || prefix > most) return undefined;
    blocks.addSubnet(address, prefix, family === 4 ? "ipv4" : "ipv6");
  }
  return {
    has(address) {
      const family = isIP(address);
      return family !== 0 && blocks.check(address, family === 4 ? "ipv4" : "ipv6");
    },
  };
}

/**
 * Who really asks: the peer of the socket, or, where that is a trusted proxy, the last address of X-Forwarded-For that
 * no trusted proxy has. What stands to the left of it is the client's own invention.
 */
export function clientAddress(peer: string, forwarded: string | undefined, trusted: Networks): string {
  let address = plainAddress(peer);
  const hops = forwarded?.split(",") ?? [];
  while (hops.length > 0 && trusted.has(address)) {
    const hop = plainAddress(
      hops
        .pop()!
        .trim()
        .replace(/^\[|\]$/g, ""),
    );
    // A proxy that writes something else is not understood: the last known address counts.
    if (isIP(hop) === 0) break;
    address = hop;
  }
  return address;
}

/** Who an address counts for where places and tries are counted: itself, or the /64 that one subscriber of IPv6 has to himself. */
export function accountOf(address: string): string {
  const plain = plainAddress(address);
  return plain.includes(":") ? `${networkOf(plain).map(hex).join(":")}::/64` : plain;
}

/** The block that one household or one phone network gives to one subscriber: /24 of v4, /56 of v6. */
export function blockOf(address: string): string {
  if (isIP(address) !== 6) return address.split(".").slice(0, 3).join(".");
  return networkOf(address)
    .map((group, i) => hex(group >> (i === 3 ? 8 : 0)))
    .join(":");
}

const hex = (group: number) => group.toString(16);

/** The first four groups of an IPv6 address. */
function networkOf(address: string): number[] {
  const [head = "", tail] = address.split("::");
  const left = head ? head.split(":") : [];
  const right = tail ? tail.split(":") : [];
  const zeros = Array<string>(Math.max(0, 8 - left.length - right.length)).fill("0");
  return [...left, ...zeros, ...right].slice(0, 4).map((group) => Number.parseInt(group, 16));
}
