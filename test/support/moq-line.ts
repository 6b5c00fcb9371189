import { setTimeout as wait } from "node:timers/promises";
import type { Page } from "playwright-core";

/** What a browser needs for that: it takes a page that did not come over the network for one of another network. */
export const lineFlags: readonly string[] = ["--disable-features=LocalNetworkAccessChecks"];

/**
 * Sends the sessions of a page's players to `port` instead of the one that the server names, with the page and in its answers; these
 * take `rttMs` longer, which no link of the browser's own adds to them.
 */
export async function sendMoqTo(page: Page, port: number, rttMs = 0): Promise<void> {
  await page.route(/\/(lifecycle|iframe|watch)(\?|$)/, async (route) => {
    try {
      const [response] = await Promise.all([route.fetch(), wait(rttMs)]);
      const text = await response.text();
      await route.fulfill({ response, body: text.replace(/("moq":\{"port":)\d+/, `$1${port}`) });
    } catch (error) {
      // An answer that was held when the page went away is nobody's any more.
      if (!page.isClosed() && !/closed|disposed|canceled|cancelled/i.test(String(error))) throw error;
    }
  });
}
