/** Bits per second as people say them; of a figure in kb/s. */
export function bitrate(kbps: number): string {
  return kbps >= 1_000
    ? `${(kbps / 1_000).toFixed(kbps >= 10_000 ? 1 : 2)} Mb/s`
    : `${Math.round(kbps)} kb/s`;
}

/** 4:05 or 1:02:03. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3_600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number) => String(value).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Seconds of 4:05, 1:02:03 or 83.5; undefined for what is no time. */
export function secondsOf(text: string): number | undefined {
  const parts = text.trim().split(":");
  if (parts.length > 3 || !parts.every((part) => /^\d{1,6}(\.\d{1,3})?$/.test(part))) return undefined;
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0);
}

/** 5 s, 12 min, 3.4 h: how much of something there is. */
export function stretch(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3_600) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3_600).toFixed(1)} h`;
}

/** 812 kB, 3.2 GB. */
export function size(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < units.length - 1) [value, unit] = [value / 1_000, unit + 1];
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function count(value: number, word: string): string {
  return `${value} ${word}${value === 1 ? "" : "s"}`;
}

const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** A moment in the reader's own zone. */
export function moment(iso: string): string {
  return date.format(new Date(iso));
}

/** "3 minutes ago", "in 2 days". */
export function ago(iso: string, nowMs = Date.now()): string {
  const seconds = (Date.parse(iso) - nowMs) / 1_000;
  const away = Math.abs(seconds);
  if (away < 45) return seconds > 0 ? "in a moment" : "just now";
  if (away < 3_600) return relative.format(Math.round(seconds / 60), "minute");
  if (away < 86_400) return relative.format(Math.round(seconds / 3_600), "hour");
  return relative.format(Math.round(seconds / 86_400), "day");
}

/** The name that somebody gave it, else a word for it. */
export function nameOf(
  { meta }: { readonly meta: Readonly<Record<string, unknown>> },
  otherwise = "Untitled",
): string {
  return typeof meta.name === "string" && meta.name.trim() ? meta.name : otherwise;
}

/** The host of a URL, or all of what is none. */
export function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : url;
}
