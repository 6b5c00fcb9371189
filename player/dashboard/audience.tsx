import type { JSX } from "preact";
import { call } from "./api.ts";
import { useLoaded } from "./load.ts";
import { Card, Waiting } from "./parts.tsx";
import { Plot } from "./plot.tsx";
import type { Analytics } from "./types.ts";

const dayMs = 86_400_000;
const stepMs = 5 * 60_000;

/** Who watched in the last day: a live input or a video, by the path of the call about it. */
export function Audience({ path }: { readonly path: string }): JSX.Element {
  const watched = useLoaded(
    (signal) => call<Analytics>("GET", `${path}/analytics?step=${stepMs / 1_000}`, undefined, signal),
    { key: path, everyMs: 30_000 },
  );
  return (
    <Card title="Audience" about="In the last 24 hours.">
      <Waiting on={watched}>
        {({ totals, points, until }) => (
          <div class="stack">
            <dl class="figures">
              <Figure name="Minutes watched" value={whole(totals.watchMinutes)} />
              <Figure name="Views" value={whole(totals.views)} />
              <Figure name="Most at once" value={whole(totals.peakViewers)} />
              <Figure
                name="Stalls an hour"
                value={
                  totals.quality && totals.quality.watchMinutes > 0
                    ? ((totals.quality.stalls * 60) / totals.quality.watchMinutes).toFixed(1)
                    : "–"
                }
              />
            </dl>
            {points.length > 0 && (
              <Plot
                name="Viewers at once"
                windowMs={dayMs}
                stepMs={stepMs}
                toMs={until}
                samples={points.map(({ at, peakViewers }) => ({ at, value: peakViewers }))}
                say={whole}
                least={5}
              />
            )}
          </div>
        )}
      </Waiting>
    </Card>
  );
}

function Figure({ name, value }: { readonly name: string; readonly value: string }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}
