import { createServer, type OutgoingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What the bare server answers each request with. */
export interface Given {
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  readonly body: Uint8Array;
}

/** As the parts of a broadcast come. */
const PART_MS = 500;
const PARTS = 4;

/**
 * A process of its own with nothing of Sluice: node:http that holds each request for a part until its time, and answers all with
 * the same bytes. Sends its port to whoever forked it.
 */
process.once("message", ({ headers, body }: Given) => {
  let held: { readonly wanted: number; readonly response: ServerResponse }[] = [];
  let now = PARTS - 1;
  const server = createServer((request, response) => {
    const [, number, part] = /_HLS_msn=(\d+)&_HLS_part=(\d+)/.exec(request.url ?? "") ?? [];
    const wanted = PARTS * Number(number) + Number(part);
    if (wanted <= now) response.writeHead(200, headers).end(body);
    else held.push({ wanted, response });
  });
  setInterval(() => {
    now++;
    const due = held.filter(({ wanted }) => wanted <= now);
    held = held.filter(({ wanted }) => wanted > now);
    for (const { response } of due) response.writeHead(200, headers).end(body);
  }, PART_MS);
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
});
process.once("disconnect", () => process.exit());
