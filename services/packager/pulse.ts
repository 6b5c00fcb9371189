/** Frames whose distances say how far apart an encoder sets them. */
const sampled = 31;
/** A frame this much later than the next one should be has left others out. */
const lateBy = 1.75;

/** What the clock of a publish says of its upload: how much time it has sent, and what its encoder left out of it. */
export class Pulse {
  #mediaMs = 0;
  #missing = 0;
  #last: number | undefined;
  #begunMs = 0;
  #ageMs = 0;
  #distances: number[] = [];
  #usual: number | undefined;

  /** Milliseconds of media that came, in all publishes. */
  get mediaMs(): number {
    return this.#mediaMs;
  }

  /** Frames that encoders left out of their time line, in all publishes. */
  get missing(): number {
    return this.#missing;
  }

  /** Where the wall clock would stand at media time 0, if the upload had never fallen behind; undefined before the first frame. */
  get begunMs(): number | undefined {
    return this.#last === undefined ? undefined : this.#begunMs;
  }

  /** Another publish, whose first frame is `ageMs` old. */
  begin(ageMs: number): void {
    this.#last = undefined;
    this.#ageMs = ageMs;
    this.#distances = [];
    this.#usual = undefined;
  }

  /** A frame of the reference at `rawMs` of its own clock, which has stepped where it says so. */
  frame(rawMs: number, nowMs: number, stepped: boolean): void {
    const last = this.#last;
    this.#last = rawMs;
    if (last === undefined || stepped) {
      this.#begunMs = nowMs - this.#mediaMs - (last === undefined ? this.#ageMs : 0);
      return;
    }
    const distance = rawMs - last;
    this.#mediaMs += distance;
    if (distance <= 0) return;
    if (this.#usual !== undefined && distance > lateBy * this.#usual)
      this.#missing += Math.round(distance / this.#usual) - 1;
    this.#distances.push(distance);
    if (this.#distances.length < sampled) return;
    // The one in the middle: no rounding to milliseconds, no frame that is missing moves it.
    this.#usual = this.#distances.sort((a, b) => a - b)[(sampled - 1) / 2];
    this.#distances = [];
  }
}
