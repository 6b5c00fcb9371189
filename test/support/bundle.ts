import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

/** A page's script from this folder with all that it imports, as one module for a browser. */
export async function bundle(entry: string): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-page-"));
  try {
    await build({
      root: fileURLToPath(new URL(".", import.meta.url)),
      configFile: false,
      logLevel: "error",
      define: { "process.env.NODE_ENV": '"production"' },
      build: {
        outDir: folder,
        target: "es2022",
        lib: { entry, formats: ["es"], fileName: () => "page.js" },
      },
    });
    return readFileSync(join(folder, "page.js"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** HTML, bytes of a script, or what makes the answer anew each time. */
type Page = string | Buffer | (() => string | Promise<string>);

/** A site of its own: what is at each path. */
export interface Site {
  /** `http://host:port`, without a slash. */
  readonly origin: string;
  /** Changes what is there. */
  readonly pages: Map<string, Page>;
  close(): void;
}

/** Another host name than `localhost` makes it another site than the player's, not only another origin. */
export async function openPages(pages: Readonly<Record<string, Page>>): Promise<Site> {
  const all = new Map<string, Page>(Object.entries(pages));
  const server: Server = createServer(async (request, response) => {
    const found = all.get(request.url ?? "/");
    const page = typeof found === "function" ? await found() : found;
    response.writeHead(page === undefined ? 204 : 200, {
      "content-type": page instanceof Buffer ? "text/javascript" : "text/html",
    });
    response.end(page);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pages: all,
    close: () => server.close(),
  };
}
