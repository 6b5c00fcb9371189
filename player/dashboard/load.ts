import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { sentenceOf } from "./api.ts";

/** Something that the server knows, as it was last told. */
export interface Loaded<T> {
  /** Undefined until the first answer. */
  readonly data: Signal<T | undefined>;
  /** Why the last try failed. */
  readonly trouble: Signal<string | undefined>;
  /** Asks again at once; resolves when it is answered. */
  reload(): Promise<void>;
}

/**
 * Loads with `load` when the component appears and when `key` changes, again every `everyMs` while somebody looks at the
 * page, and at once when they come back to it.
 */
export function useLoaded<T>(
  load: (signal: AbortSignal) => Promise<T>,
  { key = "", everyMs }: { readonly key?: string; readonly everyMs?: number } = {},
): Loaded<T> {
  const data = useSignal<T | undefined>(undefined);
  const trouble = useSignal<string | undefined>(undefined);
  const again = useRef<() => Promise<void>>(async () => undefined);
  const latest = useRef(load);
  latest.current = load;

  useEffect(() => {
    const gone = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    data.value = undefined;
    trouble.value = undefined;
    const run = async (): Promise<void> => {
      clearTimeout(timer);
      try {
        const answer = await latest.current(gone.signal);
        if (gone.signal.aborted) return;
        data.value = answer;
        trouble.value = undefined;
      } catch (error) {
        if (gone.signal.aborted) return;
        trouble.value = sentenceOf(error);
      }
      clearTimeout(timer);
      if (everyMs !== undefined && !document.hidden) timer = setTimeout(run, everyMs);
    };
    again.current = run;
    const seen = () => void (document.hidden || everyMs === undefined || run());
    document.addEventListener("visibilitychange", seen);
    void run();
    return () => {
      gone.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [key, everyMs]);

  return { data, trouble, reload: () => again.current() };
}
