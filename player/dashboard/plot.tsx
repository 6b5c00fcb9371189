import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { nearest, type Sample, shapeOf } from "./shape.ts";
import { clock, stretch } from "./words.ts";

const width = 320;
const height = 72;

/** A figure that moves: what it is now, and the line of the last minutes with a reading under the pointer. */
export function Plot(props: {
  readonly name: string;
  readonly samples: readonly Sample[];
  readonly say: (value: number) => string;
  readonly windowMs: number;
  /** Where the plot ends; at the last sample when absent. */
  readonly toMs?: number;
  readonly stepMs: number;
  readonly least: number;
  /** Worth a look: the line and the figure say so. */
  readonly bad?: boolean;
  readonly hint?: string;
}): JSX.Element {
  const { name, samples, say, windowMs, stepMs, least, bad, hint } = props;
  const pointed = useSignal<number | undefined>(undefined);
  const last = samples.at(-1);
  const toMs = props.toMs ?? last?.at ?? Date.now();
  const fromMs = toMs - windowMs;
  const { line, area, top } = shapeOf(samples, { fromMs, toMs, width, height, holeMs: stepMs * 2.5, least });
  const read = pointed.value === undefined ? undefined : nearest(samples, fromMs + pointed.value * windowMs);
  const shown = samples.filter(({ at }) => at >= fromMs).map(({ value }) => value);
  const span = shown.length
    ? `${say(last?.value ?? 0)} now, between ${say(Math.min(...shown))} and ${say(Math.max(...shown))} in the last ${stretch(windowMs / 1_000)}`
    : "no figures yet";
  return (
    <figure class={`plot${bad ? " bad" : ""}`} data-plot={name}>
      <figcaption>
        <span class="plot-name" title={hint}>
          {name}
        </span>
        <span class="plot-value">{last ? say((read ?? last).value) : "–"}</span>
      </figcaption>
      <div
        class="plot-area"
        role="img"
        aria-label={`${name}: ${span}`}
        onPointerMove={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          pointed.value = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
        }}
        onPointerLeave={() => {
          pointed.value = undefined;
        }}
      >
        <svg
          viewBox={`0 0 ${width} ${height}`}
          preserveAspectRatio="none"
          aria-hidden="true"
          focusable="false"
        >
          <path class="grid" d={`M0 .5H${width}M0 ${height / 2}H${width}`} />
          <path class="area" d={area} />
          <path class="line" d={line} />
          {read && <path class="cross" d={`M${((read.at - fromMs) / windowMs) * width} 0V${height}`} />}
        </svg>
        <span class="plot-top" aria-hidden="true">
          {say(top)}
        </span>
        {read && (
          <span class="plot-at" aria-hidden="true">
            {clock((toMs - read.at) / 1_000)} ago
          </span>
        )}
      </div>
    </figure>
  );
}
