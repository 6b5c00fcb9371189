/** What `remember` kept under `name` in this tab, from 0 to 1; `otherwise` when there is nothing. */
export function recall(name: string, otherwise: number): number {
  try {
    const text = sessionStorage.getItem(`sluice.${name}`);
    const value = text === null ? Number.NaN : Number(text);
    return value >= 0 && value <= 1 ? value : otherwise;
  } catch {
    return otherwise;
  }
}

/** Keeps a value for as long as the tab lives. Some embeds refuse storage: then nothing is remembered. */
export function remember(name: string, value: number): void {
  try {
    sessionStorage.setItem(`sluice.${name}`, String(value));
  } catch {}
}
