import { createSocket } from "node:dgram";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openAcmeFake } from "../test/support/acme-fake.ts";
import { runSluice } from "../test/support/sluice.ts";

const data = mkdtempSync(join(tmpdir(), "sluice-doctor-"));
afterAll(() => rmSync(data, { recursive: true }));
const ports = ["http", "https", "rtmp", "rtmps"].flatMap((name) => [`--${name}-port`, "0"]);

test("the doctor says that the UDP port of Media over QUIC is taken, and what that costs", {
  timeout: 60_000,
}, async () => {
  const socket = createSocket({ type: "udp6", ipv6Only: false });
  await new Promise<void>((resolve) => socket.bind(0, "::", resolve));
  const { port } = socket.address();
  const args = ["doctor", "--data", data, ...ports, "--moq-port"];
  const env = { SLUICE_MOQ: "true" };
  const { output } = await runSluice([...args, String(port)], env);
  expect(output).toMatch(new RegExp(`! moqPort: UDP ${port} is taken by another program: .*LL-HLS serves`));
  await new Promise<void>((resolve) => socket.close(resolve));
  expect((await runSluice([...args, String(port)], env)).output).toContain(`✓ moqPort: UDP ${port} is free`);
});

test("the doctor asks the authority and looks where the names lead", { timeout: 60_000 }, async () => {
  const fake = await openAcmeFake({ ports: () => ({ http: 0, tls: 0 }) });
  const domains = ["--domain", "nowhere.invalid", "--domain", "neither.invalid"];
  const args = ["doctor", "--data", data, ...ports, ...domains, "--acme-directory", fake.directory];
  const { output, code } = await runSluice(args);
  expect(output).toContain("✓ acmeDirectory: 127.0.0.1:");
  for (const name of ["nowhere.invalid", "neither.invalid"])
    expect(output).toContain(`✗ domain: ${name} leads nowhere: give it an A or AAAA record`);
  expect(output).toMatch(/! certificate: none for nowhere\.invalid, neither\.invalid yet/);
  expect(code).toBe(1);
  await fake.close();
  expect((await runSluice(args)).output).toMatch(/✗ acmeDirectory: .* cannot be reached/);
});

test("what the doctor finds is a list for a program, and Node is new enough for passwords", {
  timeout: 60_000,
}, async () => {
  const { output, code } = await runSluice(["doctor", "--json", "--data", data, ...ports]);
  const found = JSON.parse(output) as { state: string; says: string }[];
  expect(found[0]).toEqual({ state: "fine", says: `Node ${process.version}` });
  expect(code).toBe(found.some(({ state }) => state === "broken") ? 1 : 0);
});
