import { describe, expect, test } from "vitest";
import { readOutputUrl } from "./output.ts";

describe("the URL of an output", () => {
  test.for([
    { url: "rtmp://a.example/live", app: "live" },
    { url: "rtmps://a.example:443/live2/?backup=1", app: "live2?backup=1" },
  ])("$url is an application of an RTMP server", ({ url, app }) => {
    expect(readOutputUrl(url)).toMatchObject({ kind: "rtmp", app });
  });

  test.for([
    { url: "https://relay.example", namespace: undefined },
    { url: "https://relay.example:4443/root?jwt={key}", namespace: undefined },
    { url: "moqt://relay.example/publish/{key}#msf:live-stage--catalog", namespace: ["live", "stage"] },
    { url: "https://relay.example/#msf:live-one.2emsf", namespace: ["live", "one.msf"] },
  ])("$url is a relay", ({ url, namespace }) => {
    expect(readOutputUrl(url)).toMatchObject({ kind: "moq", namespace });
  });

  test.for([
    ...["", "live", "http://a.example/live", "rtmp://a.example", "rtmp://a.example/?x=1"],
    ...["rtmp://me:secret@a.example/live", "rtmp://a.example/live#x", "rtmp://a.example:0/live"],
    ...["https://me@relay.example/", "https://relay.example/#stage", "https://relay.example/#msf:"],
    ...["moqt://relay.example/#msf:a--b--catalog", "moqt://relay.example/a b"],
  ])("%j is none", (url) => {
    expect(readOutputUrl(url)).toBeUndefined();
  });
});
