import { X509Certificate } from "node:crypto";
import { messageOf } from "../../services/lib/errors.ts";
import { type Running, untilClosed } from "../../services/lib/lifecycle.ts";
import type { Log } from "../../services/lib/log.ts";
import { backoffMs, pause } from "../../services/lib/retry.ts";
import type { Shown } from "../../services/origin/challenges.ts";
import { keepIssued, loadIssued } from "../certs.ts";
import { makeChallenge, makeRequest, type Pair, renewalName } from "../x509.ts";
import { Acme, type Challenge, type ChallengeKind, challengeKinds } from "./client.ts";
import { adviceOf, Refusal } from "./refusal.ts";
import { type AcmeState, accountKey, keepState, loadState } from "./state.ts";

export interface KeeperOptions {
  /** Where the certificate goes, and what is remembered. */
  readonly dir: string;
  readonly domains: readonly string[];
  /** URL of the authority's directory. */
  readonly directory: string;
  readonly email?: string | undefined;
  readonly binding?: { readonly kid: string; readonly key: string } | undefined;
  readonly challenge: ChallengeKind | "auto";
  /** What the public ports are called in advice. */
  readonly httpPort: number;
  readonly httpsPort: number;
  /** Shows this, and only this, on the public ports before it resolves; rejects while nobody listens there. */
  readonly show: (shown: Shown) => Promise<void>;
  readonly log: Log;
}

const hour = 3_600_000;
/** Nothing is slept through for longer: the clock may be set, and timers end at 24 days. */
const longestMs = 6 * hour;
const askAgainMs = { least: 60_000, most: 24 * hour };
/** Let's Encrypt allows five failed checks of a name in an hour. */
const triesAnHour = 4;
const otherWayMs = 2_000;
const failedMs = { first: 10 * 60_000, most: 12 * hour };
const unreachableMs = { first: 30_000, most: hour };
const originMs = { first: 250, most: 5_000 };

/** When a certificate is to be renewed (epoch ms) if nobody says: with a third of its life left, a little earlier for each by chance. */
export function renewalAt(cert: string, chance = Math.random()): number {
  const { validFrom, validTo } = new X509Certificate(cert);
  const [from, to] = [Date.parse(validFrom), Date.parse(validTo)];
  return to - (to - from) * (1 / 3 + chance / 20);
}

/** Whether `cert` is for each of `domains`. */
function covers(cert: string, domains: readonly string[]): boolean {
  const leaf = new X509Certificate(cert);
  return domains.every((domain) => leaf.checkHost(domain, { wildcards: true }) !== undefined);
}

/**
 * Gets a certificate for `domains`, writes it where `loadIssued` finds it, and renews it for as long as it runs. Nothing that an
 * authority does or does not ends it: it says what to change, and tries again.
 */
export function keepCertificate(options: KeeperOptions): Running {
  return untilClosed((signal) =>
    new Keeper(options, signal).run().catch((error: unknown) => {
      if (!signal.aborted) options.log.error({ err: error }, "certificates are not renewed any more");
    }),
  );
}

class Keeper {
  readonly #options: KeeperOptions;
  readonly #signal: AbortSignal;
  #state!: AcmeState;
  /** What is known of the renewal of one certificate. */
  #plan: { readonly cert: string; readonly at: number; readonly askAgain: number } | undefined;

