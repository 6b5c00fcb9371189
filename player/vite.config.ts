import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

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

/** Pages into dist/, everything that they load into dist/assets/ under names that carry a hash of the content. */
export default defineConfig({
  root: at("."),
  base: "/player/",
  publicDir: false,
  clearScreen: false,
  plugins: [pagesAtTop],
  build: {
    outDir: at("dist"),
    emptyOutDir: true,
    target: "es2022",
    // The pages' content security policy has no data: for scripts and styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
    rolldownOptions: { input: { iframe: at("embed/iframe.html"), watch: at("embed/watch.html") } },
  },
});
