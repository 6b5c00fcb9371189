/** What `remember` kept under `name` in this tab, from 0 to 1; `otherwise` when there is nothing. */
export function recall(name: string, otherwise: number): number {
  const value = Number(recallText(name) ?? Number.NaN);
  return value >= 0 && value <= 1 ? value : otherwise;
}

/** What `remember` kept under `name` in this tab; undefined when there is nothing. */
export function recallText(name: string): string | undefined {
  try {
    return sessionStorage.getItem(`sluice.${name}`) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a value for as long as the tab lives. Some embeds refuse storage: then nothing is remembered. */
export function remember(name: string, value: number | string): void {
  try {
    sessionStorage.setItem(`sluice.${name}`, String(value));
  } catch {}
}
