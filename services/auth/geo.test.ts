import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLog } from "../lib/log.ts";
import { type GeoFiles, openGeo } from "./geo.ts";

let folder: string;
let opened: GeoFiles | undefined;
const log = createLog("test", "silent", false);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "geo-"));
});
afterEach(async () => {
  await opened?.close();
  await rm(folder, { recursive: true });
});

const v4 = "# comment\n3221225984,3221226239,DE\n3325256704,3325256959,??\n3405803776,3405804031,AU\n";
const v6 =
  "# comment\n2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,FR\n2a00::,2a00:1:ffff:ffff:ffff:ffff:ffff:ffff,GB\n";

async function open(...contents: (string | Buffer)[]): Promise<GeoFiles> {
  const files = await Promise.all(
    contents.map(async (content, i) => {
      const file = join(folder, `${i}`);
      await writeFile(file, content);
      return file;
    }),
  );
  opened = openGeo({ files, log, changed: () => changed.resolve() });
  await opened.ready;
  changed = Promise.withResolvers();
  return opened;
}
let changed = Promise.withResolvers<void>();

test.for([
  ["192.0.2.0", "DE"],
  ["192.0.2.255", "DE"],
  ["192.0.3.0", undefined],
  ["198.51.100.1", undefined],
  ["203.0.113.5", "AU"],
  ["0.0.0.0", undefined],
  ["255.255.255.255", undefined],
  ["2001:db8::1", "FR"],
  ["2001:db9::1", undefined],
  ["2a00:1:ffff::", "GB"],
  ["::1", undefined],
] as const)("Tor's tables say of %s: %s", async ([address, country]) => {
  const { geo } = await open(v4, v6);
  expect(geo.country!(address)).toBe(country);
  expect(geo.asn).toBeUndefined();
});

test("a file that is none leaves no database, and rules refuse", async () => {
  const { geo } = await open("hello\n");
  expect(geo.country).toBeUndefined();
});

test("a new table counts as soon as it is written", async () => {
  const { geo } = await open(v4);
  expect(geo.country!("203.0.113.5")).toBe("AU");
  await writeFile(join(folder, "0"), v4.replace("AU", "NZ"));
  await changed.promise;
  expect(geo.country!("203.0.113.5")).toBe("NZ");
});

test("a table that is replaced by another file counts, each time", async () => {
  const { geo } = await open(v4);
  for (const country of ["NZ", "FJ", "PG"]) {
    changed = Promise.withResolvers();
    await writeFile(join(folder, "new"), v4.replace("AU", country));
    await rename(join(folder, "new"), join(folder, "0"));
    await changed.promise;
    expect(geo.country!("203.0.113.5")).toBe(country);
  }
});

test("an MMDB file of countries and one of networks", async () => {
  const { geo } = await open(
    mmdb("Test-Country", [map([["country", map([["iso_code", text("DE")]])]])]),
    mmdb("Test-ASN", [map([["autonomous_system_number", Buffer.from([0xc2, 0xfb, 0xf0])]])]),
  );
  // The tree has one bit: addresses below 128.0.0.0 have the record, the others none.
  expect([geo.country!("1.2.3.4"), geo.country!("200.2.3.4")]).toEqual(["DE", undefined]);
  expect(geo.asn!("1.2.3.4")).toBe(64_496);
  expect(geo.country!("2001:db8::1")).toBeUndefined();
});

/** MaxMind's format, as small as it gets: a tree of one node, its records, its description. */
function mmdb(type: string, records: Buffer[]): Buffer {
  const number = (value: number) => Buffer.from([0xc1, value]);
  const node = Buffer.from([0, 0, 1 + 16, 0, 0, 1]);
  return Buffer.concat([
    node,
    Buffer.alloc(16),
    ...records,
    Buffer.from("abcdef4d61784d696e642e636f6d", "hex"),
    map([
      ["node_count", number(1)],
      ["record_size", Buffer.from([0xa1, 24])],
      ["ip_version", Buffer.from([0xa1, 4])],
      ["database_type", text(type)],
      ["binary_format_major_version", Buffer.from([0xa1, 2])],
      ["binary_format_minor_version", Buffer.from([0xa1, 0])],
      ["build_epoch", Buffer.from([0x01, 0x02, 1])],
      ["languages", Buffer.from([0x00, 0x04])],
      ["description", map([])],
    ]),
  ]);
}
function text(value: string): Buffer {
  return Buffer.concat([
    Buffer.from(value.length < 29 ? [0x40 + value.length] : [0x5d, value.length - 29]),
    Buffer.from(value),
  ]);
}
function map(entries: [string, Buffer][]): Buffer {
  return Buffer.concat([
    Buffer.from([0xe0 + entries.length]),
    ...entries.flatMap(([key, value]) => [text(key), value]),
  ]);
}
