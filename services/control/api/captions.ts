import { z } from "../../lib/schema.ts";
import { readWebvtt } from "../../packager/webvtt.ts";
import { putCaption, removeCaptions } from "../store/captions.ts";
import { behindNotes, type Call, call, codes, type Deps, notFound, type Refusal } from "./call.ts";
import { onOne } from "./inputs.ts";

const base = "/client/v4/accounts/:account/stream/:uid/captions";
const maxFileBytes = 10 << 20;

const language = z
  .string()
  .regex(/^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$/, { error: "must be a language tag like en or pt-BR" });
const onLanguage = onOne.extend({ language });
const nothing = z.object({});

/** Cloudflare's shape. */
const captionView = z.object({
  language: z.string(),
  label: z.string(),
  generated: z.boolean(),
  status: z.literal("ready"),
});

const noCaptions: Refusal = {
  status: 404,
  errors: [{ code: codes.notFound, message: "This video has no captions in this language." }],
};

const view = ({ language, label }: { readonly language: string; readonly label: string }) => ({
  ...{ language, label },
  generated: false,
  status: "ready" as const,
});

/** A language as its speakers call it; the tag where nobody here knows. */
function labelOf(tag: string): string {
  try {
    return new Intl.DisplayNames([tag], { type: "language" }).of(tag) ?? tag;
  } catch {
    return tag;
  }
}

/** The calls about captions of recordings. Those that come with a broadcast are shown without any call. */
export function captionCalls({ records, settled }: Deps): readonly Call[] {
  return [
    call({
      method: "GET",
      path: base,
      summary: "List the captions of a video",
      detail: "Those that were uploaded; what a broadcast says of itself is not among them.",
      scope: "stream:read",
      params: onOne,
      query: nothing,
      result: z.array(captionView),
      async handle({ params }) {
        if (!(await records.video(params.uid))) return notFound;
        return { status: 200, result: (await records.captions(params.uid)).map(view) };
      },
    }),
    call({
      method: "GET",
      path: `${base}/:language`,
      summary: "Get the captions of a video in one language",
      scope: "stream:read",
      params: onLanguage,
      query: nothing,
      result: captionView,
      async handle({ params }) {
        const found = await records.caption({ video: params.uid, language: params.language });
        return found ? { status: 200, result: view(found) } : noCaptions;
      },
    }),
    call({
      method: "PUT",
      path: `${base}/:language`,
      summary: "Upload captions",
      detail:
        "A WebVTT file as the form field `file`, or as the body with the type text/vtt; times are from the beginning of the recording. It replaces captions in the same language, and every player of the video offers it from then on. Style sheets and regions in it have no effect.",
      scope: "stream:write",
      params: onLanguage,
      query: nothing,
      body: z.object({ file: z.string({ error: "must be a WebVTT file in UTF-8" }) }),
      bodyBytes: maxFileBytes,
      result: captionView,
      async handle({ params, body, actor }) {
        const { uid: video, language } = params;
        const read = readWebvtt(body.file);
        if (typeof read === "string")
          return {
            status: 400,
            errors: [{ code: codes.badRequest, message: `The file ${read}.`, source: { pointer: "/file" } }],
          };
        if (!(await records.video(video))) return notFound;
        const { result, version } = await records.write(async (tx) => {
          await tx.audit(actor, "captions.update", `${video} ${language}`);
          return putCaption(tx, { video, language, label: labelOf(language), webvtt: body.file });
        });
        return { status: 200, result: view(result), notes: behindNotes(await settled(version)) };
      },
    }),
    call({
      method: "DELETE",
      path: `${base}/:language`,
      summary: "Delete captions",
      scope: "stream:write",
      params: onLanguage,
      query: nothing,
      result: z.string(),
      async handle({ params, actor }) {
        const { uid: video, language } = params;
        const { result: removed, version } = await records.write(async (tx) => {
          const gone = await removeCaptions(tx, video, language);
          if (gone) await tx.audit(actor, "captions.delete", `${video} ${language}`);
          return gone;
        });
        if (!removed) return noCaptions;
        return { status: 200, result: "", notes: behindNotes(await settled(version)) };
      },
    }),
    call({
      method: "GET",
      path: `${base}/:language/vtt`,
      summary: "Get uploaded captions as their WebVTT file",
      scope: "stream:read",
      params: onLanguage,
      query: nothing,
      async handle({ params }) {
        const found = await records.caption({ video: params.uid, language: params.language });
        return found ? { status: 200, text: found.webvtt, type: "text/vtt; charset=utf-8" } : noCaptions;
      },
    }),
  ];
}
