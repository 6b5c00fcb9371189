import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, concat } from "../../test/support/bytes.ts";
import { AmfReader, type AmfValue, writeAmf } from "./amf.ts";

const read = (hex: string): AmfValue => new AmfReader(bytesOf(hex)).read();

describe("AmfReader", () => {
  test.for([
    { name: "number", hex: "00 3ff8000000000000", value: 1.5 },
    { name: "boolean", hex: "01 01", value: true },
    { name: "string", hex: "02 0003 616263", value: "abc" },
    { name: "object", hex: "03 0001 61 01 00 0000 09", value: { a: false } },
    { name: "null", hex: "05", value: null },
    { name: "undefined", hex: "06", value: null },
    { name: "reference", hex: "07 0001", value: null },
    { name: "ECMA array", hex: "08 00000007 0001 61 01 01 0000 09", value: { a: true } },
    { name: "ECMA array without its end marker", hex: "08 00000001 0001 61 01 01", value: { a: true } },
    { name: "strict array", hex: "0a 00000002 05 01 01", value: [null, true] },
    { name: "date", hex: "0b 4059000000000000 0000", value: 100 },
    { name: "long string", hex: "0c 00000003 616263", value: "abc" },
    { name: "unsupported", hex: "0d", value: null },
    { name: "XML", hex: "0f 00000003 3c612f", value: "<a/" },
    { name: "typed object", hex: "10 0001 54 0001 61 05 0000 09", value: { a: null } },
    { name: "an empty key that is no end", hex: "03 0000 01 01 0000 09", value: { "": true } },
  ])("reads $name", ({ hex, value }) => expect(read(hex)).toEqual(value));

  test("a key named __proto__ is only a key", () => {
    const value = read("03 0009 5f5f70726f746f5f5f 03 0001 61 01 01 0000 09 0000 09");
    expect(Object.getPrototypeOf(value)).toBeNull();
    expect(Object.keys(value as object)).toEqual(["__proto__"]);
  });

  test.for([
    { name: "nothing at all", hex: "" },
    { name: "a number cut short", hex: "00 3ff8" },
    { name: "a string longer than the bytes", hex: "02 ffff 61" },
    { name: "an object without end", hex: "03 0001 61 05" },
    { name: "an array of four billion values", hex: "0a ffffffff 05" },
    { name: "a movie clip", hex: "04" },
    { name: "an object end where a value belongs", hex: "09" },
    { name: "AMF3", hex: "11 01" },
    { name: "a string of 65,537 bytes", hex: `0c 00010001 ${"61".repeat(65_537)}` },
    { name: "arrays nested 17 deep", hex: `${"0a 00000001".repeat(17)} 05` },
    { name: "4,097 values", hex: `0a 00001000 ${"05".repeat(4096)}` },
  ])("refuses $name", ({ hex }) =>
    expect(() => read(hex)).toThrow(expect.objectContaining({ name: "BadMedia", code: "bad_flv" })),
  );
});

const anyValue: fc.Arbitrary<AmfValue> = fc.letrec<{ value: AmfValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.double({ noNaN: true }),
    fc.boolean(),
    fc.string({ unit: "grapheme", maxLength: 40 }),
    fc.constant(null),
    fc.array(tie("value"), { maxLength: 5 }),
    fc.dictionary(fc.string({ maxLength: 10 }), tie("value"), { maxKeys: 5 }),
  ),
})).value;

test("what is written is read back", () => {
  fc.assert(
    fc.property(anyValue, (value) => {
      expect(new AmfReader(writeAmf([value])).read()).toEqual(value);
    }),
  );
});

test("values stand one after the other, and a text of more than 65,535 bytes is a long string", () => {
  const long = "é".repeat(32_768);
  const reader = new AmfReader(concat([writeAmf(["publish", 5]), writeAmf([null])]));
  expect([reader.read(), reader.read(), reader.done, reader.read(), reader.done]).toEqual([
    "publish",
    5,
    false,
    null,
    true,
  ]);
  expect(new AmfReader(writeAmf([long])).read()).toBe(long);
});
