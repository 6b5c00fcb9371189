import { freePort, freeUdpPorts } from "./ports.ts";
import { type Sluice, startSluice } from "./sluice.ts";

export interface RelayRow {
  /** Where each relay takes viewers (UDP, loopback). */
  readonly ports: readonly number[];
  /** Starts a machine of the row, also again; the first one first. `more` is what is particular about it. */
  start(index: 0 | 1 | 2, more?: { readonly dataDir?: string; readonly next?: string }): Promise<Sluice>;
}

/**
 * Three machines over one Redis: one with everything, two with a relay each, in a row: the last takes from the second unless that is
 * gone.
 */
export async function openRelayRow(redisUrl: string): Promise<RelayRow> {
  const [control, ports] = await Promise.all([freePort(), freeUdpPorts(3)]);
  const nodes = ports.map((port) => `127.0.0.1:${port}`);
  const costs = ["", `${nodes[0]}=1`, `${nodes[0]}=1000,${nodes[1]}=1`];
  return {
    ports,
    start: (index, { dataDir, next } = {}) =>
      startSluice({
        ...(dataDir !== undefined && { dataDir }),
        args: ["--moq-port", `${ports[index]}`],
        env: {
          SLUICE_MOQ: "true",
          SLUICE_CONTROL_ADDRESS: `http://127.0.0.1:${control}`,
          SLUICE_REDIS_URL: redisUrl,
          SLUICE_INTERNAL_SECRET: "a long text that every machine knows",
          SLUICE_RELAY_NODE: nodes[index]!,
          ...(index > 0 && { SLUICE_RELAY_COSTS: costs[index]!, SLUICE_ROLES: "relay" }),
          ...(next !== undefined && { SLUICE_RELAY_NEXT: next }),
        },
      }),
  };
}
