import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { build, defineConfig, type Plugin } from "vite";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Vite would repeat the folder of a page in dist/; the origin looks for dist/iframe.html. */
const pagesAtTop: Plugin = {
  name: "pages-at-top",
  enforce: "post",
  generateBundle(_, bundle) {
    for (const file of Object.values(bundle)) {
      if (file.fileName.endsWith(".html")) file.fileName = basename(file.fileName);
    }
  },
};

/** One classic script without imports. */
async function scriptOf(entry: string): Promise<string> {
  const built = await build({
    configFile: false,
    logLevel: "warn",
    build: {
      write: false,
      target: "es2022",
      lib: { entry: at(entry), formats: ["iife"], name: "sluice", fileName: () => "script.js" },
    },
  });
  const [output] = Array.isArray(built) ? built : [];
  const [chunk] = output?.output ?? [];
  if (chunk?.type !== "chunk") throw new Error(`${entry} was not built`);
  return chunk.code;
}

/**
 * The SDK is a script under a name that stays, for pages of others; its types go beside it as they are. What pages do before the
 * player is here the origin puts into them.
 */
const scripts: Plugin = {
  name: "scripts",
  async generateBundle() {
    this.emitFile({ type: "asset", fileName: "sdk.latest.js", source: await scriptOf("embed/sdk.ts") });
    this.emitFile({ type: "asset", fileName: "early.js", source: await scriptOf("embed/early.ts") });
    this.emitFile({
      type: "asset",
      fileName: "sdk.d.ts",
      source: await readFile(at("embed/stream.ts"), "utf8"),
    });
  },
};

/** Pages into dist/, everything that they load into dist/assets/ under names that carry a hash of the content. */
export default defineConfig({
  root: at("."),
  base: "/player/",
  publicDir: false,
  clearScreen: false,
  plugins: [pagesAtTop, scripts],
  build: {
    outDir: at("dist"),
    emptyOutDir: true,
    target: "es2022",
    // The pages' content security policy has no data: for scripts and styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
    rolldownOptions: {
      input: {
        iframe: at("embed/iframe.html"),
        watch: at("embed/watch.html"),
        dashboard: at("dashboard/dashboard.html"),
      },
    },
  },
});
