import { z } from "../lib/schema.ts";

/** What is known of a source before anything of it is encoded. Of sound alone, width and height are 0 and `codec` is empty. */
export interface Source {
  readonly width: number;
  readonly height: number;
  /** Width of a pixel to its height; square where it is not said. */
  readonly pixelAspect?: readonly [number, number] | undefined;
  /** Undefined when the encoder does not say it. */
  readonly frameRate?: number | undefined;
  /** As in CODECS: avc1.64001f. */
  readonly codec: string;
  /** Of the video alone; undefined when it is not known. */
  readonly kbps?: number | undefined;
  /** Of each track of sound, as in CODECS, the first one first: ac-3. */
  readonly sounds?: readonly string[] | undefined;
  /** Its keyframes are too far apart to switch at: rungs set theirs by time, and one of them has its size. */
  readonly sparse?: boolean | undefined;
}

/** A rendition that an encoder makes of the source. All of it is settled before it exists, so that a playlist can name it. */
export type Rung = PictureRung | SoundRung;

/** One of the source's first track of sound. */
export interface SoundRung {
  readonly name: string;
  readonly codec: "aac";
  /** RFC 6381. */
  readonly codecs: string;
  readonly channels: number;
  readonly kbps: number;
  /** Bits per second as CMAF. */
  readonly bandwidth: { readonly peak: number; readonly average: number };
}

/** What pictures are encoded in. */
export const pictureCodecs = ["h264", "hevc", "av1", "vp9"] as const;
export type PictureCodec = (typeof pictureCodecs)[number];

/** One of the source's picture. */
export interface PictureRung {
  /** Also the name of its rendition, and its place in URLs: 720p, or 720pav1 where it is not H.264. Unique in a ladder. */
  readonly name: string;
  readonly width: number;
  readonly height: number;
  /** What viewers get; undefined when the source's is unknown. */
  readonly frameRate: number | undefined;
  /** Frames beyond this rate are left out; undefined keeps each of the source. */
  readonly maxFrameRate: number | undefined;
  readonly codec: PictureCodec;
  /** RFC 6381: what the encoder's configuration will say. */
  readonly codecs: string;
  readonly videoKbps: number;
  /** Bits per second of the video as CMAF: the most over any two seconds, and the average. */
  readonly bandwidth: { readonly peak: number; readonly average: number };
}

/** Tells the two kinds of rung apart. */
export function isPicture(rung: Rung): rung is PictureRung {
  return rung.codec !== "aac";
}

/** Ladders that have a name. */
export const ladderNames = ["default", "full", "light", "none"] as const;
export type LadderName = (typeof ladderNames)[number];

const maxRungs = 6;
const whole = (min: number, max: number, unit: string) => {
  const error = `must be a whole number of ${unit} from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
};
const rungWish = z.strictObject(
  {
    height: whole(96, 4320, "lines").describe("Of the shorter side: 720 is 1280x720 as well as 720x1280."),
    fps: z
      .number({ error: "must be a number from 1 to 120" })
      .min(1, { error: "must be a number from 1 to 120" })
      .max(120, { error: "must be a number from 1 to 120" })
      .optional()
      .describe(
        "At most this many frames a second. When not given, 50 and 60 are halved below the first rung.",
      ),
    kbps: whole(50, 50_000, "kilobits a second")
      .optional()
      .describe(
        "Of the video; what the height usually takes when not given. Never more than the source has.",
      ),
    codec: z
      .enum(pictureCodecs, {
        error: `must be ${pictureCodecs.slice(0, -1).join(", ")} or ${pictureCodecs.at(-1)}`,
      })
      .optional()
      .describe(
        "h264 when not given. A rung in another codec is left out where the worker's ffmpeg has no encoder for it.",
      ),
  },
  {
    error: ({ code, keys }) =>
      code === "unrecognized_keys"
        ? `has no field ${(keys as string[]).join(", ")}; it takes height, fps, kbps and codec`
        : 'must be an object such as {"height": 720}',
  },
);

const rungList = z
  .array(rungWish)
  .min(1, { error: 'must have a rung; "none" is the source alone' })
  .max(maxRungs, { error: `must have at most ${maxRungs} rungs` })
  .refine(
    (list) => new Set(list.map(({ height, codec = "h264" }) => `${height} ${codec}`)).size === list.length,
    { error: "must not have two rungs of one height and codec" },
  );

/** Which rungs a live input gets: a ladder by its name, or each rung as it is wanted. Refusals are the end of a sentence. */
export const ladderChoice = z
  .union([z.enum(ladderNames), rungList], {
    error: (issue) => {
      // Of all that a union says, what is wrong with the list helps whoever wrote one.
      const inList =
        issue.code === "invalid_union" && Array.isArray(issue.input) ? issue.errors.at(-1)?.[0] : undefined;
      if (!inList)
        return `must be ${ladderNames.map((name) => `"${name}"`).join(", ")}, or a list of rungs such as [{"height": 720}]`;
      const [index, field] = inList.path;
      const where = index === undefined ? "" : `has a rung ${Number(index) + 1} `;
      return `${where}${field === undefined ? "" : `whose ${String(field)} `}${where && field === undefined ? "that " : ""}${inList.message}`;
    },
  })
  .describe(
    `default: 720p to 360p. full: 1080p to 240p. light: 480p alone. none: the source alone. Or up to ${maxRungs} rungs. What is not smaller than the source is left out. Holds from the next broadcast on.`,
  );
export type LadderChoice = z.infer<typeof ladderChoice>;
export type RungWish = z.infer<typeof rungWish>;

/** The ladder of one publish, as the origin enqueues it and a worker encodes it. */
export interface LadderJob {
  /** Names the job in the queue: while one of this name is there, another is not taken. Letters, digits and `-`. */
  readonly id: string;
  /** The live input, its broadcast and the publish. */
  readonly uid: string;
  readonly video: string;
  readonly publish: string;
  /** Ingest's internal address and the feed's path there. */
  readonly feed: string;
  readonly path: string;
  /** The origin's internal address, where the rungs go. */
  readonly origin: string;
  readonly source: Source;
  readonly rungs: readonly Rung[];
}

/** Whoever encodes, as the origin sees it: a plan, and a place for jobs. */
export interface Ladder {
  /** The rungs for a source, highest first; without a choice as this installation is set. */
  plan(source: Source, choice: LadderChoice | undefined): readonly Rung[];
  /** Asks for an encode; may be called again while nobody has begun. Rejects when the queue is away. */
  add(job: LadderJob): Promise<void>;
}
