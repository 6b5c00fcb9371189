import { lookup } from "node:dns/promises";
import http from "node:http";
import https from "node:https";
import { isIP } from "node:net";
import { type Networks, networksOf, plainAddress } from "./address.ts";
import { Failure, messageOf } from "./errors.ts";

/** What is not the public internet (RFC 6890 and its successors); of IPv6 only what global unicast is given from. */
const inside = networksOf([
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"],
  ...["192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"],
  ...["198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"],
  // Teredo and what else is no host's own, documentation, 6to4.
  ...["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"],
])!;
const globalV6 = networksOf(["2000::/3"])!;
const none = networksOf([])!;
const connectMs = 10_000;

/** An address that may be connected to, with the name that it was found by. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly address: string;
  /** All of them, `address` first; for whoever tries again. */
  readonly addresses: readonly string[];
}

/**
 * Where a URL of a user's leads: every address of its name must be on the public internet, or in `allowed`, and the
 * first of them is the one to connect to. To be asked at each attempt, for names change. Throws `Failure` "forbidden".
 */
export async function resolveOutside(url: URL, allowed: Networks = none): Promise<Target> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  // The URL parser has already turned every spelling of an IPv4 address into the usual one.
  const found = isIP(host)
    ? [host]
    : await lookup(host, { all: true }).then(
        (list) => list.map(({ address }) => address),
        (error: unknown) => {
          throw new Failure("unavailable", `${host} cannot be found: ${messageOf(error)}`);
        },
      );
  for (const each of found) {
    const address = plainAddress(each);
    const open = isIP(address) === 4 ? !inside.has(address) : globalV6.has(address) && !inside.has(address);
    if (!open && !allowed.has(address))
      throw new Failure(
        "forbidden",
        `${host} leads to ${address}, which is not on the public internet; name its network in allowPrivateTargets if that is meant`,
      );
  }
  const address = found[0];
  if (address === undefined) throw new Failure("unavailable", `${host} has no address`);
  const port =
    Number(url.port) || { "https:": 443, "http:": 80, "rtmps:": 443, "moqt:": 443 }[url.protocol] || 1935;
  return { host, port, address: plainAddress(address), addresses: found.map(plainAddress) };
}

/** One POST to a user's URL. Redirects are not followed, of the answer only the status counts. Throws `Failure` when none came. */
export async function postOutside(
  url: URL,
  options: {
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
    readonly timeoutMs: number;
    readonly allowed?: Networks;
    readonly signal?: AbortSignal;
  },
): Promise<{ readonly status: number }> {
  const { host, port, address } = await resolveOutside(url, options.allowed);
  const secure = url.protocol === "https:";
  const late = AbortSignal.timeout(options.timeoutMs);
  const signal = options.signal ? AbortSignal.any([options.signal, late]) : late;
  return new Promise((resolve, reject) => {
    const request = (secure ? https : http).request({
      // The address that was looked at, not the name again: it may answer otherwise the second time.
      host: address,
      port,
      ...(secure && isIP(host) === 0 && { servername: host }),
      path: `${url.pathname}${url.search}`,
      method: "POST",
      headers: { ...options.headers, host: url.host, "content-length": Buffer.byteLength(options.body) },
      agent: false,
      timeout: connectMs,
      signal,
    });
    request.once("response", (response) => {
      resolve({ status: response.statusCode ?? 0 });
      // Nothing that it says is of use, however much it is.
      response.destroy();
    });
    request.once("timeout", () => request.destroy(new Error("no answer")));
    request.once("error", (error) =>
      reject(
        new Failure(
          "unavailable",
          late.aborted ? `no answer within ${options.timeoutMs / 1000} s` : error.message,
        ),
      ),
    );
    request.end(options.body);
  });
}
