import { requestErrors, type Token } from "./codec/messages.ts";
import { textOf, Violation } from "./codec/wire.ts";
import type { Refused } from "./requests.ts";

/** Bytes of tokens that a peer may have us keep. */
export const maxTokenBytes = 16 << 10;
/** Draft 16 9.3.1.4: what a kept token counts besides its own length. */
const overheadBytes = 16;

/** What a peer shows for its rights: tokens by value, and such as it registered to name them later (draft 16 9.2.2.1). */
export class Tokens {
  readonly #kept = new Map<number, Uint8Array>();
  #bytes = 0;

  /** The texts of the tokens of SETUP. Throws Violation. */
  ofSetup(tokens: readonly Token[] = []): readonly string[] {
    const texts: string[] = [];
    for (const token of tokens) {
      if (token.use === "delete" || token.use === "alias")
        throw new Violation("protocolViolation", "SETUP names a token that was never said");
      // Draft 16 9.3.1.5: what is too much to register is used all the same.
      if (token.use === "register" && this.#bytes + token.value.length + overheadBytes <= maxTokenBytes)
        this.#register(token.alias, token.value);
      texts.push(textOf(token.value));
    }
    return texts;
  }

  /** The texts of the tokens of a request, or why that is refused. Throws Violation. */
  of(tokens: readonly Token[] = []): readonly string[] | Refused {
    const texts: string[] = [];
    let refused: Refused | undefined;
    for (const token of tokens) {
      if (token.use === "delete") this.#forget(token.alias);
      else if (token.use === "alias") {
        const value = this.#kept.get(token.alias);
        if (value) texts.push(textOf(value));
        else refused = { code: requestErrors.malformedToken, reason: "There is no token of this alias" };
      } else {
        if (token.use === "register") this.#register(token.alias, token.value);
        texts.push(textOf(token.value));
      }
    }
    return refused ?? texts;
  }

  #register(alias: number, value: Uint8Array): void {
    if (this.#kept.has(alias))
      throw new Violation("duplicateTokenAlias", "A token's alias is registered twice");
    this.#bytes += value.length + overheadBytes;
    if (this.#bytes > maxTokenBytes)
      throw new Violation("tokenCacheOverflow", "Tokens are more than was allowed");
    this.#kept.set(alias, value.slice());
  }

  #forget(alias: number): void {
    const value = this.#kept.get(alias);
    if (!value) return;
    this.#bytes -= value.length + overheadBytes;
    this.#kept.delete(alias);
  }
}
