import { z } from "../lib/schema.ts";
import { ladderChoice } from "../live/ladder.ts";
import { profileNames } from "../packager/profiles.ts";
import type { Keys } from "./keys.ts";
import type { InputSettings, LiveInput, Recording } from "./store/inputs.ts";
import type { Owner, Status, Video } from "./store/records.ts";

/** Where people reach this installation: base URLs, each absent when that door is shut. */
export interface PublicUrls {
  readonly rtmp?: string | undefined;
  readonly rtmps?: string | undefined;
  readonly http?: string | undefined;
}

const maxMetaBytes = 16_384;

const flag = z.boolean({ error: "must be true or false" });
const whole = (min: number, max: number, unit: string) => {
  const error = `must be a whole number of ${unit} from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
};
const text = (max: number) => {
  const error = `must be text of at most ${max} characters`;
  return z.string({ error }).max(max, { error });
};
const meta = z
  .record(z.string(), z.unknown(), { error: "must be a JSON object" })
  .refine((value) => jsonBytes(value) <= maxMetaBytes, {
    error: `must be at most ${maxMetaBytes} bytes of JSON`,
  })
  .describe("Anything of yours. `name` is what people see.");
const signedUrls = flag.describe("true admits only viewers with a token.");
const host = /^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?$/i;
const origins = z
  .array(
    text(253).regex(host, { error: "must be hosts like example.com, *.example.com or localhost:3000" }),
    {
      error: "must be a list of hosts",
    },
  )
  .max(100, { error: "must be at most 100 hosts" })
  .describe("Hosts of pages that may show it, without scheme or path; empty is any.");

/** What a caller may say of a live input, all of it optional. Fields that are not here are ignored, as at Cloudflare. */
export const inputBody = z
  .object({
    meta,
    enabled: flag.describe("false refuses encoders, and ends the one that publishes."),
    defaultCreator: text(64),
    deleteRecordingAfterDays: whole(30, 1096, "days")
      .nullable()
      .describe("Recordings go this long after they ended; null keeps them for ever."),
    preferLowLatency: flag.describe("Kept for callers; low-latency HLS is always offered."),
    ladder: ladderChoice
      .nullable()
      .describe(
        `${ladderChoice.description} null follows the server's setting. A field of Sluice, not of Cloudflare.`,
      ),
    profile: z
      .enum(profileNames, { error: `must be one of ${profileNames.join(", ")}` })
      .describe(
        "low: parts of half a second. ultra: parts of a fifth, for players that can. safe: plain HLS in segments of about four seconds. Holds from the next broadcast on. A field of Sluice, not of Cloudflare.",
      ),
    recording: z
      .object(
        {
          mode: z
            .enum(["off", "automatic"], { error: 'must be "off" or "automatic"' })
            .describe(
              "automatic records each broadcast; it can be watched under the same URL when it is over.",
            ),
          timeoutSeconds: whole(0, 3600, "seconds").describe(
            "How long a broadcast waits for an encoder that vanished. 0 follows the server's setting.",
          ),
          requireSignedURLs: signedUrls,
          allowedOrigins: origins,
          hideLiveViewerCount: flag.describe("`/{uid}/views` does not say how many watch."),
        },
        { error: "must be a JSON object" },
      )
      .partial(),
  })
  .partial();

/** What a caller may change of a video. */
export const videoBody = z
  .object({
    meta,
    requireSignedURLs: signedUrls,
    allowedOrigins: origins,
    creator: text(64).nullable(),
    scheduledDeletion: z.iso
      .datetime({ offset: true, error: "must be a moment like 2026-01-31T12:00:00Z, or null" })
      .nullable()
      .describe("When the recording goes; null keeps it."),
    thumbnailTimestampPct: z
      .number({ error: "must be a number from 0 to 1" })
      .min(0, { error: "must be a number from 0 to 1" })
      .max(1, { error: "must be a number from 0 to 1" })
      .describe("Which moment its thumbnail shows when none is asked for, as a share of its length."),
    publicDetails: z
      .object(
        { title: text(500), share_link: text(2_000), channel_link: text(2_000), logo: text(2_000) },
        { error: "must be a JSON object" },
      )
      .partial(),
  })
  .partial();

