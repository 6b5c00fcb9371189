import { BadMedia } from "../../services/packager/bad-media.ts";
import { maxLines } from "../../services/packager/subtitles.ts";
import { readWebvtt, webvtt } from "../../services/packager/webvtt.ts";
import type { Target } from "./target.ts";

const text = new TextEncoder();

/** A file of captions that somebody uploads. */
export const webvttFile: Target = {
  name: "webvtt",
  seeds: [
    "WEBVTT\n\n00:01.000 --> 00:02.500 line:0% align:start\n<i>First</i> &amp; second\nline\n",
    "\ufeffWEBVTT - x\r\n\r\nSTYLE\r\n::cue{}\r\n\r\nid\r\n01:00:00.000 --> 01:00:01.000\r\nlater\r\n",
  ].map((file) => text.encode(file)),
  run: (bytes) => {
    const lines = readWebvtt(new TextDecoder().decode(bytes));
    if (typeof lines === "string") throw new BadMedia("bad_flv", lines);
    if (lines.length > maxLines) throw new Error(`${lines.length} lines`);
    for (const { startMs, endMs } of lines)
      if (!(Number.isSafeInteger(startMs) && endMs > startMs)) throw new Error(`${startMs} to ${endMs}`);
    // What is served of it can be read again, cue by cue.
    const again = readWebvtt(webvtt(lines));
    if (typeof again === "string" || again.length !== lines.length) throw new Error("cues ran together");
  },
};
