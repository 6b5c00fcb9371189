import type { Page } from "playwright-core";

/**
 * Sends the sessions of a page's players to `port` instead of the one that the server names, from the next page on. What the page asks
 * for over HTTP is left as it is: pages whose requests go through a test keep nothing for when their viewer returns. After so many
 * `sessions` of a page they go where they are to.
 */
export async function sendMoqTo(page: Page, port: number, sessions = 1_000): Promise<void> {
  await page.addInitScript(
    ([to, most]) => {
      let left = most;
      window.WebTransport = new Proxy(WebTransport, {
        construct(target, [address, options]) {
          const url = new URL(address);
          if (left-- > 0) url.port = String(to);
          return new target(url.href, options);
        },
      });
    },
    [port, sessions] as const,
  );
}
