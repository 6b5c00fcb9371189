import { computed, signal } from "@preact/signals";

export const home = "/dashboard";
const path = signal(location.pathname);

/** The parts of the address behind /dashboard: `["inputs", uid]`. */
export const place = computed(() => path.value.slice(home.length).split("/").filter(Boolean));

/** Goes to a page of the dashboard without loading anything. */
export function go(to: string): void {
  if (to !== path.value) history.pushState(null, "", to);
  path.value = to;
  scrollTo(0, 0);
}

/** Makes links within the dashboard, back and forward change `place` instead of loading a page. */
export function follow(): void {
  addEventListener("popstate", () => {
    path.value = location.pathname;
  });
  document.addEventListener("click", (event) => {
    const link = (event.target as Element).closest?.("a");
    const own = link?.origin === location.origin && /^\/dashboard($|\/)/.test(link.pathname);
    if (!link || !own || link.target || event.button || event.metaKey || event.ctrlKey || event.shiftKey)
      return;
    event.preventDefault();
    go(link.pathname);
  });
}
