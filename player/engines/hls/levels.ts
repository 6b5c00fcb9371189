import Hls, { type Level } from "hls.js";

/**
 * An `Hls` whose own choice of levels is never limited to ones that fail. The size of the player may allow a single rung: when
 * the server takes that one back, hls.js 1.7 has no other to go to and asks for it for ever.
 */
export class LiveHls extends Hls {
  override get maxAutoLevel(): number {
    const most = super.maxAutoLevel;
    if (this.levels.slice(0, most + 1).some((level) => this.#isFine(level))) return most;
    const above = this.levels.findIndex((level, index) => index > most && this.#isFine(level));
    return above < 0 ? most : above;
  }

  override get minAutoLevel(): number {
    const least = super.minAutoLevel;
    const fine = this.levels.findIndex((level, index) => index >= least && this.#isFine(level));
    return fine < 0 ? least : fine;
  }

  #isFine({ loadError, loadErrorTime }: Level): boolean {
    return loadError === 0 || performance.now() - (loadErrorTime ?? 0) > this.config.errorPenaltyExpireMs;
  }
}
