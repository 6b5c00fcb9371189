import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { connect as connectHttp2, createServer as createHttp2 } from "node:http2";
import { type AddressInfo, connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { http1, http2 } from "./exchange.ts";
import { passToControl } from "./passthrough.ts";

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

const seen: Seen[] = [];
let control: Server;
let address: string;

beforeEach(async () => {
  seen.length = 0;
  control = createServer(async (request, response) => {
    const { method, url, headers } = request;
    seen.push({ method, url, headers, body: await text(request) });
    response.setHeader("x-one", "1").end(JSON.stringify({ count: seen.length }));
  }).listen(0, "127.0.0.1");
  await once(control, "listening");
  address = `http://127.0.0.1:${(control.address() as AddressInfo).port}`;
});

afterEach(() => {
  control.closeAllConnections();
  control.close();
});

const pass = (exchange: Parameters<typeof passToControl>[0]) => passToControl(exchange, address, undefined);
/** What a role would say, and nobody from outside may. */
const hidden = "POST /internal/events HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";
const chunked = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`;

/** Says `requests` over one HTTP/1.1 connection and the answers until as many have come. */
async function say(requests: readonly string[]): Promise<string> {
  const front = createServer(http1(pass)).listen(0, "127.0.0.1");
  await once(front, "listening");
  const socket = connect((front.address() as AddressInfo).port, "127.0.0.1");
  let said = "";
  for (const [i, request] of requests.entries()) {
    socket.write(request);
    while (said.split("HTTP/1.1 ").length < i + 2) said += String((await once(socket, "data"))[0]);
  }
  socket.destroy();
  front.close();
  return said;
}

test.for(["GET", "DELETE", "OPTIONS", "POST"])(
  "what %s carries is its body and no other request",
  async (method) => {
    const plain = "GET /v1/next HTTP/1.1\r\nhost: a\r\n\r\n";
    const asked = `${method} /v1/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n${chunked}`;
    await say([asked, plain, plain]);
    expect(seen.map((one) => [one.method, one.url, one.body])).toEqual([
      [method, "/v1/x", hidden],
      ["GET", "/v1/next", ""],
      ["GET", "/v1/next", ""],
    ]);
  },
);

test("a length is passed on as it was said, and none where there is no body", async () => {
  const said = await say([
    "PUT /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}",
    "POST /v1/y HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
    "GET /v1/z?q=1 HTTP/1.1\r\nhost: a\r\n\r\n",
  ]);
  expect(seen.map(({ url, headers, body }) => [url, headers["content-length"], body])).toEqual([
    ["/v1/x", "2", "{}"],
    ["/v1/y", "0", ""],
    ["/v1/z?q=1", undefined, ""],
  ]);
  expect(said).toMatch(/x-one: 1\r\n/);
  expect(said).toMatch(/content-length: 11\r\n/i);
});

test.for([
  { name: "without a length", headers: {} },
  { name: "with its length", headers: { "content-length": String(hidden.length) } },
])("over HTTP/2 what GET carries is its body and no other request, $name", async ({ headers }) => {
  const front = createHttp2().on("stream", http2(pass)).listen(0, "127.0.0.1");
  await once(front, "listening");
  const session = connectHttp2(`http://127.0.0.1:${(front.address() as AddressInfo).port}`);
  const ask = async (path: string, body?: string) => {
    const stream = session.request(
      { ":path": path, ...(body && headers) },
      { endStream: body === undefined },
    );
    if (body !== undefined) stream.end(body);
    return text(stream);
  };
  await ask("/v1/x", hidden);
  expect(await ask("/v1/next")).toBe('{"count":2}');
  session.close();
  front.close();
  expect(seen.map((one) => [one.method, one.url, one.body])).toEqual([
    ["GET", "/v1/x", hidden],
    ["GET", "/v1/next", ""],
  ]);
});
