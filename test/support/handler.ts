import type { Directory } from "../../services/live/directory.ts";
import { Attendance } from "../../services/origin/attendance.ts";
import { Challenges } from "../../services/origin/challenges.ts";
import type { Handler } from "../../services/origin/exchange.ts";
import { Guard } from "../../services/origin/guard.ts";
import { Manifests } from "../../services/origin/manifests.ts";
import { Pages } from "../../services/origin/pages.ts";
import { Playlists } from "../../services/origin/playlists.ts";
import { createHandler } from "../../services/origin/server.ts";
import { Viewers } from "../../services/origin/viewers.ts";

/** What the origin answers of the broadcasts in `directory`, to everybody; without control and recordings. */
export function openHandler({
  directory,
  playerDir,
  failures,
}: {
  readonly directory: Directory;
  readonly playerDir: string;
  /** Takes what a request threw. */
  readonly failures: unknown[];
}): Handler {
  return createHandler({
    directory,
    playlists: new Playlists(),
    manifests: new Manifests(),
    pages: new Pages(playerDir),
    attendance: openAttendance(directory),
    dvr: true,
    guard: openToAll(),
    challenges: new Challenges(),
    control: "unix:/nonexistent/control.sock",
    secret: undefined,
    recordings: undefined,
    movies: undefined,
    thumbnails: undefined,
    failed: (error) => failures.push(error),
    answered: () => {},
  });
}

/** Counts who watches, for nobody. */
export function openAttendance(directory: Directory): Attendance {
  return new Attendance({
    ...{ directory, viewers: new Viewers(), recordings: undefined },
    ...{ isSecret: () => false, reported: () => {} },
  });
}

/** Lets everybody see everything. */
function openToAll(): Guard {
  const open = {
    uid: "0123456789abcdef0123456789abcdef",
    name: "",
    enabled: true,
    timeoutSeconds: 1,
    profile: "low" as const,
    record: false,
  };
  return new Guard({
    inputs: {
      get: () => ({ ...open, requireSignedURLs: false, allowedOrigins: [] }),
      onChange: () => () => {},
    },
    records: { get: () => undefined, values: () => [].values(), onChange: () => () => {}, contactMs: 0 },
    geo: {},
    staleMs: 1_000,
    ownerOf: () => undefined,
    refused: () => {},
  });
}
