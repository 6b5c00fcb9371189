import { expect, test } from "vitest";
import { publish } from "../../test/support/simulate.ts";
import { Broadcast } from "../live/broadcast.ts";
import { noTape } from "../live/tape.ts";
import { profiles } from "../packager/profiles.ts";
import { newestOf } from "./feeds.ts";

test.each(["source", "audio"])(
  "the newest object of %s is known at every moment, also while a group has only begun",
  (name) => {
    const broadcast = new Broadcast({
      ...{ input: "0".repeat(32), video: "1".repeat(32), profile: profiles.low, tape: noTape },
      plan: () => [],
      changed: () => undefined,
    });
    broadcast.begin(0, 0);
    const places: string[] = [];
    for (const { atMs, tag } of publish({ gop: 1, seconds: 8, audio: 48000 })) {
      broadcast.push(tag, atMs);
      const rendition = broadcast.renditions.get(name);
      const newest = rendition && newestOf(broadcast, { rendition, version: 0 });
      if (!newest) {
        expect(places).toEqual([]);
        continue;
      }
      const place = `${newest.group}/${newest.object}`;
      if (places.at(-1) === place) continue;
      // Objects come one after the other, groups too.
      const [group, object] = places.at(-1)?.split("/").map(Number) ?? [newest.group, -1];
      expect([`${group}/${object! + 1}`, `${group! + 1}/0`]).toContain(place);
      places.push(place);
    }
    expect(new Set(places.map((place) => place.split("/")[0])).size).toBeGreaterThan(5);
  },
);
