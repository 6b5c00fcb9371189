import { expect, test } from "vitest";
import { createMetrics, mergeExpositions, serveHealth } from "./metrics.ts";

test("counters, gauges and histograms carry the role", async () => {
  const metrics = createMetrics("ingest");
  const refused = metrics.counter("sluice_refused_total", "Refused", ["reason"]);
  refused(1, { reason: "key" });
  refused(2, { reason: "key" });
  metrics.gauge("sluice_open", "Open", { read: () => 7 });
  metrics.histogram("sluice_wait_seconds", "Waits", [0.1, 1])(0.5);
  const text = await metrics.text();
  expect(text).toContain('sluice_refused_total{reason="key",role="ingest"} 3');
  expect(text).toContain('sluice_open{role="ingest"} 7');
  expect(text).toContain('sluice_wait_seconds_bucket{le="1",role="ingest"} 1');
});

test("the figures of several processes become one exposition, each metric described once", () => {
  const of = (role: string, extra = "") =>
    `# HELP up Is up\n# TYPE up gauge\nup{role="${role}"} 1\n\n${extra}`;
  expect(mergeExpositions([of("a"), of("b", "# HELP x X\n# TYPE x counter\nx 1\n"), ""])).toBe(
    '# HELP up Is up\n# TYPE up gauge\nup{role="a"} 1\nup{role="b"} 1\n\n# HELP x X\n# TYPE x counter\nx 1\n',
  );
});

test("readiness names what is waited for, liveness does not care", async () => {
  let waiting = ["control", "origin"];
  const text = async () => "# nothing\n";
  const health = await serveHealth({ address: "127.0.0.1:0", text, waiting: () => waiting });
  const get = async (path: string) => {
    const answer = await fetch(`${health.address}${path}`);
    return `${answer.status} ${(await answer.text()).trim()}`;
  };
  expect(await get("/livez")).toBe("200 ok");
  expect(await get("/readyz")).toBe("503 waiting for control, origin");
  waiting = [];
  expect(await get("/readyz")).toBe("200 ok");
  expect(await get("/metrics")).toBe("200 # nothing");
  expect(await get("/")).toBe("404 here are /livez, /readyz and /metrics");
  await health.close();
});
