import type { Page } from "playwright-core";

/** What a viewer's line gives. */
export interface Link {
  /** Kilobits per second each way; undefined is without limit. */
  readonly kbps?: number;
  /** Added to every round trip. */
  readonly rttMs?: number;
}

/** Shapes what the page gets from the network from now on. */
export async function shapeLink(page: Page, link: Link): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const bytes = link.kbps === undefined ? -1 : (link.kbps * 1000) / 8;
  await session.send("Network.enable");
  await session.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: link.rttMs ?? 0,
    downloadThroughput: bytes,
    uploadThroughput: bytes,
  });
}