/** What a caller says of a clip: which stretch of which video, and what may be changed of any video. */
export const clipBody = videoBody.extend({
  clippedFromVideoUID: text(64),
  startTimeSeconds: z.number({ error: "must be seconds from the video's beginning" }).min(0, {
    error: "must be seconds from the video's beginning",
  }),
  endTimeSeconds: z.number({ error: "must be seconds from the video's beginning" }).min(0, {
    error: "must be seconds from the video's beginning",
  }),
});

/** A change of a video as the store has it; what is not named stays. */
export function videoColumns(body: z.infer<typeof videoBody>) {
  const given = <T, C>(value: T | undefined, column: (value: T) => C) =>
    value === undefined ? undefined : column(value);
  const columns = {
    meta: given(body.meta, JSON.stringify),
    require_signed_urls: given(body.requireSignedURLs, (yes) => (yes ? 1 : 0)),
    allowed_origins: given(body.allowedOrigins, JSON.stringify),
    creator: given(body.creator, (name) => name),
    scheduled_deletion: given(body.scheduledDeletion, (at) => at && new Date(at).toISOString()),
    thumbnail_ppm: given(body.thumbnailTimestampPct, (share) => Math.round(share * 1_000_000)),
    public_details: given(body.publicDetails, JSON.stringify),
  };
  return Object.fromEntries(Object.entries(columns).filter(([, value]) => value !== undefined));
}

export type InputBody = z.infer<typeof inputBody>;

const door = z.object({
  url: z.string().describe("The server field of the encoder."),
  streamKey: z.string().describe("Secret: whoever has it may publish."),
});
const moment = z.string().describe("RFC 3339, UTC.");

/** A live input as the API shows it. What this installation does not serve is absent. */
export const inputView = z.object({
  uid: z.string(),
  created: moment,
  modified: moment,
  meta: z.record(z.string(), z.unknown()),
  enabled: z.boolean(),
  preferLowLatency: z.boolean(),
  ladder: ladderChoice.nullable().describe("null follows the server's setting."),
  profile: z.enum(profileNames),
  defaultCreator: z.string().optional(),
  deleteRecordingAfterDays: z.number().nullable(),
  keysRotatedAt: z.string().nullable(),
  status: z
    .object({
      current: z.object({
        state: z.enum(["connected", "disconnected"]),
        reason: z.string().describe("One of the words of Cloudflare's status enum."),
        statusEnteredAt: moment,
        statusLastSeen: moment,
        advice: z
          .string()
          .optional()
          .describe("What to change: in the encoder, or in the machine that makes the renditions."),
      }),
    })
    .nullable()
    .describe(
      "null when no encoder ever connected. An object, as clients of Cloudflare read it, though its SDK types one word: that word is `current.reason`.",
    ),
  rtmps: door.optional(),
  rtmp: door.optional(),
  playback: z.object({ hls: z.string(), dash: z.string() }).optional(),
  recording: z.object({
    mode: z.enum(["off", "automatic"]),
    timeoutSeconds: z.number(),
    requireSignedURLs: z.boolean(),
    allowedOrigins: z.array(z.string()),
    hideLiveViewerCount: z.boolean(),
  }),
});

/** A live input in a list: no secrets. */
export const inputSummary = inputView.pick({
  uid: true,
  created: true,
  modified: true,
  meta: true,
  enabled: true,
  deleteRecordingAfterDays: true,
});

