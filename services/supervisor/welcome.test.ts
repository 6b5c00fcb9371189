import { expect, test } from "vitest";
import { loadConfig } from "../config.ts";
import { welcome } from "./welcome.ts";

const person = {
  uid: "0123",
  streamKey: "secretk0123",
  dashboard: "http://localhost:8080/dashboard#link=once",
};
const metrics = "http://127.0.0.1:9464";
const show = (env: Record<string, string>, dashboard = person.dashboard) =>
  welcome({
    config: loadConfig({ env, flags: {} }),
    person: { ...person, dashboard },
    metrics,
    seconds: "0.9",
  }).trim();

test("what a newcomer pastes into OBS and opens in the browser", () => {
  expect(show({})).toBe(
    `
Sluice is ready (0.9 s)

  Dashboard   http://localhost:8080/dashboard#link=once
              opens it once, without a password, within the hour

  OBS: Settings > Stream > Service Custom
  Server      rtmp://localhost:1935/live
  Stream Key  secretk0123
  RTMPS       rtmps://localhost:1936/live
              OBS trusts only a real certificate for a DNS name: --domain NAME. ffmpeg takes this one

  Watch       http://localhost:8080/0123/watch
  API         http://localhost:8080/docs
  Metrics     http://127.0.0.1:9464/metrics`.trim(),
  );
});

test("with a name and a certificate of its own, and RTMPS alone", () => {
  const env = {
    SLUICE_PUBLIC_URL: "https://live.example.com/",
    SLUICE_TLS_CERT: "a.pem",
    SLUICE_TLS_KEY: "b.pem",
    SLUICE_RTMP: "no",
  };
  expect(show(env, "https://live.example.com/dashboard").split("\n").slice(2)).toEqual([
    "  Dashboard   https://live.example.com/dashboard",
    "",
    "  OBS: Settings > Stream > Service Custom",
    "  Server      rtmps://live.example.com:1936/live",
    "  Stream Key  secretk0123",
    "              with your certificate; OBS checks that it is for this name",
    "",
    "  Watch       https://live.example.com/0123/watch",
    "  API         https://live.example.com/docs",
    "  Metrics     http://127.0.0.1:9464/metrics",
  ]);
});

test("a machine that only takes encoders shows no pages", () => {
  const elsewhere = {
    SLUICE_CONTROL_ADDRESS: "http://10.0.0.2:7000",
    SLUICE_ORIGIN_ADDRESS: "http://10.0.0.2:7001",
  };
  const text = welcome({
    config: loadConfig({
      env: { ...elsewhere, SLUICE_ROLES: "ingest", SLUICE_INTERNAL_SECRET: "x".repeat(32) },
      flags: {},
    }),
    person: undefined,
    metrics,
    seconds: "0.9",
  });
  expect(text).toContain("Server      rtmp://localhost:1935/live");
  expect(text).not.toMatch(/Dashboard|Watch|API|Stream Key/);
});
