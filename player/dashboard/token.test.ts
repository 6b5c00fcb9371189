import { expect, test } from "vitest";
import { claimsOf, type TokenDraft, tokenBodyOf } from "./token.ts";

const plain: TokenDraft = {
  seconds: 3_600,
  notBefore: "",
  downloadable: false,
  viewerId: " ",
  maxSessions: "",
  rules: [],
  keyId: "",
  pem: "",
};

test("what is left empty is not asked for", () => {
  expect(tokenBodyOf(plain, 1_000)).toEqual({ exp: 4_600 });
});

test("rules become lists, in their order", () => {
  const body = tokenBodyOf(
    {
      ...plain,
      downloadable: true,
      viewerId: "anna",
      maxSessions: "2",
      rules: [
        { type: "ip.src", action: "allow", values: "203.0.113.0/24, 2001:db8::/32" },
        { type: "ip.geoip.country", action: "allow", values: "de fr" },
        { type: "ip.geoip.asnum", action: "block", values: "AS64496" },
        { type: "any", action: "block", values: "" },
      ],
    },
    0,
  );
  expect(body).toEqual({
    exp: 3_600,
    downloadable: true,
    viewerId: "anna",
    maxSessions: 2,
    accessRules: [
      { type: "ip.src", action: "allow", ip: ["203.0.113.0/24", "2001:db8::/32"] },
      { type: "ip.geoip.country", action: "allow", country: ["DE", "FR"] },
      { type: "ip.geoip.asnum", action: "block", asnum: [64496] },
      { type: "any", action: "block" },
    ],
  });
});

test("a token is read back, and what is none is not", () => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  expect(claimsOf(`${part({ alg: "EdDSA" })}.${part({ sub: "ÿ?", exp: 5 })}.x`)).toMatchObject({ exp: 5 });
  expect(claimsOf("nothing")).toBeUndefined();
});
