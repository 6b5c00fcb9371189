import { accountOf } from "./address.ts";

export interface Doorman {
  /** How many connections are inside. */
  readonly count: number;
  /** Lets a connection from `address` in and returns what to call when it is gone; undefined when there is no room. */
  enter(address: string): (() => void) | undefined;
}

/** Counts connections, all together and for each account of addresses. */
export function createDoorman(limits: {
  readonly connections: number;
  readonly perAddress: number;
}): Doorman {
  const inside = new Map<string, number>();
  let count = 0;
  return {
    get count() {
      return count;
    },
    enter(address) {
      const account = accountOf(address);
      const own = inside.get(account) ?? 0;
      if (count >= limits.connections || own >= limits.perAddress) return undefined;
      count++;
      inside.set(account, own + 1);
      let gone = false;
      return () => {
        if (gone) return;
        gone = true;
        count--;
        const left = inside.get(account)! - 1;
        if (left > 0) inside.set(account, left);
        else inside.delete(account);
      };
    },
  };
}
