import { z } from "../../lib/schema.ts";
import { videoBody, videoColumns, videoView, viewVideo } from "../resources.ts";
import { editVideo } from "../store/grants.ts";
import type { Page, Video, VideoFilter } from "../store/records.ts";
import { behindNotes, type Call, call, codes, type Deps, notFound } from "./call.ts";
import { onOne } from "./inputs.ts";
import { listQuery } from "./queries.ts";

const base = "/client/v4/accounts/:account/stream";
/** Those of Cloudflare; a video of a broadcast has only the last and the one before. */
const states = [
  ...["pendingupload", "downloading", "queued", "inprogress", "error"],
  ...["ready", "live-inprogress"],
] as const;
/** Of a recording that breaks off every second for half a day. */
const mostGaps = 45_000;
/** Of such a one behind as many as go together. */
const indexBytes = 16 * 1024 * 1024;

const foundRecording = z.strictObject({
  uid: z.string().regex(/^[0-9a-f]{32}$/),
  input: z.string().regex(/^[0-9a-f]{32}$/),
  startedMs: z.int().min(0).max(8.64e15),
  endedMs: z.int().min(0).max(8.64e15),
  seconds: z.number().min(0),
  bytes: z.int().min(0),
  gaps: z
    .array(
      z.strictObject({
        rendition: z.string().min(1).max(100),
        from: z.int().min(0),
        to: z.int().min(0),
        at: z.number(),
        seconds: z.number().min(0),
      }),
    )
    .max(mostGaps),
});