  constructor(options: KeeperOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    const { dir, directory, domains } = this.#options;
    this.#state = await loadState(dir, { directory, domains: [...domains] });
    this.#forgive();
    while (!this.#signal.aborted) {
      const due = Math.max(await this.#due(), this.#state.notBefore);
      const now = Date.now();
      const look = Math.min(due, now + longestMs, this.#plan?.askAgain ?? due);
      if (now >= due) await this.#try();
      else await pause(Math.max(look - now, 1), this.#signal);
    }
  }

  /** Who starts Sluice again has perhaps mended what was wrong; but no more often than an authority stands. */
  #forgive(): void {
    const recent = this.#state.tries.filter((at) => at > Date.now() - hour);
    if (this.#state.told) return;
    const notBefore = recent.length < triesAnHour ? 0 : recent[0]! + hour;
    this.#state = { ...this.#state, notBefore };
  }

  async #due(): Promise<number> {
    const { dir, domains, log } = this.#options;
    const issued = await loadIssued(dir).catch((error: unknown) => {
      log.warn({ problem: messageOf(error) }, "the certificate that was issued is not usable");
      return undefined;
    });
    if (!issued || !covers(issued.cert, domains)) return 0;
    if (this.#plan?.cert !== issued.cert || Date.now() >= this.#plan.askAgain)
      this.#plan = await this.#planned(issued);
    return this.#plan.at;
  }

  /** The authority's own wish where it has one (RFC 9773), but never so late that there is no time to try again. */
  async #planned({ cert }: Pair) {
    const known = this.#plan?.cert === cert ? this.#plan.at : renewalAt(cert);
    const nothing = { cert, at: known, askAgain: Date.now() + askAgainMs.most };
    try {
      const name = await renewalName(cert);
      const window = name ? await (await this.#acme()).renewal(name) : undefined;
      if (!window) return nothing;
      const { validFrom, validTo } = new X509Certificate(cert);
      const latest = Date.parse(validTo) - (Date.parse(validTo) - Date.parse(validFrom)) / 6;
      const inside = known >= window.from && known <= window.to;
      const at = inside ? known : window.from + (window.to - window.from) * Math.random();
      const { least, most } = askAgainMs;
      const wanted = Math.max(window.askAgain, Date.now() + least);
      return { cert, at: Math.min(at, latest), askAgain: Math.min(wanted, Date.now() + most) };
    } catch (error) {
      this.#options.log.debug({ problem: messageOf(error) }, "nothing is known of when to renew");
      return { ...nothing, askAgain: Date.now() + hour };
    }
  }

  async #acme(): Promise<Acme> {
    const { dir, directory, email, binding } = this.#options;
    const key = await accountKey(dir, directory);
    return new Acme({ directory, accountKey: key, email, binding, signal: this.#signal });
  }

  async #try(): Promise<void> {
    const { dir, domains, log } = this.#options;
    if (!(await this.#shown({ http: {}, tls: {} }))) return;
    try {
      const former = await loadIssued(dir).catch(() => undefined);
      const replaces = former && covers(former.cert, domains) ? await renewalName(former.cert) : undefined;
      const { key, request } = await makeRequest(domains);
      const cert = await (await this.#acme()).order({
        ...{ domains, request, replaces, kind: this.#kind() },
        show: async (challenges) => {
          await this.#shown(await shownOf(challenges));
        },
      });
      await keepIssued(dir, { cert, key });
      await this.#remember({ failures: 0, tries: [], notBefore: 0, told: false, problem: undefined });
      const { validTo } = new X509Certificate(cert);
      log.info({ domains, validTo }, replaces ? "certificate renewed" : "certificate issued");
    } catch (error) {
      if (!this.#signal.aborted) await this.#failed(error);
    } finally {
      await this.#options.show({ http: {}, tls: {} }).catch(() => undefined);
    }
  }

  /** With a choice, the other one after each failure. */
  #kind(): ChallengeKind {
    const { challenge } = this.#options;
    return challenge === "auto" ? challengeKinds[this.#state.failures % challengeKinds.length]! : challenge;
  }

  async #failed(error: unknown): Promise<void> {
    const { domains, log } = this.#options;
    const problem = adviceOf(error, this.#options);
    const failures = this.#state.failures + 1;
    const now = Date.now();
    const told = error instanceof Refusal ? error.retryMs : undefined;
    const ms = told ?? this.#waitMs(error, failures);
    const checked = !(error instanceof Refusal && error.type === "unreachable");
    const tries = [...this.#state.tries.filter((at) => at > now - hour), ...(checked ? [now] : [])];
    const limited = error instanceof Refusal && error.type === "rateLimited";
    await this.#remember({ failures, tries, notBefore: now + ms, told: limited, problem });
    const nextTry = new Date(now + ms).toISOString();
    log.warn({ nextTry }, `no new certificate for ${domains.join(", ")}: ${problem}`);
  }

  #waitMs(error: unknown, failures: number): number {
    if (error instanceof Refusal && error.type === "unreachable")
      return backoffMs(failures - 1, unreachableMs.first, unreachableMs.most);
    if (error instanceof Refusal && error.type === "rateLimited") return hour;
    // What one way cannot show the other may.
    if (this.#options.challenge === "auto" && failures % 2 === 1 && failures < 3) return otherWayMs;
    return backoffMs(Math.max(0, failures - 2), failedMs.first, failedMs.most);
  }

  /** False only when it is to stop. The origin may be on its way up. */
  async #shown(shown: Shown): Promise<boolean> {
    for (let tries = 0; !this.#signal.aborted; tries++) {
      try {
        await this.#options.show(shown);
        return true;
      } catch (error) {
        if (tries === 10)
          this.#options.log.warn({ problem: messageOf(error) }, "no origin answers, so no certificate yet");
        await pause(backoffMs(tries, originMs.first, originMs.most), this.#signal);
      }
    }
    return false;
  }

  async #remember(more: Partial<AcmeState>): Promise<void> {
    this.#state = { ...this.#state, ...more };
    try {
      await keepState(this.#options.dir, this.#state);
    } catch (error) {
      // A full disk: what is remembered holds for as long as this runs.
      this.#options.log.warn({ problem: messageOf(error) }, "what was tried for a certificate is not kept");
    }
  }
}

async function shownOf(challenges: readonly Challenge[]): Promise<Shown> {
  const http = challenges.filter(({ kind }) => kind === "http-01");
  const tls = challenges.filter(({ kind }) => kind === "tls-alpn-01");
  return {
    http: Object.fromEntries(http.map(({ token, keyAuthorization }) => [token, keyAuthorization])),
    tls: Object.fromEntries(
      await Promise.all(
        tls.map(async ({ domain, keyAuthorization }) => [
          domain,
          await makeChallenge(domain, keyAuthorization),
        ]),
      ),
    ) as Record<string, Pair>,
  };
}
