import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { networksOf } from "./address.ts";
import { postOutside, resolveOutside } from "./outside.ts";

const local = networksOf(["127.0.0.0/8"])!;

test.for([
  "http://127.0.0.1/",
  "http://127.1/",
  "http://2130706433/",
  "http://0x7f.1/",
  "http://①②⑦.0.0.1/",
  "http://0.0.0.0/",
  "http://localhost/",
  "http://10.1.2.3/",
  "http://169.254.169.254/latest/meta-data",
  "http://192.168.0.1/",
  "http://100.64.0.1/",
  "http://198.18.0.1/",
  "http://224.0.0.1/",
  "http://255.255.255.255/",
  "http://[::1]/",
  "http://[::]/",
  "http://[::ffff:127.0.0.1]/",
  "http://[::ffff:7f00:1]/",
  "http://[64:ff9b::7f00:1]/",
  "http://[2002:7f00:1::]/",
  "http://[2001:0:7f00:1::]/",
  "http://[fe80::1]/",
  "http://[fd00::1]/",
  "rtmp://127.0.0.1/live",
])("%s is inside", (url) =>
  expect(resolveOutside(new URL(url))).rejects.toMatchObject({ code: "forbidden" }),
);

test.for([
  ["https://8.8.8.8/x", "8.8.8.8", 443],
  ["http://[2606:4700::1]:8080/", "2606:4700::1", 8080],
  ["rtmp://1.1.1.1/app", "1.1.1.1", 1935],
  ["rtmps://1.1.1.1/app", "1.1.1.1", 443],
] as const)("%s is outside", async ([url, address, port]) =>
  expect(await resolveOutside(new URL(url))).toMatchObject({ address, port }),
);

let server: http.Server;
let seen: string[];
const at = (path: string) => new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`);
const post = (path: string, timeoutMs = 5_000) =>
  postOutside(at(path), { headers: { "x-a": "b" }, body: "hello", timeoutMs, allowed: local });

beforeAll(async () => {
  seen = [];
  server = http.createServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.host} ${request.headers["x-a"]}`);
    if (request.url === "/hang") return;
    if (request.url === "/redirect") return void response.writeHead(302, { location: "/elsewhere" }).end();
    if (request.url === "/endless") {
      response.writeHead(200);
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
      };
      response.on("drain", more);
      return more();
    }
    response.end("ok");
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

test("a post carries what it is given, to the host that was named", async () => {
  expect(await post("/a?b=c")).toEqual({ status: 200 });
  expect(seen).toContain(`POST /a?b=c 127.0.0.1:${at("/").port} b`);
});
test("a redirect is an answer, and nobody goes there", async () => {
  expect(await post("/redirect")).toEqual({ status: 302 });
  expect(seen.join()).not.toContain("elsewhere");
});
test("an endless answer is cut", async () => expect(await post("/endless")).toEqual({ status: 200 }));
test("who never answers is given up", () =>
  expect(post("/hang", 300)).rejects.toMatchObject({ code: "unavailable" }));
