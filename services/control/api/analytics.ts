import { z } from "../../lib/schema.ts";
import { analyse } from "../analytics.ts";
import { type Call, call, type Deps, notFound } from "./call.ts";
import { nothing } from "./inputs.ts";

const onOne = z.object({ uid: z.string().max(64) });
const moment = z.coerce.number().pipe(z.int({ error: "must be epoch milliseconds" }).min(0).max(8.64e15));
const dayMs = 86_400_000;
/** More points than any plot shows. */
const mostPoints = 3_000;

const query = z.object({
  since: moment.optional().describe("Epoch ms; a day before `until` where it is not said."),
  until: moment.optional().describe("Epoch ms, not included; now where it is not said."),
  step: z
    .enum(["300", "3600", "86400"], { error: "must be 300, 3600 or 86400" })
    .optional()
    .describe(
      "Seconds of a point; the finest that gives no more than 3000 where it is not said. What is older than 30 days is kept by the hour.",
    ),
});
const mean = z.number().nullable();
/** How much was watched, and how well. */
const watched = z.object({
  watchMinutes: z.number(),
  views: z
    .number()
    .describe("Viewers who stayed for two seconds or more; one who is back within a minute is the same."),
  peakViewers: z.number().describe("The most at once."),
  watchMinutesBy: z.object({ hls: z.number(), dash: z.number(), moq: z.number() }),
  quality: z
    .object({
      watchMinutes: z.number().describe("Of players that report all the time, such as our own."),
      stalls: z.number().describe("Times that a player ran out of media."),
      stalledSeconds: z.number(),
      errors: z.number().describe("Times that a player gave up."),
      startupSeconds: mean.describe(
        "From the wish to play to the first picture; this and all that follow are means.",
      ),
      throughputKbps: mean.describe("Measured by players."),
      bitrateKbps: mean.describe("Of what they played."),
      bufferSeconds: mean,
      latencySeconds: mean.describe("Behind live."),
      playbackRate: mean.describe("1 is real time; players that catch up play faster."),
    })
    .nullable()
    .describe("What players say of themselves (CMCD); null where none did."),
});
const answer = {
  since: z.number(),
  until: z.number(),
  stepSeconds: z.number(),
  totals: watched,
  points: z.array(watched.extend({ at: z.number().describe("Its beginning, epoch ms.") })),
};
/** Of one live input or one video. */
export const analyticsView = z.object(answer);
const listed = z.array(watched.extend({ uid: z.string() })).describe("The most watched first, 100 at most.");
const detail =
  "Counted in steps of five minutes, seconds after it happened; steps in which nobody watched are left out.";

/** How much was watched, and how well: what the origins counted, put together. */
export function analyticsCalls({ records }: Deps): readonly Call[] {
  const look = async (asked: z.infer<typeof query>, of: { input?: string; video?: string }) => {
    const until = asked.until ?? Date.now();
    const since = asked.since ?? until - dayMs;
    const fits = (["300", "3600"] as const).find(
      (step) => (until - since) / (Number(step) * 1000) <= mostPoints,
    );
    const stepSeconds = Number(asked.step ?? fits ?? "86400");
    const { totals, points, videos, inputs } = analyse(
      await records.watched({ ...of, since, until }),
      stepSeconds * 1000,
    );
    return {
      own: { since, until, stepSeconds, totals, points: [...points] },
      videos: [...videos],
      inputs: [...inputs],
    };
  };
  return [
    call({
      method: "GET",
      path: "/v1/analytics",
      summary: "See how much was watched",
      detail,
      scope: "stream:read",
      params: nothing,
      query,
      result: z.object({ ...answer, inputs: listed }),
      async handle({ query }) {
        const { own, inputs } = await look(query, {});
        return { status: 200, result: { ...own, inputs } };
      },
    }),
    call({
      method: "GET",
      path: "/v1/live_inputs/:uid/analytics",
      summary: "See how much of a live input was watched",
      detail,
      scope: "stream:read",
      params: onOne,
      query,
      result: z.object({ ...answer, videos: listed }),
      async handle({ params, query }) {
        if (!(await records.input(params.uid))) return notFound;
        const { own, videos } = await look(query, { input: params.uid });
        return { status: 200, result: { ...own, videos } };
      },
    }),
    call({
      method: "GET",
      path: "/v1/videos/:uid/analytics",
      summary: "See how much of a video was watched",
      detail,
      scope: "stream:read",
      params: onOne,
      query,
      result: analyticsView,
      async handle({ params, query }) {
        if (!(await records.video(params.uid))) return notFound;
        return { status: 200, result: (await look(query, { video: params.uid })).own };
      },
    }),
  ];
}
