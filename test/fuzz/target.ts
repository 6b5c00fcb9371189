/** One parser of outside bytes. */
export interface Target {
  readonly name: string;
  /** Inputs worth mutating that need no file. */
  readonly seeds: readonly Uint8Array[];
  /** Returns, or throws BadMedia or Violation. Any other throw is a fault. */
  readonly run: (bytes: Uint8Array) => void;
}
