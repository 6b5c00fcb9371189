import http from "node:http";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { bind, type InternalServer, parseAddress } from "./http.ts";

type Labels = Readonly<Record<string, string | number>>;

/** Figures of one process. Every name starts with `sluice_` and ends in its unit; labels are few and bounded, never a uid per viewer. */
export interface Metrics {
  /** Something that only grows. Returns the function that adds to it. */
  counter(name: string, help: string, labels?: readonly string[]): (by?: number, labels?: Labels) => void;
  /** A level. Returns the function that sets it; with `read` it is asked for at each scrape instead. */
  gauge(
    name: string,
    help: string,
    options?: { readonly labels?: readonly string[]; readonly read?: () => number },
  ): (value: number, labels?: Labels) => void;
  /** A distribution over `buckets` (upper bounds). Returns the function that observes one value. */
  histogram(name: string, help: string, buckets: readonly number[]): (value: number) => void;
  /** The whole registry in Prometheus' text format. */
  text(): Promise<string>;
}

/** The registry of a process; `role` becomes a label of every series, the runtime's own figures are included. */
export function createMetrics(role: string): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ role });
  collectDefaultMetrics({ register: registry });
  return {
    counter(name, help, labels = []) {
      // Added up here, because the library sorts and joins labels at every call.
      const sums = new Map<string, { readonly values: Record<string, string | number>; by: number }>();
      const counter: Counter = new Counter({
        name,
        help,
        labelNames: [...labels],
        registers: [registry],
        collect() {
          for (const sum of sums.values()) {
            counter.inc(sum.values, sum.by);
            sum.by = 0;
          }
        },
      });
      const [only] = labels;
      return (by = 1, values = {}) => {
        const key =
          labels.length === 1 ? String(values[only!]) : labels.map((label) => values[label]).join("\n");
        const sum = sums.get(key);
        if (sum) sum.by += by;
        else sums.set(key, { values: { ...values }, by });
      };
    },
    gauge(name, help, { labels = [], read } = {}) {
      const gauge: Gauge = new Gauge({
        name,
        help,
        labelNames: [...labels],
        registers: [registry],
        ...(read && {
          collect() {
            gauge.set(read());
          },
        }),
      });
      return (value, values = {}) => gauge.set({ ...values }, value);
    },
    histogram(name, help, buckets) {
      const histogram = new Histogram({ name, help, buckets: [...buckets], registers: [registry] });
      return (value) => histogram.observe(value);
    },
    text: () => registry.metrics(),
  };
}

/** One exposition out of those of several processes: a metric's HELP and TYPE once, then everybody's series. */
export function mergeExpositions(texts: readonly string[]): string {
  const families = new Map<string, { readonly head: string[]; readonly series: string[] }>();
  for (const text of texts) {
    let family: { readonly head: string[]; readonly series: string[] } | undefined;
    const seen = new Set<string>();
    for (const line of text.split("\n")) {
      const name = /^# (?:HELP|TYPE) (\S+)/.exec(line)?.[1];
      if (name) {
        const known = families.get(name);
        family = known ?? { head: [], series: [] };
        if (!known) seen.add(name);
        families.set(name, family);
        if (seen.has(name)) family.head.push(line);
      } else if (line) family?.series.push(line);
    }
  }
  return [...families.values()].flatMap((f) => [...f.head, ...f.series, ""]).join("\n");
}

/**
 * Serves /livez (the process turns its event loop), /readyz (503 naming each of `waiting()`), /metrics (`text()`).
 * `address` is host:port or unix:/path. Bind it to an internal address: it has no guard.
 */
export async function serveHealth(options: {
  readonly address: string;
  readonly text: () => Promise<string>;
  readonly waiting: () => readonly string[];
}): Promise<InternalServer> {
  const server = http.createServer((request, response) => {
    const path = request.url?.split("?")[0];
    const say = (status: number, body: string) =>
      response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(body);
    if (path === "/livez") return say(200, "ok\n");
    if (path === "/readyz") {
      const waiting = options.waiting();
      return say(waiting.length ? 503 : 200, waiting.length ? `waiting for ${waiting.join(", ")}\n` : "ok\n");
    }
    if (path !== "/metrics") return say(404, "here are /livez, /readyz and /metrics\n");
    options.text().then(
      (text) =>
        response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(text),
      (error: unknown) => say(500, `${error}\n`),
    );
  });
  return bind(
    server,
    parseAddress(options.address.startsWith("unix:") ? options.address : `http://${options.address}`),
  );
}