/** A broadcast or its recording as the API shows it. */
export const videoView = z.object({
  uid: z.string(),
  created: moment,
  modified: moment,
  uploaded: moment,
  creator: z.string().optional(),
  meta: z.record(z.string(), z.unknown()),
  liveInput: z.string(),
  clippedFrom: z.string().optional().describe("The video that this one is a clip of."),
  readyToStream: z.boolean(),
  status: z.object({ state: z.enum(["live-inprogress", "ready"]) }),
  scheduledDeletion: moment.nullable().describe("When it goes by itself; null when it stays."),
  thumbnailTimestampPct: z.number().optional(),
  publicDetails: z.record(z.string(), z.string()).optional(),
  duration: z.number().describe("Seconds; -1 while it grows."),
  size: z.number().describe("Bytes; 0 while it grows."),
  requireSignedURLs: z.boolean(),
  allowedOrigins: z.array(z.string()),
  preview: z.string().optional(),
  thumbnail: z.string().optional().describe("A picture of it; takes `time`, `height`, `width` and `fit`."),
  playback: z.object({ hls: z.string(), dash: z.string() }).optional(),
});

/** What can be had of a video as a file. */
export const downloadsView = z.object({
  default: z.object({
    status: z.enum(["inprogress", "ready"]).describe("inprogress while the broadcast is on air."),
    percentComplete: z.number(),
    url: z.string().optional(),
  }),
});

export function viewDownloads(video: Video, urls: PublicUrls): z.infer<typeof downloadsView> {
  const live = video.state === "live-inprogress";
  const url = urls.http && `${trimmed(urls.http)}/${video.uid}/downloads/default.mp4`;
  return {
    default: {
      status: live ? "inprogress" : "ready",
      percentComplete: live ? 0 : 100,
      ...(url && { url }),
    },
  };
}

/** The settings of a new live input: what the body says, defaults for the rest. */
export function newInput(body: InputBody): InputSettings {
  return merged(
    {
      meta: {},
      enabled: true,
      defaultCreator: null,
      deleteRecordingAfterDays: null,
      preferLowLatency: true,
      ladder: null,
      profile: "low",
      recording: {
        mode: "off",
        timeoutSeconds: null,
        requireSignedURLs: false,
        allowedOrigins: [],
        hideLiveViewerCount: false,
      },
    },
    body,
  );
}

/** `present` with what the body says put over it; `recording` field by field, `meta` as a whole. */
export function merged(present: InputSettings, body: InputBody): InputSettings {
  const { recording = {} } = body;
  const timeoutSeconds =
    recording.timeoutSeconds === undefined ? present.recording.timeoutSeconds : recording.timeoutSeconds;
  return {
    meta: body.meta ?? present.meta,
    enabled: body.enabled ?? present.enabled,
    defaultCreator: body.defaultCreator ?? present.defaultCreator,
    deleteRecordingAfterDays:
      body.deleteRecordingAfterDays === undefined
        ? present.deleteRecordingAfterDays
        : body.deleteRecordingAfterDays,
    preferLowLatency: body.preferLowLatency ?? present.preferLowLatency,
    ladder: body.ladder === undefined ? present.ladder : body.ladder,
    profile: body.profile ?? present.profile,
    recording: {
      mode: recording.mode ?? present.recording.mode,
      timeoutSeconds: timeoutSeconds || null,
      requireSignedURLs: recording.requireSignedURLs ?? present.recording.requireSignedURLs,
      allowedOrigins: recording.allowedOrigins ?? present.recording.allowedOrigins,
      hideLiveViewerCount: recording.hideLiveViewerCount ?? present.recording.hideLiveViewerCount,
    } satisfies Recording,
  };
}