/** The calls about videos: broadcasts on air and what is recorded. */
export function videoCalls({ records, urls, settled, doomed }: Deps): readonly Call[] {
  const view = async (video: Video) => viewVideo(video, await records.input(video.live_input), urls);
  const list = async (filter: VideoFilter, page: Page) =>
    (await records.videos({ ...filter, ...page })).map(({ owner, ...video }) =>
      viewVideo(video, owner, urls),
    );

  return [
    call({
      method: "GET",
      path: base,
      summary: "List videos",
      detail: "Broadcasts that are on air now and recordings, newest first.",
      scope: "stream:read",
      params: onOne.pick({ account: true }),
      query: listQuery.extend({
        live_input_id: z.string().max(64).optional(),
        status: z.enum(states, { error: `must be one of ${states.join(", ")}` }).optional(),
        type: z.enum(["live", "vod"], { error: "must be live or vod" }).optional(),
        name: z.string().max(500).optional().describe("Exactly this name."),
        search: z.string().max(500).optional().describe("Part of the name or the uid."),
      }),
      result: z.array(videoView),
      async handle({ query }) {
        const filter = {
          liveInput: query.live_input_id,
          state: query.status ?? (query.type && { live: "live-inprogress", vod: "ready" }[query.type]),
          creator: query.creator,
          name: query.name,
          search: query.search,
          after: query.after ?? query.start,
          before: query.before ?? query.end,
        };
        const result = await list(filter, { limit: query.limit, oldestFirst: query.asc === "true" });
        if (query.include_counts !== "true") return { status: 200, result };
        const { count: total } = await records.videoTotals(filter);
        return { status: 200, result, counts: { range: result.length, total } };
      },
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
        const result = await list({ liveInput: params.uid }, { limit: 1_000, oldestFirst: false });
        return { status: 200, result };
      },
    }),
    call({
      method: "GET",
      path: `${base}/storage-usage`,
      summary: "See how much is recorded",
      detail: "There is no limit but the disk, so that field is absent.",
      scope: "stream:read",
      params: onOne.pick({ account: true }),
      query: z.object({ creator: z.string().max(64).optional() }),
      result: z.object({
        creator: z.string().optional(),
        totalStorageMinutes: z.number(),
        videoCount: z.number(),
      }),
      async handle({ query }) {
        const { creator } = query;
        const { count, seconds } = await records.videoTotals({ state: "ready", creator });
        return {
          status: 200,
          result: {
            ...(creator !== undefined && { creator }),
            totalStorageMinutes: Math.round(seconds / 60),
            videoCount: count,
          },
        };
      },
    }),
    call({
      method: "GET",
      path: `${base}/:uid/embed`,
      summary: "Get the HTML that embeds a video",
      detail: "Plain HTML, no envelope.",
      scope: "stream:read",
      params: onOne,
      query: z.object({}),
      async handle({ params }) {
        const { uid } = params;
        const known = (await records.video(uid)) ?? (await records.input(uid));
        if (!known) return notFound;
        const src = `${(urls.http ?? "").replace(/\/+$/, "")}/${uid}/iframe`;
        const html = `<iframe src="${src}" style="border: none" height="720" width="1280" allow="accelerometer; gyroscope; autoplay; encrypted-media; picture-in-picture" allowfullscreen="true"></iframe>`;
        return { status: 200, text: html, type: "text/html; charset=utf-8" };
      },
    }),
    call({
      method: "POST",
      path: `${base}/:uid`,
      summary: "Edit a video",
      detail:
        "Changes only the fields that are given. What viewers may see is the live input's setting until the video has its own.",
      scope: "stream:write",
      params: onOne,
      query: z.object({}),
      body: videoBody,
      result: videoView,
      example: { meta: { name: "Finals" }, requireSignedURLs: true },
      async handle({ params, body, actor }) {
        const { result: video, version } = await records.write(async (tx) => {
          const edited = await editVideo(tx, params.uid, videoColumns(body));
          if (edited) await tx.audit(actor, "video.edit", params.uid);
          return edited;
        });
        if (!video) return notFound;
        doomed();
        return { status: 200, result: await view(video), notes: behindNotes(await settled(version)) };
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
    call({
      method: "POST",
      path: "/v1/videos/index",
      summary: "Tell what recordings are on disk",
      detail:
        "What `sluice recordings rebuild-index` and `repair` found: recordings that the store has lost, and length, size and gaps of those that it has otherwise. A recording whose live input is not known needs a signed token from then on.",
      scope: "admin",
      params: z.object({}),
      query: z.object({}),
      body: z.strictObject({ recordings: z.array(foundRecording).max(1_000) }),
      bodyBytes: indexBytes,
      result: z.object({ restored: z.number() }),
      async handle({ body, actor }) {
        const { result: restored } = await records.write(async (tx) => {
          let count = 0;
          for (const found of body.recordings) if (await tx.restore(found)) count++;
          if (count > 0) await tx.audit(actor, "video.restore", String(count));
          return count;
        });
        doomed();
        return { status: 200, result: { restored } };
      },
    }),
    call({
      method: "GET",
      path: "/v1/videos/:uid/gaps",
      summary: "See what a recording lacks",
      detail:
        "Segments that its playlists list as gaps: the encoder was away, the origin was started again, or the disk did not take them.",
      scope: "stream:read",
      params: onOne.pick({ uid: true }),
      query: z.object({}),
      result: z.array(
        z.object({
          rendition: z.string(),
          from: z.number().describe("Number of its first segment."),
          to: z.number().describe("Number of its last."),
          atSeconds: z.number().describe("From the broadcast's start."),
          seconds: z.number(),
        }),
      ),
      async handle({ params }) {
        if (!(await records.video(params.uid))) return notFound;
        const rows = await records.gaps(params.uid);
        const result = rows.map(({ rendition, first: from, last: to, at_seconds: atSeconds, seconds }) => ({
          ...{ rendition, from, to, atSeconds, seconds },
        }));
        return { status: 200, result };
      },
    }),
    call({
      method: "DELETE",
      path: `${base}/:uid`,
      summary: "Delete a video",
      detail:
        "Nobody can watch it from then on; its files go at once, or when the origin that has them is back.",
      scope: "stream:write",
      params: onOne,
      query: z.object({}),
      result: z.null(),
      async handle({ params, actor }) {
        const video = await records.video(params.uid);
        if (!video) return notFound;
        if (video.state === "live-inprogress")
          return {
            status: 409,
            errors: [{ code: codes.conflict, message: "This video is on air; end its broadcast first." }],
          };
        await records.write(async (tx) => {
          if (await tx.doom(params.uid)) await tx.audit(actor, "video.delete", params.uid);
        });
        doomed();
        return { status: 200, result: null };
      },
    }),
  ];
}
