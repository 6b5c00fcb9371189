/**
 * Column types are those that SQLite and PostgreSQL share: text, integer. A flag is 0 or 1, a moment is ISO 8601 in UTC
 * with milliseconds (so that it sorts as text), a document is JSON text.
 */
export interface Tables {
  readonly settings: { readonly name: string; readonly value: string };
  readonly counters: { readonly name: string; readonly value: number };
  readonly live_inputs: InputRow;
  /** What the roles last told of an input. */
  readonly input_status: StatusRow;
  readonly videos: VideoRow;
  readonly video_gaps: GapRow;
  readonly captions: CaptionRow;
  /** Events that took effect, so that one delivered twice takes effect once. */
  readonly events_seen: { readonly node: string; readonly id: string; readonly received: string };
  readonly api_tokens: {
    readonly name: string;
    readonly sha256: string;
    readonly scopes: string;
    readonly created: string;
  };
  readonly idempotency: {
    readonly account: string;
    readonly key: string;
    readonly uid: string;
    readonly created: string;
  };
  /** What a call answered under an Idempotency-Key. */
  readonly idempotent_answers: AnswerRow;
  /** Public halves; whoever made a pair has the private one. */
  readonly signing_keys: KeyRow;
  /** `uid` as in the gate's records: token:SHA-256 or viewer:NAME. Forgotten after `until`. */
  readonly revocations: {
    readonly uid: string;
    readonly version: number | null;
    readonly until: string;
    readonly created: string;
  };
  readonly outputs: OutputRow;
  /** What was last told of an output, and before: the newest row is what it is now. */
  readonly output_states: OutputStateRow;
  readonly webhook_endpoints: EndpointRow;
  readonly webhook_outbox: NoticeRow;
  /** Sessions of the dashboard and links that open one, by the hash of what makes them so. */
  readonly passes: {
    readonly sha256: string;
    readonly kind: string;
    readonly created: string;
    readonly expires: string;
  };
  readonly watched: WatchedRow;
  readonly audit: {
    readonly id: string;
    readonly at: string;
    readonly actor: string;
    readonly action: string;
    readonly subject: string;
  };
}

export interface InputRow {
  readonly uid: string;
  readonly name: string;
  readonly meta: string;
  readonly enabled: number;
  /** Part of what the stream key is derived from: one more makes every earlier key wrong. */
  readonly key_generation: number;
  readonly keys_rotated_at: string | null;
  readonly recording: string;
  readonly default_creator: string | null;
  readonly delete_recording_after_days: number | null;
  readonly prefer_low_latency: number;
  /** A name or a list of rungs as JSON; null follows the configured default. */
  readonly ladder: string | null;
  readonly profile: string;
  readonly created: string;
  readonly modified: string;
  /** Set instead of taking the row away: its videos and a repeated Idempotency-Key still refer to it. */
  readonly deleted: string | null;
}

export interface StatusRow {
  readonly live_input: string;
  readonly state: string;
  readonly reason: string;
  readonly publish: string;
  readonly entered: string;
  readonly seen: string;
  readonly advice: string | null;
}

/** The state of a video whose files are being copied. */
export const clipping = "clipping";

export interface VideoRow {
  readonly uid: string;
  readonly live_input: string;
  /** live-inprogress, ready, or clipping. */
  readonly state: string;
  /** 1 once there is something to watch after the broadcast. */
  readonly recorded: number;
  /** Length and size of the recording. */
  readonly seconds: number | null;
  readonly bytes: number | null;
  readonly started: string;
  readonly ended: string | null;
  readonly modified: string;
  /** null follows the live input, as do the allowed origins. */
  readonly require_signed_urls: number | null;
  readonly allowed_origins: string | null;
  /** null is a name made of the live input's. */
  readonly meta: string | null;
  /** null is the live input's default. */
  readonly creator: string | null;
  readonly scheduled_deletion: string | null;
  /** Where the thumbnail is, in millionths of the duration. */
  readonly thumbnail_ppm: number | null;
  readonly public_details: string | null;
  /** The video that this one is a stretch of. */
  readonly clipped_from: string | null;
}

/** Captions that were uploaded for a video. */
export interface CaptionRow {
  readonly id: string;
  readonly video: string;
  /** RFC 5646, and as its speakers call it. */
  readonly language: string;
  readonly label: string;
  /** The file. */
  readonly webvtt: string;
  readonly created: string;
}

/** Segments of a rendition that a recording lacks. */
export interface GapRow {
  readonly video: string;
  readonly rendition: string;
  /** Numbers, both included. */
  readonly first: number;
  readonly last: number;
  /** From the broadcast's start. */
  readonly at_seconds: number;
  readonly seconds: number;
  readonly told: string;
}

/** What one source saw of a video being watched, in a step of time. */
export interface WatchedRow {
  readonly video: string;
  readonly live_input: string;
  /** Where the step begins, epoch ms. */
  readonly at: number;
  readonly source: string;
  readonly revision: number;
  readonly sums: string;
}

export interface KeyRow {
  readonly kid: string;
  readonly alg: string;
  readonly jwk: string;
  readonly created: string;
}

export interface AnswerRow {
  readonly account: string;
  readonly key: string;
  /** SHA-256 of who asked for what, so that a key is not taken for two things. */
  readonly request: string;
  /** Sealed: it may hold secrets that are shown once. */
  readonly answer: string;
  readonly created: string;
}

/** Where else a live input is sent to. */
export interface OutputRow {
  readonly uid: string;
  readonly live_input: string;
  readonly url: string;
  /** Sealed: see Keys. */
  readonly stream_key: string;
  readonly enabled: number;
  readonly created: string;
  readonly modified: string;
}

export interface OutputStateRow {
  readonly output: string;
  /** Counts the states of one output. */
  readonly seq: number;
  readonly state: string;
  readonly reason: string;
  /** A sentence for a person; null where nothing is wrong. */
  readonly error: string | null;
  readonly entered: string;
  readonly seen: string;
}

export interface EndpointRow {
  /** "account" is the one of Cloudflare's API. */
  readonly id: string;
  readonly url: string;
  /** Sealed: see Keys. */
  readonly secret: string;
  readonly created: string;
  readonly modified: string;
}

/** One event on its way to one endpoint. */
export interface NoticeRow {
  /** Orders everything that ever happened. */
  readonly seq: number;
  /** The same for every endpoint and attempt: what a receiver knows repetitions by. */
  readonly id: string;
  readonly endpoint: string;
  readonly live_input: string;
  readonly type: string;
  readonly payload: string;
  /** waiting, delivered, or dead when nobody took it for a day. */
  readonly state: string;
  readonly attempts: number;
  readonly next_at: string;
  readonly created: string;
  readonly finished: string | null;
  readonly last_error: string | null;
}

/** Now, as the store writes moments. */
export function now(): string {
  return new Date().toISOString();
}
