import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { loadConfig, readYaml } from "../services/config.ts";
import { settings } from "../services/settings.ts";

// No container engine is needed to know that the files agree with the product.

const at = (path: string) => new URL(`../${path}`, import.meta.url);
const dockerfile = readFileSync(at("infra/Dockerfile"), "utf8");
const compose = readYaml(readFileSync(at("docker-compose.yml"), "utf8")) as {
  services: {
    sluice: {
      ports: string[];
      environment: Record<string, string>;
      volumes: string[];
      build: { dockerfile: string };
    };
  };
};
const { sluice } = compose.services;
const config = loadConfig({ env: {}, flags: {} });
const ports = [
  config.httpPort,
  config.httpsPort,
  `${config.moqPort}/udp`,
  config.rtmpPort,
  config.rtmpsPort,
].map(String);

test("the container exposes and publishes the ports that Sluice listens on", () => {
  expect(/^EXPOSE (.*)$/m.exec(dockerfile)?.[1]?.split(" ")).toEqual(ports);
  expect(sluice.ports).toEqual(ports.map((port) => `${port.split("/")[0]}:${port}`));
});

test("every variable in the container files is a setting", () => {
  const known = new Set(settings.map((one) => one.env));
  const used = [...Object.keys(sluice.environment), ...dockerfile.matchAll(/SLUICE_\w+(?==)/g)].map(String);
  expect(used.length).toBeGreaterThan(3);
  for (const name of used) expect(known).toContain(name);
});

test("everything that the image copies is there, and it runs as an ordinary user on the volume that compose keeps", () => {
  for (const [, list] of dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm))
    for (const path of list!.split(" ")) expect(existsSync(at(path)), path).toBe(true);
  expect(existsSync(at(sluice.build.dockerfile))).toBe(true);
  expect(dockerfile).toMatch(/^USER node$/m);
  expect(dockerfile).toMatch(/^VOLUME \/data$/m);
  expect(dockerfile).toContain("SLUICE_DATA=/data");
  expect(sluice.volumes).toContain("data:/data");
});

test("the stage that builds the player has everything that its code imports", () => {
  const [stage = ""] = dockerfile.split("AS packages");
  const sources = readdirSync(at("player"), { recursive: true, encoding: "utf8" }).filter(
    (file) => /(?<!\.test)\.tsx?$/.test(file) && !file.startsWith("dist"),
  );
  for (const file of sources)
    for (const [, outside] of readFileSync(at(`player/${file}`), "utf8").matchAll(
      /^(?:import|export) (?!type)[^;]*?"(?:\.\.\/)+(services\/[^"]+)\/[^"/]+"/gm,
    ))
      expect(stage, `player/${file}`).toContain(`COPY ${outside} ${outside}`);
  // How JSX becomes code is said there.
  expect(stage).toContain("tsconfig.json");
});

test("the health check asks where the image says that health answers", () => {
  const address = /SLUICE_METRICS_ADDRESS=(\S+)/.exec(dockerfile)?.[1];
  expect(dockerfile).toContain(`http://${address}/livez`);
});
