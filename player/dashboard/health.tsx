import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { call } from "./api.ts";
import { useLoaded } from "./load.ts";
import { Badge, Card, Note } from "./parts.tsx";
import { Plot } from "./plot.tsx";
import type { Sample } from "./shape.ts";
import type { Health, History } from "./types.ts";
import { bitrate, clock, count } from "./words.ts";

type Point = History["points"][number];

/** How far back the plots go, and how coarse; each as the API keeps it. */
const ranges = {
  now: { name: "5 min", windowMs: 5 * 60_000, step: 1 },
  hour: { name: "1 hour", windowMs: 3_600_000, step: 10 },
  day: { name: "24 hours", windowMs: 24 * 3_600_000, step: 60 },
} as const;
type Range = keyof typeof ranges;
/** A young broadcast fills the plot too. */
const leastWindowMs = 60_000;

/** Figures of what a live input sends, second by second. */
export function HealthPanel({
  uid,
  advice,
}: {
  readonly uid: string;
  /** What is known to be wrong also while nothing is on air. */
  readonly advice: string | undefined;
}): JSX.Element {
  const range = useSignal<Range>("now");
  const points = useSignal<readonly Point[]>([]);
  const next = useSignal(0);
  const { windowMs, step } = ranges[range.value];
  const now = useLoaded(
    async (signal) => {
      const path = `/v1/live_inputs/${uid}/health`;
      const since = Math.max(next.value, Date.now() - windowMs);
      const [health, history] = await Promise.all([
        call<Health | null>("GET", path, undefined, signal),
        call<History>("GET", `${path}/history?step=${step}&since=${since}`, undefined, signal),
      ]);
      next.value = history.next;
      const oldest = (history.points.at(-1)?.at ?? Date.now()) - windowMs - 2 * step * 1_000;
      points.value = [...points.value, ...history.points].filter(({ at }) => at >= oldest);
      return { health };
    },
    { key: `${uid} ${step}`, everyMs: Math.min(step, 10) * 1_000 },
  );
  const choose = (one: Range) => {
    range.value = one;
    points.value = [];
    next.value = 0;
  };
  const health = now.data.value?.health;
  const all = points.value;
  const ageMs = (all.at(-1)?.at ?? 0) - (all[0]?.at ?? 0);
  const common = { windowMs: Math.min(windowMs, Math.max(leastWindowMs, ageMs)), stepMs: step * 1_000 };
  const series = (pick: (point: Point) => number): readonly Sample[] =>
    all.map((point) => ({ at: point.at, value: pick(point) }));
  const slow = health !== null && health !== undefined && health.lagSeconds > 2;
  return (
    <Card
      title="Health"
      about={
        health ? `On air for ${clock(health.seconds)}` : "Figures appear here while the input is on air."
      }
      actions={
        <>
          {health?.state === "reconnecting" ? (
            <Badge tone="warn">Encoder away</Badge>
          ) : (
            health && <Badge tone="good">{count(health.viewers, "viewer")}</Badge>
          )}
          <fieldset class="segmented" aria-label="How far back">
            {(Object.keys(ranges) as Range[]).map((one) => (
              <button key={one} type="button" aria-pressed={one === range.value} onClick={() => choose(one)}>
                {ranges[one].name}
              </button>
            ))}
          </fieldset>
        </>
      }
    >
      {now.trouble.value && <Note tone="warn">{now.trouble.value}</Note>}
      {[...new Set([health?.advice, advice])].map(
        (text) =>
          text && (
            <Note key={text} tone="warn">
              {text}
            </Note>
          ),
      )}
      {all.length > 0 && (
        <div class="plots">
          <Plot {...common} name="Bit rate" samples={series((p) => p.kbps)} say={bitrate} least={500} />
          <Plot
            {...common}
            name="Frame rate"
            samples={series((p) => p.fps)}
            say={(v) => `${Math.round(v)} fps`}
            least={30}
          />
          <Plot
            {...common}
            name="Upload ratio"
            hint="Seconds of media that came per second; below 1 the encoder's upload is too slow."
            bad={slow}
            samples={series((p) => p.uploadRatio)}
            say={(v) => v.toFixed(2)}
            least={1.5}
          />
          <Plot
            {...common}
            name="Keyframe interval"
            hint="Time between keyframes; two seconds is right."
            bad={(health?.gopSeconds ?? 0) > 4}
            samples={series((p) => p.gopSeconds)}
            say={(v) => `${v.toFixed(1)} s`}
            least={4}
          />
          <Plot
            {...common}
            name="Dropped frames"
            hint="Frames that the encoder left out in each step."
            bad={(all.at(-1)?.droppedFrames ?? 0) > 0}
            samples={series((p) => p.droppedFrames)}
            say={(v) => String(Math.round(v))}
            least={10}
          />
          <Plot
            {...common}
            name="Viewers"
            samples={series((p) => p.viewers)}
            say={(v) => String(Math.round(v))}
            least={5}
          />
        </div>
      )}
    </Card>
  );
}
