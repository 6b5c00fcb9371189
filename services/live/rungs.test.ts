import { expect, test } from "vitest";
import type { Rung } from "./ladder.ts";
import { Rungs } from "./rungs.ts";

const rung = (name: string, kbps = 100): Rung => ({
  name,
  codec: "aac",
  codecs: "mp4a.40.2",
  channels: 2,
  kbps,
  bandwidth: { peak: kbps * 1000, average: kbps * 1000 },
});

/** Rungs over renditions that are made at once of all that `made` names. */
function ladder(...made: string[]) {
  const renditions = new Map(["source", ...made].map((name) => [name, true]));
  const rungs = new Rungs({
    made: renditions,
    isOwn: (name) => name === "source",
    remove: (name) => renditions.delete(name),
  });
  const names = (some: readonly Rung[]) => some.map(({ name }) => name);
  return {
    rungs,
    renditions,
    seen: () => ({
      wanted: names(rungs.wanted),
      promised: names(rungs.promised),
      dropped: rungs.dropped,
      made: [...renditions.keys()].slice(1),
    }),
  };
}

test("a rung that is given up is a gap for eight seconds, then it is gone; tried again, it begins anew", () => {
  const { rungs, renditions, seen } = ladder("720p", "360p");
  rungs.adopt([rung("720p"), rung("360p")], 0);
  expect(rungs.drop(["720p"], "Too slow.", 1_000)).toEqual(["720p"]);
  expect(rungs.drop(["720p", "360p"], "Too slow.", 2_000)).toEqual(["360p"]);
  rungs.clock(9_000);
  expect([rungs.isLeaving("720p"), seen().made]).toEqual([true, ["720p", "360p"]]);
  rungs.clock(9_001);
  expect([rungs.isLeaving("720p"), rungs.isLeaving("360p")]).toEqual([false, true]);
  expect(seen()).toEqual({ wanted: [], promised: [], dropped: ["720p", "360p"], made: ["360p"] });
  expect(rungs.advice).toEqual(["Too slow.", undefined]);

  rungs.restore(["720p", "360p"], undefined);
  expect(seen()).toEqual({ wanted: ["720p", "360p"], promised: ["720p", "360p"], dropped: [], made: [] });
  renditions.set("360p", true);
  rungs.clock(60_000);
  expect(seen().made).toEqual(["360p"]);
});

test("a rung that nobody made is never a gap", () => {
  const { rungs, seen } = ladder();
  rungs.adopt([rung("720p")], 0);
  rungs.drop(["720p"], "Too slow.", 0);
  expect([rungs.isLeaving("720p"), seen().dropped]).toEqual([false, ["720p"]]);
});

test("another source's ladder takes the place of the one before, and is another plan only where it differs", () => {
  const { rungs, seen } = ladder("480p", "720p");
  rungs.adopt([rung("720p"), rung("360p")], 0);
  expect(seen()).toMatchObject({ wanted: ["720p", "360p"], dropped: ["480p"] });
  const { revision } = rungs;
  rungs.adopt([rung("720p"), rung("360p")], 100);
  expect(rungs.revision).toBe(revision);
  rungs.adopt([rung("480p"), rung("360p")], 200);
  expect(rungs.revision).toBe(revision + 1);
  expect(seen()).toEqual({
    wanted: ["480p", "360p"],
    promised: ["480p", "360p"],
    dropped: ["720p"],
    made: ["720p"],
  });
});

test("what was given up for want of a machine stays so when the ladder is planned again", () => {
  const { rungs, seen } = ladder("720p");
  rungs.adopt([rung("720p"), rung("360p")], 0);
  rungs.drop(["720p"], "Too slow.", 0);
  rungs.adopt([rung("720p", 200), rung("360p")], 100);
  expect(seen()).toMatchObject({ wanted: ["360p"], dropped: ["720p"] });
});

test("while nobody is there to make rungs, only those that somebody has begun are promised", () => {
  const { rungs, seen } = ladder("360p");
  rungs.adopt([rung("720p"), rung("360p")], 0);
  expect(rungs.withhold("No encoder.")).toBe(true);
  expect(rungs.withhold("No encoder.")).toBe(false);
  expect(seen()).toMatchObject({ wanted: ["720p", "360p"], promised: ["360p"] });
  expect(rungs.withhold(undefined)).toBe(true);
  expect(seen().promised).toEqual(["720p", "360p"]);
});
