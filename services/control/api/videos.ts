import { z } from "../../lib/schema.ts";
import { videoView, viewVideo } from "../resources.ts";
import type { Video, VideoFilter } from "../store/records.ts";
import { type Call, call, type Deps, notFound } from "./call.ts";
import { onOne } from "./inputs.ts";

const base = "/client/v4/accounts/:account/stream";
const yes = z.enum(["true", "false"], { error: "must be true or false" }).optional();
const limit = z.coerce
  .number()
  .pipe(
    z
      .int({ error: "must be a whole number from 1 to 1000" })
      .min(1, { error: "must be a whole number from 1 to 1000" })
      .max(1_000, { error: "must be a whole number from 1 to 1000" }),
  )
  .default(1_000);

/** The calls about videos: broadcasts on air and what is recorded. */
export function videoCalls({ records, urls }: Deps): readonly Call[] {
  const view = async (video: Video) => viewVideo(video, await records.input(video.live_input), urls);
  const list = async (filter: VideoFilter, counted: boolean) => {
    const { videos, total } = await records.videos(filter);
    const result = await Promise.all(videos.map(view));
    return { status: 200 as const, result, ...(counted && { counts: { range: videos.length, total } }) };
  };

  return [
    call({
      method: "GET",
      path: base,
      summary: "List videos",
      detail: "Broadcasts that are on air now, newest first.",
      scope: "stream:read",
      params: onOne.pick({ account: true }),
      query: z.object({
        limit,
        asc: yes,
        include_counts: yes,
        live_input_id: z.string().max(64).optional(),
        status: z.enum(["live-inprogress", "ready"]).optional(),
      }),
      result: z.array(videoView),
      handle: ({ query }) =>
        list(
          {
            limit: query.limit,
            oldestFirst: query.asc === "true",
            liveInput: query.live_input_id,
            state: query.status,
          },
          query.include_counts === "true",
        ),
    }),
    call({
      method: "GET",
      path: `${base}/live_inputs/:uid/videos`,
      summary: "List the videos of a live input",
      scope: "stream:read",
      params: onOne,
      query: z.object({}),
      result: z.array(videoView),
      async handle({ params }) {
        if (!(await records.input(params.uid))) return notFound;
        return list({ limit: 1_000, oldestFirst: false, liveInput: params.uid }, false);
      },
    }),
    call({
      method: "GET",
      path: `${base}/:uid`,
      summary: "Get a video",
      scope: "stream:read",
      params: onOne,
      query: z.object({}),
      result: videoView,
      async handle({ params }) {
        const video = await records.video(params.uid);
        return video ? { status: 200, result: await view(video) } : notFound;
      },
    }),
  ];
}
