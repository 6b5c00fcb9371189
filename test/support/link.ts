import type { Page } from "playwright-core";

/** What a viewer's line gives. */
export interface Link {
  /** Kilobits per second each way; undefined is without limit. */
  readonly kbps?: number;
  /** Added to every round trip. */
  readonly rttMs?: number;
}

/** Gives what shapes all that the page gets from the network; each call replaces the one before. */
export async function linkOf(page: Page): Promise<(link: Link) => Promise<void>> {
  // One for all calls: the limits of two sessions hold side by side.
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  return async ({ kbps, rttMs = 0 }) => {
    const bytes = kbps === undefined ? -1 : (kbps * 1000) / 8;
    await session.send("Network.emulateNetworkConditions", {
      offline: false,
      latency: rttMs,
      downloadThroughput: bytes,
      uploadThroughput: bytes,
    });
  };
}
