import { Failure } from "../../lib/errors.ts";
import { z } from "../../lib/schema.ts";
import type { Gap } from "../../live/recordings.ts";
import { newUid } from "../keys.ts";
import { clipBody, downloadsView, videoColumns, videoView, viewDownloads, viewVideo } from "../resources.ts";
import { clipCaptions } from "../store/captions.ts";
import { replaceGaps } from "../store/gaps.ts";
import { addClip, announceClip, forgetClip } from "../store/grants.ts";
import { emitReady } from "../store/outbox.ts";
import { behindNotes, type Call, call, codes, type Deps, notFound, type Refusal } from "./call.ts";
import { onOne } from "./inputs.ts";

const base = "/client/v4/accounts/:account/stream";
/** What the origin says of a clip that it has made. */
interface Clipped {
  /** Where it begins, in seconds from the beginning of the video. */
  readonly startSeconds: number;
  /** Absent where the origin is of an earlier version. */
  readonly gaps?: readonly Gap[];
  readonly seconds: number;
  readonly bytes: number;
}

/** A clip is copied meanwhile; the public port waits for half a minute. */
const copyMs = 25_000;

const bad = (message: string, pointer: string): Refusal => ({
  status: 400,
  errors: [{ code: codes.badRequest, message, source: { pointer } }],
});

/** The calls that make files of recordings: downloads and clips. */
export function fileCalls({ records, urls, settled, askOrigin, doomed }: Deps): readonly Call[] {
  /** What the origin has copied; null where there is nothing to copy. */
  const copied = async (about: { video: string; from: number; to: number; uid: string }) => {
    const { video, ...stretch } = about;
    const made = await askOrigin(`/internal/recordings/${video}/clip`, stretch, copyMs);
    const { data } = z.object({ message: z.string() }).safeParse(made.json);
    if (made.status !== 200)
      throw new Failure("unavailable", data?.message ?? "The clip cannot be made now; try again");
    return (made.json as { recorded: Clipped | null }).recorded;
  };
  const downloads = {
    params: onOne,
    query: z.object({}),
    result: downloadsView,
    async handle({ params }: { params: { uid: string } }) {
      const video = await records.video(params.uid);
      return video ? { status: 200 as const, result: viewDownloads(video, urls) } : notFound;
    },
  };
  return [
    call({
      method: "GET",
      path: `${base}/:uid/downloads`,
      summary: "See the downloads of a video",
      detail:
        "Every recording has its MP4 from the moment its broadcast is over: it is made while it is sent. Where viewers need a token, a token with `downloadable` in place of the uid opens it.",
      scope: "stream:read",
      ...downloads,
    }),
    call({
      method: "POST",
      path: `${base}/:uid/downloads`,
      summary: "Ask for the download of a video",
      detail: "There is nothing to prepare, so it answers as GET does.",
      scope: "stream:write",
      body: z.object({}).optional(),
      ...downloads,
    }),
    call({
      method: "POST",
      path: `${base}/clip`,
      summary: "Make a video of a stretch of another one",
      detail:
        "Of a recording, or of what a broadcast that is on air has so far. Nothing is encoded: it begins with the keyframe at or before `startTimeSeconds`, and ends with the segment in which `endTimeSeconds` lies. Captions that were uploaded come along. What it demands of viewers is what the other video demands, unless the body says otherwise.",
      scope: "stream:write",
      params: onOne.pick({ account: true }),
      query: z.object({}),
      body: clipBody,
      idempotent: "answer",
      result: videoView,
      example: {
        clippedFromVideoUID: "6b9e68b07dfee8cc2d116e4c51d6a957",
        startTimeSeconds: 60,
        endTimeSeconds: 90,
      },
      async handle({ body, actor, keep }) {
        const { clippedFromVideoUID: from, startTimeSeconds: start, endTimeSeconds: end } = body;
        if (end <= start) return bad("endTimeSeconds must be after startTimeSeconds", "/endTimeSeconds");
        const source = await records.video(from);
        if (!source) return notFound;
        const uid = newUid();
        // Before there are files, so that there are none of which nobody knows.
        await records.write((tx) => announceClip(tx, source, uid));
        const recorded = await copied({ video: from, from: start, to: end, uid }).catch(
          async (error: unknown) => {
            await records.write((tx) => tx.doomClips(uid));
            doomed();
            throw error;
          },
        );
        if (!recorded) {
          await records.write((tx) => forgetClip(tx, uid));
          return bad(
            "Nothing is recorded there: it is after what there is of this video",
            "/startTimeSeconds",
          );
        }
        const { startSeconds, gaps = [], ...summary } = recorded;
        const { result, version } = await records.write(async (tx) => {
          await tx.audit(actor, "video.clip", uid);
          const video = await addClip(tx, source, { uid, ...summary, ...videoColumns(body) });
          await replaceGaps(tx.tx, uid, gaps);
          await clipCaptions(tx, { from, to: uid, startSeconds, seconds: summary.seconds });
          await emitReady(tx, uid, urls);
          const made = viewVideo(video, await tx.find(video.live_input), urls);
          await keep(tx, made);
          return made;
        });
        return { status: 200, result, notes: behindNotes(await settled(version)) };
      },
    }),
  ];
}
