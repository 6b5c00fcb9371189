import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { signOut } from "./api.ts";
import { Confirmation } from "./confirm.tsx";
import { useWork } from "./forms.tsx";
import { Icon, type IconName } from "./icons.tsx";
import { Button, said } from "./parts.tsx";
import { home, place } from "./place.ts";

const pages: readonly {
  readonly name: string;
  readonly short: string;
  readonly part: string;
  readonly icon: IconName;
}[] = [
  { name: "Live inputs", short: "Live", part: "inputs", icon: "live" },
  { name: "Recordings", short: "Recordings", part: "recordings", icon: "recordings" },
  { name: "Playback access", short: "Access", part: "access", icon: "access" },
  { name: "Webhooks", short: "Webhooks", part: "webhooks", icon: "webhooks" },
  { name: "Administration", short: "Admin", part: "admin", icon: "admin" },
];

export function Brand(): JSX.Element {
  return (
    <span class="brand">
      <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" focusable="false">
        <rect width="32" height="32" rx="8" fill="#0b1620" />
        <path
          d="M6 11c3.300 0 3.300 3 6.700 3s3.300-3 6.600-3 3.400 3 6.700 3"
          fill="none"
          stroke="#2dd4bf"
          stroke-width="2.600"
          stroke-linecap="round"
        />
        <path
          d="M6 18c3.300 0 3.300 3 6.700 3s3.300-3 6.600-3 3.400 3 6.700 3"
          fill="none"
          stroke="#5eead4"
          stroke-width="2.600"
          stroke-linecap="round"
          opacity=".65"
        />
      </svg>
      Sluice
    </span>
  );
}

/** What is around every page: where one can go, what was just said, and what is asked before something is done. */
export function Shell({ children }: { readonly children: ComponentChildren }): JSX.Element {
  const main = useRef<HTMLElement>(null);
  const leaving = useWork();
  const here = place.value[0] ?? "inputs";
  const page = place.value.join("/");
  const before = useRef(page);
  useEffect(() => {
    // Whoever reads with a screen reader or a keyboard is at the new page's heading; the first page is left alone.
    if (before.current !== page) main.current?.querySelector("h1")?.focus();
    before.current = page;
  }, [page]);
  return (
    <div class="shell">
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the page
      </button>
      <header class="side">
        <a class="home" href={home} aria-label="Sluice, live inputs">
          <Brand />
        </a>
        <nav class="pages" aria-label="Pages">
          {pages.map(({ name, short, part, icon }) => (
            <a
              key={part}
              href={part === "inputs" ? home : `${home}/${part}`}
              aria-current={here === part ? "page" : undefined}
            >
              <Icon name={icon} size={20} />
              <span class="long">{name}</span>
              <span class="short" aria-hidden="true">
                {short}
              </span>
            </a>
          ))}
        </nav>
        <div class="side-foot">
          <a class="quiet-link" href="/docs" target="_blank" rel="noopener">
            <Icon name="open" size={16} />
            <span>API reference</span>
          </a>
          <Button
            kind="quiet"
            icon="out"
            busy={leaving.busy.value}
            onClick={() => leaving.run(() => signOut())}
          >
            Sign out
          </Button>
        </div>
      </header>
      <main id="main" tabIndex={-1} ref={main}>
        {children}
      </main>
      <div class={`toast${said.value ? " shown" : ""}`} role="status" aria-live="polite">
        {said.value}
      </div>
      <Confirmation />
    </div>
  );
}
