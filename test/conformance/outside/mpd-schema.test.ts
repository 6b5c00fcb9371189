import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { broadcast, simulate } from "../../support/simulate.ts";

const schema =
  process.env.SLUICE_MPD_XSD ??
  fileURLToPath(new URL("../../../node_modules/.cache/sluice/mpd/DASH-MPD.xsd", import.meta.url));
const missing = [
  ...(spawnSync("xmllint", ["--version"]).error ? ["xmllint (apt-get install libxml2-utils)"] : []),
  ...(existsSync(schema) ? [] : ["the schema (test/conformance/outside/get-mpd-schema.sh)"]),
];
const why = missing.length > 0 ? `: skipped for want of ${missing.join(" and ")}` : "";

const sound = { audio: 48000 } as const;
const steady = { gop: 2, seconds: 12, ...sound };
test.skipIf(missing.length > 0).for([
  { name: "a steady broadcast", publishes: [{ atMs: 0, source: steady }] },
  { name: "irregular keyframes", publishes: [{ atMs: 0, source: { ...steady, gop: [1.5, 2.5, 1.2, 3] } }] },
  {
    name: "an outage",
    publishes: [
      { atMs: 0, source: steady, until: 9_000 },
      { atMs: 13_000, source: steady },
    ],
  },
])(`every manifest of $name is valid by the schema of MPEG-DASH${why}`, ({ publishes }) => {
  const { manifests } = simulate(broadcast(publishes, 26_000));
  expect(manifests.length).toBeGreaterThan(1);
  for (const { text } of manifests) {
    const { status, stderr } = spawnSync("xmllint", ["--nonet", "--noout", "--schema", schema, "-"], {
      input: text,
      encoding: "utf8",
    });
    expect(status, `${stderr}\n${text}`).toBe(0);
  }
});

test.skipIf(missing.length > 0)(`the schema refuses what is none${why}`, () => {
  const text = simulate(broadcast([{ atMs: 0, source: steady }])).manifests[0]!.text;
  const input = text.replace(' bandwidth="', ' bandwith="');
  expect(spawnSync("xmllint", ["--nonet", "--noout", "--schema", schema, "-"], { input }).status).not.toBe(0);
});
