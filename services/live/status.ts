/** One broadcast on air, as the origin reports it once a second and the terminal shows it. */
export interface LiveStatus {
  readonly uid: string;
  readonly name: string;
  readonly kbps: number;
  readonly fps: number;
  readonly gopSeconds: number;
  readonly viewers: number;
  /** Since the broadcast began. */
  readonly seconds: number;
  readonly state: "live" | "reconnecting";
  /** One sentence for the streamer, such as a keyframe interval that is too long. */
  readonly advice?: string;
}
