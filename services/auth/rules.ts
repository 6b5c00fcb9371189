import { type Networks, networksOf } from "../lib/address.ts";

type Action = "allow" | "block";

/** One access rule of a token, read and checked. */
export type Rule =
  | { readonly type: "any"; readonly action: Action }
  | { readonly type: "ip.src"; readonly action: Action; readonly networks: Networks }
  | { readonly type: "ip.geoip.country"; readonly action: Action; readonly countries: ReadonlySet<string> }
  | { readonly type: "ip.geoip.asnum"; readonly action: Action; readonly numbers: ReadonlySet<number> };

/** What is known of where an address lies. `undefined` is "not in the database", a missing function "no database". */
export interface Geo {
  readonly country?: ((address: string) => string | undefined) | undefined;
  readonly asn?: ((address: string) => number | undefined) | undefined;
}

const maxRules = 20;
const maxEntries = 500;

/** The rules of the claim `accessRules`; undefined when it is anything but rules, so that a rule nobody understands opens nothing. */
export function readRules(claim: unknown): readonly Rule[] | undefined {
  if (claim === undefined || claim === null) return [];
  if (!Array.isArray(claim) || claim.length > maxRules) return undefined;
  const rules = claim.map(readRule);
  return rules.every((rule) => rule !== undefined) ? rules : undefined;
}

/** First match wins, no match is allowed. A rule about places without a database of places refuses everybody. */
export function judge(rules: readonly Rule[], address: string, geo: Geo): Action {
  for (const rule of rules) {
    switch (rule.type) {
      case "any":
        return rule.action;
      case "ip.src":
        if (rule.networks.has(address)) return rule.action;
        break;
      case "ip.geoip.country": {
        if (!geo.country) return "block";
        const country = geo.country(address);
        if (country !== undefined && rule.countries.has(country)) return rule.action;
        break;
      }
      case "ip.geoip.asnum": {
        if (!geo.asn) return "block";
        const number = geo.asn(address);
        if (number !== undefined && rule.numbers.has(number)) return rule.action;
      }
    }
  }
  return "allow";
}

function readRule(value: unknown): Rule | undefined {
  if (value === null || typeof value !== "object") return undefined;
  const { type, action, ip, country, asnum } = value as Record<string, unknown>;
  if (action !== "allow" && action !== "block") return undefined;
  switch (type) {
    case "any":
      return { type, action };
    case "ip.src": {
      const networks = isList(ip, "string") ? networksOf(ip as string[]) : undefined;
      return networks && { type, action, networks };
    }
    case "ip.geoip.country":
      if (!isList(country, "string")) return undefined;
      return { type, action, countries: new Set((country as string[]).map((code) => code.toUpperCase())) };
    case "ip.geoip.asnum": {
      const numbers = Array.isArray(asnum) ? asnum.map(Number) : [];
      if (numbers.length === 0 || numbers.length > maxEntries || !numbers.every(Number.isSafeInteger))
        return undefined;
      return { type, action, numbers: new Set(numbers) };
    }
    default:
      return undefined;
  }
}

function isList(value: unknown, of: "string"): boolean {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.length <= maxEntries &&
    value.every((entry) => typeof entry === of)
  );
}
