import { Gate } from "../../services/auth/gate.ts";
import {
  type Algorithm,
  algorithms,
  generateKeys,
  keyFromSeed,
  publicHalf,
  readPrivateKey,
  verifyKey,
} from "../../services/auth/keys.ts";
import { signToken } from "../../services/auth/token.ts";
import { type BenchOptions, type Report, showSpread, spread } from "./report.ts";

const viewers = 1_000;
const batch = 1_000;
const sub = "0123456789abcdef0123456789abcdef";

/** What the gate costs a request: with the verdict at hand, and the first time that a token comes. */
export async function gate({ seconds = 5 }: BenchOptions): Promise<Report> {
  const signers = {
    RS256: readPrivateKey(generateKeys().pem).key,
    EdDSA: keyFromSeed(Buffer.alloc(32, 1)),
  } satisfies Partial<Record<Algorithm, unknown>>;
  const keys = new Map(
    Object.entries(signers).map(([alg, key]) => [alg, verifyKey(publicHalf(key), alg as Algorithm)]),
  );
  const policy = { requireSignedURLs: true, allowedOrigins: ["example.com"] };
  const open = () =>
    new Gate({
      key: (kid) => keys.get(kid),
      tokenRevoked: () => false,
      viewerRevoked: () => undefined,
      policy: () => policy,
      stale: () => false,
      geo: {},
    });
  const now = Date.now();
  const accessRules = [
    { type: "ip.src", action: "block", ip: ["192.0.2.0/24", "2001:db8::/32"] },
    { type: "ip.src", action: "allow", ip: ["10.0.0.0/8"] },
    { type: "any", action: "block" },
  ];
  const tokens = (alg: keyof typeof signers) =>
    Array.from({ length: viewers }, (_, i) =>
      signToken(
        { sub, exp: Math.floor(now / 1000) + 3_600, vid: `v${i}`, accessRules },
        { kid: alg, alg, key: signers[alg] },
      ),
    );
  const client = (i: number) => ({
    address: `10.0.${i >> 8}.${i & 255}`,
    agent: "bench",
    page: "https://example.com",
    host: "s.example",
  });
  const lines: [string, string, string?][] = [];
  const figures: Record<string, unknown> = {};
  for (const alg of algorithms.filter((one) => one in signers) as (keyof typeof signers)[]) {
    const list = tokens(alg);
    const cold = open();
    const first = list.map((token, i) => timed(() => cold.admit(token, client(i), now)));
    const warm: number[] = [];
    const until = performance.now() + (seconds * 1000) / 2;
    while (performance.now() < until) {
      // A path arrives as a new string each time: one that was hashed before would flatter the look-up.
      const arrived = list.map((token) => Buffer.from(token).toString("latin1"));
      const us = timed(() => {
        for (let i = 0; i < batch; i++) {
          const verdict = cold.admit(arrived[i % viewers]!, client(i % viewers), now);
          if ("status" in verdict) throw new Error(verdict.reason);
        }
      });
      warm.push(us / batch);
    }
    figures[alg] = { cachedUs: spread(warm), firstUs: spread(first) };
    lines.push(
      [`${alg}, verdict at hand`, showSpread(spread(warm), "us", 2), "30 us"],
      [`${alg}, first time`, showSpread(spread(first), "us", 0)],
    );
  }
  return {
    name: "gate",
    load: `${viewers} viewers with a token each (3 rules), one pass of warm-up, ${seconds} s in batches of ${batch}; CPU time`,
    lines,
    figures,
  };
}

/** CPU microseconds, so that what else runs on the machine does not count. */
function timed(run: () => unknown): number {
  const began = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(began);
  return user + system;
}
