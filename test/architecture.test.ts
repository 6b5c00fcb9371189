import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "..");
const sources = [...walk("services"), ...walk("player"), ...walk("infra")].filter(
  (file) => /\.(tsx?|mjs)$/.test(file) && !/\.test\.ts$|\.d\.ts$|player\/dist\//.test(file),
);
const imports = new Map(sources.map((file) => [file, importsOf(file)]));

/** What each folder may import of ours, besides itself. `services` stands for the files directly in it. */
const allowed: Record<string, readonly string[]> = {
  "services/packager": [],
  "services/lib": [],
  // What MoQT says on the wire, for both of its ends.
  "services/moq/codec": [],
  "services/auth": ["services/lib"],
  "services/storage": ["services/lib"],
  "services/live": ["services/packager", "services/lib"],
  "services/supervisor": ["services/lib", "services/live", "services"],
  player: ["services/moq/codec"],
};
const roleMay = ["services/live", "services/packager", "services/auth", "services/storage", "services/lib"];
const roles = ["ingest", "transcode", "origin", "moq", "recording", "outputs", "control"].map(
  (name) => `services/${name}`,
);
for (const role of roles) allowed[role] = roleMay;
allowed["services/moq"] = [...roleMay, "services/moq/codec"];

/** The one home of each third-party package. */
const homes: Record<string, string> = {
  "node-media-server": "services/ingest/protocol.ts",
  "fluent-ffmpeg": "services/transcode/ffmpeg.ts",
  ioredis: "services/lib/redis.ts",
  bullmq: "services/transcode/queue.ts",
  pino: "services/lib/log.ts",
  "pino-pretty": "services/lib/log.ts",
  "prom-client": "services/lib/metrics.ts",
  aws4fetch: "services/storage/s3.ts",
  zod: "services/lib/schema.ts",
  "mmdb-lib": "services/auth/geo.ts",
  kysely: "services/control/",
  pg: "services/control/store/postgres.ts",
  fastify: "services/control/",
  commander: "services/main.ts",
  yaml: "services/config.ts",
  "@peculiar/x509": "infra/x509.ts",
  "reflect-metadata": "infra/x509.ts",
  "hls.js": "player/engines/hls/",
  preact: "player/dashboard/",
  "@preact/signals": "player/dashboard/",
  vite: "player/vite.config.ts",
  "@currentspace/http3": "services/moq/quic.ts",
};

describe("who imports whom", () => {
  test.for([...imports.keys()])("%s keeps to its place", (file) => {
    const folder = folderOf(file);
    const may = allowed[folder];
    for (const { target } of imports.get(file)!) {
      if (!target || !may) continue;
      const other = folderOf(target);
      if (other === folder) continue;
      // Certificates come with the set-up of a machine; their type is all that a role sees of them.
      if (other === "infra" && importsOf(file).every((one) => one.target !== target || one.typeOnly))
        continue;
      // The dashboard calls the API, whose schemas say what it answers.
      if (file === "player/dashboard/types.ts" && importsOf(file).every((one) => one.typeOnly)) continue;
      expect(may, `${file} imports ${target}`).toContain(other);
    }
  });

  test("only the composition root imports every role", () => {
    for (const [file, list] of imports) {
      const seen = new Set(
        list
          .filter((one) => one.target)
          .map((one) => folderOf(one.target!))
          .filter((folder) => roles.includes(folder)),
      );
      seen.delete(folderOf(file));
      if (seen.size > 1) expect(file).toBe("services/app.ts");
    }
  });

  test("the packager and the codec of MoQT touch nothing but bytes and numbers", () => {
    for (const file of sources.filter((one) => /^services\/(packager|moq\/codec)\//.test(one))) {
      expect(
        imports.get(file)!.filter((one) => one.package),
        file,
      ).toEqual([]);
      const text = read(file);
      expect(text, `${file} knows the clock`).not.toMatch(
        /\bDate\.now\(|performance\.now\(|setTimeout\(|setInterval\(/,
      );
      expect(text, `${file} promises`).not.toMatch(/\basync\b|\bPromise\b/);
      expect(text, `${file} uses Buffer`).not.toMatch(/\bBuffer\./);
    }
  });

  test("there are no cycles", () => {
    const state = new Map<string, "open" | "done">();
    const visit = (file: string, path: readonly string[]): void => {
      if (state.get(file) === "done") return;
      expect(state.get(file), `cycle: ${[...path, file].join(" -> ")}`).not.toBe("open");
      state.set(file, "open");
      for (const { target, typeOnly } of imports.get(file) ?? [])
        if (target && !typeOnly && imports.has(target)) visit(target, [...path, file]);
      state.set(file, "done");
    };
    for (const file of sources) visit(file, []);
  });

  test("every third-party package has one home", () => {
    for (const [file, list] of imports)
      for (const { package: name } of list) {
        if (!name) continue;
        const home = homes[name];
        expect(home, `${file} imports ${name}, which has no home yet`).toBeDefined();
        expect(
          home!.endsWith("/") ? file.startsWith(home!) : file === home,
          `${file} imports ${name}; its home is ${home}`,
        ).toBe(true);
      }
  });
});

test("there are no default exports and no barrels", () => {
  for (const file of sources) {
    if (file.endsWith(".config.ts")) continue;
    const text = read(file);
    expect(text, file).not.toMatch(/^export default\b/m);
    expect(text, file).not.toMatch(/^export (\*|\{[^}]*\}) from "\.\/(?!$)/m);
  }
});

test("the repository names no registry and no path of anybody's machine", () => {
  for (const file of [
    ...sources,
    ...walk("test"),
    "package.json",
    "package-lock.json",
    "README.md",
    "ARCHITECTURE.md",
  ]) {
    if (!/\.(ts|mjs|json|md|ya?ml)$/.test(file) || !exists(file)) continue;
    expect(read(file), file).not.toMatch(/registry\.[a-z]+\.(org|com)|\/(home|root|work)\/[a-z]+\/[a-z]/);
  }
});

interface Import {
  /** A file of ours, or undefined. */
  readonly target?: string;
  readonly package?: string;
  readonly typeOnly: boolean;
}

function importsOf(file: string): Import[] {
  const found: Import[] = [];
  for (const match of read(file).matchAll(
    /^\s*(?:import|export)\s+(type\s+)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"|\bimport\("([^"]+)"\)/gm,
  )) {
    const name = (match[2] ?? match[3])!;
    if (name.startsWith("node:")) continue;
    const typeOnly = match[1] !== undefined;
    if (name.startsWith("."))
      found.push({ target: relative(root, resolve(root, dirname(file), name)), typeOnly });
    else
      found.push({
        package: name.startsWith("@") ? name.split("/").slice(0, 2).join("/") : name.split("/")[0]!,
        typeOnly,
      });
  }
  return found;
}

function folderOf(file: string): string {
  const [top, second] = file.split("/");
  if (file.startsWith("services/moq/codec/")) return "services/moq/codec";
  if (top === "services" && file.split("/").length > 2) return `services/${second}`;
  return top!;
}

function walk(folder: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      if (entry.name !== "node_modules" && entry.name !== "dist") found.push(...walk(path));
    } else found.push(path);
  }
  return found;
}

function read(file: string): string {
  return readFileSync(join(root, file), "utf8");
}

function exists(file: string): boolean {
  try {
    return statSync(join(root, file)).isFile();
  } catch {
    return false;
  }
}
