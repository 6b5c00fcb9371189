/** The stretch of media that can be sought in, in media seconds. */
export interface Timeline {
  readonly start: number;
  /** Where playback is when it is live, or the end of a recording. */
  readonly end: number;
  readonly live: boolean;
}

/** Further than this behind where live playback sits is no longer live for a viewer. */
export const BEHIND_SECONDS = 3;

/** Seconds between `at` and the end; 0 where that is as good as live. */
export function behind({ end, live }: Timeline, at: number): number {
  const seconds = Math.max(0, end - at);
  return live && seconds < BEHIND_SECONDS ? 0 : seconds;
}

/** Where a step of `bySeconds` from `at` leads; the ends are not passed. */
export function stepFrom({ start, end }: Timeline, at: number, bySeconds: number): number {
  return Math.min(end, Math.max(start, at + bySeconds));
}

/** What stands beside the playhead: "-1:05" behind live, "" when it is live, "12:05 / 1:02:00" of a recording. */
export function label(timeline: Timeline, at: number): string {
  if (!timeline.live) return `${clock(at - timeline.start)} / ${clock(timeline.end - timeline.start)}`;
  const seconds = behind(timeline, at);
  return seconds === 0 ? "" : `\u2212${clock(seconds)}`;
}

/** The same for who listens to the page. */
export function spoken(timeline: Timeline, at: number): string {
  if (!timeline.live) return `${words(at - timeline.start)} of ${words(timeline.end - timeline.start)}`;
  const seconds = behind(timeline, at);
  return seconds === 0 ? "live" : `${words(seconds)} behind live`;
}

/** Seconds of a time as links carry it: "90", "90s", "1h12m27s"; undefined when it is none. */
export function parseTime(text: string): number | undefined {
  const found = /^(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8}(?:\.\d{1,3})?)s?)?$/i.exec(text.trim());
  if (!found || text.trim() === "") return undefined;
  const [hours, minutes, seconds] = found.slice(1).map((part) => Number(part ?? 0));
  return hours! * 3600 + minutes! * 60 + seconds!;
}

function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value: number) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function words(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(whole / 3600), "hour"],
    [Math.floor(whole / 60) % 60, "minute"],
    [whole % 60, "second"],
  ] as const;
  const said = parts
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}${count === 1 ? "" : "s"}`);
  return said.join(" ") || "0 seconds";
}
