import type { Protocol } from "./tally.ts";

/** One broadcast on air, as the origin reports it once a second and the terminal shows it. */
export interface LiveStatus {
  readonly uid: string;
  readonly name: string;
  readonly kbps: number;
  readonly fps: number;
  readonly gopSeconds: number;
  /** Seconds of media that came in the last second. */
  readonly uploadRatio: number;
  /** How far the upload has fallen behind since the publish began. */
  readonly lagSeconds: number;
  /** Frames that the encoder left out so far. */
  readonly droppedFrames: number;
  readonly viewers: number;
  readonly viewersBy: Readonly<Record<Protocol, number>>;
  /** Since the broadcast began. */
  readonly seconds: number;
  readonly state: "live" | "reconnecting";
  /** One sentence for the streamer, such as a keyframe interval that is too long. */
  readonly advice?: string;
}