/** A live input with its keys and addresses. */
export function viewInput(
  input: LiveInput,
  status: Status | undefined,
  context: { readonly keys: Keys; readonly urls: PublicUrls; readonly timeoutSeconds: number },
): z.infer<typeof inputView> {
  const { keys, urls } = context;
  const streamKey = keys.streamKey(input);
  return {
    ...summarize(input),
    preferLowLatency: input.preferLowLatency,
    ladder: input.ladder,
    profile: input.profile,
    ...(input.defaultCreator !== null && { defaultCreator: input.defaultCreator }),
    keysRotatedAt: input.keysRotatedAt,
    status: status
      ? {
          current: {
            state: status.state === "connected" ? "connected" : "disconnected",
            reason: status.reason,
            statusEnteredAt: status.entered,
            statusLastSeen: status.seen,
            ...(status.advice !== null && { advice: status.advice }),
          },
        }
      : null,
    ...(urls.rtmps && { rtmps: { url: serverUrl(urls.rtmps), streamKey } }),
    ...(urls.rtmp && { rtmp: { url: serverUrl(urls.rtmp), streamKey } }),
    ...playbackOf(input.uid, urls),
    recording: {
      ...input.recording,
      allowedOrigins: [...input.recording.allowedOrigins],
      timeoutSeconds: input.recording.timeoutSeconds ?? context.timeoutSeconds,
    },
  };
}

export function summarize(input: LiveInput): z.infer<typeof inputSummary> {
  return {
    uid: input.uid,
    created: input.created,
    modified: input.modified,
    meta: input.meta,
    enabled: input.enabled,
    deleteRecordingAfterDays: input.deleteRecordingAfterDays,
  };
}

/** A video with its addresses; `input` is its live input, when that still exists. */
export function viewVideo(
  video: Video,
  input: Owner | undefined,
  urls: PublicUrls,
): z.infer<typeof videoView> {
  const live = video.state === "live-inprogress";
  const creator = video.creator ?? input?.defaultCreator;
  const called = input ? { name: `${input.name || "Live"} ${video.started}` } : {};
  return {
    uid: video.uid,
    created: video.started,
    modified: video.modified,
    uploaded: video.started,
    ...(creator != null && { creator }),
    meta: video.meta === null ? called : (JSON.parse(video.meta) as Record<string, unknown>),
    scheduledDeletion: video.scheduled_deletion,
    ...(video.thumbnail_ppm !== null && { thumbnailTimestampPct: video.thumbnail_ppm / 1_000_000 }),
    ...(video.public_details !== null && {
      publicDetails: JSON.parse(video.public_details) as Record<string, string>,
    }),
    liveInput: video.live_input,
    ...(video.clipped_from !== null && { clippedFrom: video.clipped_from }),
    readyToStream: live || video.recorded === 1,
    status: { state: live ? "live-inprogress" : "ready" },
    duration: live ? -1 : (video.seconds ?? -1),
    size: live ? 0 : (video.bytes ?? 0),
    requireSignedURLs:
      video.require_signed_urls === null
        ? (input?.recording.requireSignedURLs ?? false)
        : video.require_signed_urls === 1,
    allowedOrigins:
      video.allowed_origins === null
        ? [...(input?.recording.allowedOrigins ?? [])]
        : (JSON.parse(video.allowed_origins) as string[]),
    ...(urls.http && {
      preview: `${trimmed(urls.http)}/${video.uid}/watch`,
      thumbnail: `${trimmed(urls.http)}/${video.uid}/thumbnails/thumbnail.jpg`,
    }),
    ...playbackOf(video.uid, urls),
  };
}

/** The server field of an encoder, which ends in a slash as Cloudflare's does, so that a key can be appended to it. */
export function serverUrl(base: string): string {
  const hasPath = /^[a-z]+:\/\/[^/]+\/[^/]/.test(base);
  return hasPath ? `${trimmed(base)}/` : `${trimmed(base)}/live/`;
}

function playbackOf(uid: string, urls: PublicUrls) {
  if (!urls.http) return {};
  const manifest = `${trimmed(urls.http)}/${uid}/manifest/video`;
  return { playback: { hls: `${manifest}.m3u8`, dash: `${manifest}.mpd` } };
}

function trimmed(base: string): string {
  return base.replace(/\/+$/, "");
}

/** Infinity for what is nested deeper than JSON can be written. */
function jsonBytes(value: unknown): number {
  try {
    return Buffer.byteLength(JSON.stringify(value));
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
