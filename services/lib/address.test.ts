import { expect, test } from "vitest";
import { accountOf, blockOf, clientAddress, networksOf } from "./address.ts";

const proxies = networksOf(["10.0.0.0/8", "fd00::/8"])!;

test.for([
  ["nobody forwards", "192.0.2.1", undefined, "192.0.2.1"],
  ["a viewer invents an address", "192.0.2.1", "203.0.113.9", "192.0.2.1"],
  ["a proxy names the viewer", "10.0.0.1", "203.0.113.9", "203.0.113.9"],
  ["a viewer invents one before the proxy adds", "10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"],
  ["two proxies", "10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"],
  ["a proxy over IPv6 clothes", "::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"],
  ["a viewer over IPv6", "fd00::1", "[2001:db8::7]", "2001:db8::7"],
  ["a proxy says nothing that is an address", "10.0.0.1", "unknown", "10.0.0.1"],
  ["everybody is a proxy", "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
] as const)("%s", ([, peer, forwarded, client]) =>
  expect(clientAddress(peer, forwarded, proxies)).toBe(client),
);

test.for(["1.2.3.4/33", "1.2.3", "x", "::1/129", "1.2.3.4/8/8", "::ffff:1.2.3.4/64", "1.2.3.4/-1"])(
  "%s is no network",
  (text) => expect(networksOf([text])).toBeUndefined(),
);

test.for([
  ["192.0.2.77", "192.0.2"],
  ["2001:db8:1:22ff::1", "2001:db8:1:22"],
  ["2001:db8::1", "2001:db8:0:0"],
] as const)("the block of %s is %s", ([address, block]) => expect(blockOf(address)).toBe(block));

test.for([
  ["192.0.2.7", "192.0.2.7"],
  ["::ffff:192.0.2.7", "192.0.2.7"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:DB8:1:0002::9", "2001:db8:1:2::/64"],
  ["2001:db8::9", "2001:db8:0:0::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
])("%s counts for %s", ([address, account]) => expect(accountOf(address!)).toBe(account));
