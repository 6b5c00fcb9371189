/** What is known when a second encoder arrives with the key of a live input that is on air. */
export interface Contest {
  readonly nowMs: number;
  /** When the encoder on air last sent media, or began if it has not sent any. */
  readonly lastMediaMs: number;
  /** When encoders took this live input from one that was still sending, oldest first. */
  readonly takenMs: readonly number[];
}

export type Outcome =
  /** The newcomer goes on air; `takenMs` is the history from here on. */
  | { readonly stays: "newcomer"; readonly takenMs: readonly number[] }
  | { readonly stays: "current"; readonly message: string };

/** A live encoder sends audio at least every 50 ms and survives hiccups of the network; one that is gone does neither. */
const silentMs = 1_000;
const windowMs = 30_000;
const takeovers = 3;

/**
 * Who stays. The newcomer does, at once: it is nearly always the same encoder, back before its dead connection was
 * noticed. But two live encoders with one key, each with automatic reconnect, would take turns for ever and nobody
 * could watch; so after three takeovers from a live encoder within 30 s the one on air keeps its place. The address
 * plays no part: two encoders in one studio share it.
 */
export function takeover({ nowMs, lastMediaMs, takenMs }: Contest): Outcome {
  const recent = takenMs.filter((at) => nowMs - at < windowMs);
  if (nowMs - lastMediaMs > silentMs) return { stays: "newcomer", takenMs: recent };
  if (recent.length < takeovers) return { stays: "newcomer", takenMs: [...recent, nowMs] };
  return {
    stays: "current",
    message:
      "Another encoder is live with this stream key. Stop it first, or give each encoder a live input of its own.",
  };
}
