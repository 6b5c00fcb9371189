/** One figure at one moment. */
export interface Sample {
  /** ms since 1970. */
  readonly at: number;
  readonly value: number;
}

export interface Frame {
  readonly fromMs: number;
  readonly toMs: number;
  readonly width: number;
  readonly height: number;
  /** Samples further apart than this have a hole between them. */
  readonly holeMs: number;
  /** The least that the top of the plot stands for. */
  readonly least: number;
}

export interface Shape {
  /** Paths of SVG: the line, and what is below it. */
  readonly line: string;
  readonly area: string;
  /** What the top of the plot stands for. */
  readonly top: number;
}

/** The samples as a line in a frame of so many pixels; the bottom is zero. */
export function shapeOf(samples: readonly Sample[], frame: Frame): Shape {
  const { fromMs, toMs, width, height, holeMs, least } = frame;
  const most = samples.reduce((max, { at, value }) => (at >= fromMs ? Math.max(max, value) : max), 0);
  const top = niceTop(Math.max(most, least));
  const x = (at: number) => round(((at - fromMs) / (toMs - fromMs)) * width);
  const y = (value: number) => round(height - (value / top) * height);
  let line = "";
  let area = "";
  let run: Sample[] = [];
  const flush = () => {
    const [first, last] = [run[0], run.at(-1)];
    if (first && last) {
      const points = run.map(({ at, value }) => `${x(at)} ${y(value)}`);
      // One sample alone is a dot, which a line with round ends shows.
      const path = `M${points.join("L")}${run.length === 1 ? `L${points[0]}` : ""}`;
      line += path;
      area += `${path}L${x(last.at)} ${height}L${x(first.at)} ${height}Z`;
    }
    run = [];
  };
  for (const [index, sample] of samples.entries()) {
    const next = samples[index + 1];
    // The last one before the frame is where the line comes in.
    if (sample.at < fromMs && (!next || next.at < fromMs)) continue;
    const before = run.at(-1);
    if (before && sample.at - before.at > holeMs) flush();
    run.push(sample);
  }
  flush();
  return { line, area, top };
}

/** The next round figure above. */
export function niceTop(value: number): number {
  if (value <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return ([1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((step) => step * unit >= value) ?? 10) * unit;
}

/** The sample nearest to a moment. */
export function nearest(samples: readonly Sample[], at: number): Sample | undefined {
  return samples.reduce<Sample | undefined>(
    (best, sample) => (best && Math.abs(best.at - at) <= Math.abs(sample.at - at) ? best : sample),
    undefined,
  );
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
