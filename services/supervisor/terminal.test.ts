import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { openTerminal, statusLine } from "./terminal.ts";

const stage = {
  uid: "a",
  name: "Stage",
  kbps: 2_940,
  fps: 30,
  gopSeconds: 2,
  uploadRatio: 1,
  lagSeconds: 0,
  droppedFrames: 0,
  viewers: 1,
  viewersBy: { hls: 1, dash: 0, moq: 0 },
  seconds: 3_725,
  state: "live" as const,
};

test.for([
  { name: "nothing on air", live: [], line: "" },
  { name: "one input", live: [stage], line: "● Stage  01:02:05  2.9 Mb/s  30 fps  GOP 2.0 s  1 viewer" },
  {
    name: "a slow one with a broken rate",
    live: [{ ...stage, kbps: 420, fps: 29.97, viewers: 0, seconds: 9 }],
    line: "● Stage  00:00:09  420 kb/s  30 fps  GOP 2.0 s  0 viewers",
  },
  {
    name: "film",
    live: [{ ...stage, fps: 23.976 }],
    line: "● Stage  01:02:05  2.9 Mb/s  24 fps  GOP 2.0 s  1 viewer",
  },
  {
    name: "several",
    live: [stage, { ...stage, uid: "b", name: "Hall", viewers: 4 }],
    line: "● 2 live  5.9 Mb/s  5 viewers  Stage, Hall",
  },
])("$name", ({ live, line }) => expect(statusLine(live)).toBe(line));

function screen(isTTY: boolean) {
  const out = Object.assign(new PassThrough(), { isTTY, columns: 40 }) as unknown as NodeJS.WriteStream;
  return { out, text: () => String(out.read() ?? "") };
}

test("without a terminal lines pass as they are and there is no status line", async () => {
  const { out, text } = screen(false);
  const terminal = await openTerminal(out);
  terminal.status("● Stage");
  terminal.line('{"msg":"a"}');
  expect(text()).toBe('{"msg":"a"}\n');
});

test("on a terminal a line goes above the status line, which is cut to the width and repainted only when it changes", async () => {
  const { out, text } = screen(true);
  const terminal = await openTerminal(out);
  terminal.status("x".repeat(60));
  expect(text()).toBe("x".repeat(39));
  terminal.status("x".repeat(60));
  expect(text()).toBe("");
  terminal.line("something happened");
  expect(text()).toBe(`\r\x1b[2Ksomething happened\n${"x".repeat(39)}`);
  terminal.status("");
  expect(text()).toBe("\r\x1b[2K");
});

test("on a terminal log entries become readable", async () => {
  const { out, text } = screen(true);
  const terminal = await openTerminal(out);
  terminal.line('{"level":30,"time":1795346490000,"role":"ingest","uid":"abc","msg":"publish opened"}');
  expect(text().replaceAll(/\x1b\[\d+m/g, "")).toMatch(
    /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: \[ingest\] publish opened \{"uid":"abc"\}\n$/,
  );
});
