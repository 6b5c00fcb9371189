import { signal, useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";
import { Icon, type IconName } from "./icons.tsx";
import type { Loaded } from "./load.ts";

type Children = { readonly children?: ComponentChildren };

/** A button that does something; `busy` keeps it from doing it twice. */
export function Button(props: {
  readonly kind?: "main" | "plain" | "quiet" | "danger";
  readonly icon?: IconName;
  readonly label?: string;
  readonly busy?: boolean;
  readonly type?: "submit" | "button";
  readonly disabled?: boolean;
  readonly onClick?: () => unknown;
  readonly children?: ComponentChildren;
}): JSX.Element {
  const { kind = "plain", icon, label, busy, type = "button", disabled, onClick, children } = props;
  return (
    <button
      type={type}
      class={`button ${kind}${children ? "" : " only-icon"}`}
      aria-label={label}
      title={children ? undefined : label}
      disabled={disabled || busy}
      aria-busy={busy}
      onClick={() => void onClick?.()}
    >
      {icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </button>
  );
}

/** A link that looks like a button. */
export function LinkButton(props: {
  readonly href: string;
  readonly kind?: "main" | "plain" | "quiet";
  readonly icon?: IconName;
  readonly download?: string;
  readonly outside?: boolean;
  readonly children: ComponentChildren;
}): JSX.Element {
  const { href, kind = "plain", icon, download, outside, children } = props;
  return (
    <a
      class={`button ${kind}`}
      href={href}
      download={download}
      {...(outside && { target: "_blank", rel: "noopener" })}
    >
      {icon && <Icon name={icon} />}
      <span>{children}</span>
    </a>
  );
}

/** A panel with a heading. */
export function Card(props: {
  readonly title: string;
  readonly about?: ComponentChildren;
  readonly actions?: ComponentChildren;
  readonly class?: string;
  readonly children?: ComponentChildren;
}): JSX.Element {
  const id = useId();
  return (
    <section class={`card ${props.class ?? ""}`} aria-labelledby={id}>
      <header class="card-head">
        <div>
          <h2 id={id}>{props.title}</h2>
          {props.about && <p class="about">{props.about}</p>}
        </div>
        {props.actions && <div class="actions">{props.actions}</div>}
      </header>
      {props.children}
    </section>
  );
}

/** The head of a page: where one is, and what can be done here. The focus goes to it when the page changes. */
export function Head(props: {
  readonly title: string;
  readonly back?: { readonly href: string; readonly name: string };
  readonly beside?: ComponentChildren;
  readonly about?: ComponentChildren;
  readonly actions?: ComponentChildren;
}): JSX.Element {
  const { title, back, beside, about, actions } = props;
  useEffect(() => {
    document.title = `${title} · Sluice`;
  }, [title]);
  return (
    <div class="head">
      <div class="head-text">
        {back && (
          <a class="back" href={back.href}>
            <Icon name="back" size={14} />
            {back.name}
          </a>
        )}
        <div class="head-line">
          <h1 tabIndex={-1}>{title}</h1>
          {beside}
        </div>
        {about && <p class="about">{about}</p>}
      </div>
      {actions && <div class="actions">{actions}</div>}
    </div>
  );
}

export function Badge(
  props: { readonly tone?: "live" | "good" | "warn" | "bad" | "idle" } & Children,
): JSX.Element {
  return <span class={`badge ${props.tone ?? "idle"}`}>{props.children}</span>;
}

/** A sentence that matters. */
export function Note(
  props: {
    readonly tone?: "bad" | "warn" | "info";
    readonly actions?: ComponentChildren;
  } & Children,
): JSX.Element {
  const { tone = "info", actions, children } = props;
  return (
    <div class={`note ${tone}`} role={tone === "bad" ? "alert" : undefined}>
      {tone !== "info" && <Icon name="warn" />}
      <div class="note-text">{children}</div>
      {actions}
    </div>
  );
}

/** What stands where a list would be. */
export function Empty(props: { readonly icon: IconName; readonly title: string } & Children): JSX.Element {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={props.icon} size={26} />
      </span>
      <p class="empty-title">{props.title}</p>
      <div class="empty-text">{props.children}</div>
    </div>
  );
}

/** What was loaded, or that it is on its way, or why it did not come. */
export function Waiting<T>(props: {
  readonly on: Loaded<T>;
  readonly children: (data: T) => ComponentChildren;
}): JSX.Element {
  const { data, trouble, reload } = props.on;
  const failed = trouble.value && (
    <Note tone="bad" actions={<Button onClick={reload}>Try again</Button>}>
      {trouble.value}
    </Note>
  );
  if (data.value !== undefined)
    return (
      <>
        {failed}
        {props.children(data.value)}
      </>
    );
  return failed || <div class="loading" role="status" aria-label="Loading" />;
}

/** Says something for a moment, also to whoever hears the page. */
export const said = signal("");
let fading: ReturnType<typeof setTimeout> | undefined;
export function say(text: string): void {
  said.value = text;
  clearTimeout(fading);
  fading = setTimeout(() => {
    said.value = "";
  }, 4_000);
}

/** Puts text on the clipboard; where that is not allowed (plain http on another host) selects it for a key press. */
async function copy(text: string, field: HTMLInputElement | null): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
    return true;
  } catch {
    if (field) {
      field.type = "text";
      field.select();
    }
    say("Selected: press Ctrl+C (⌘C) to copy.");
    return false;
  }
}

/** Something to paste elsewhere; a secret one is covered until it is asked for. */
export function Copyable(props: {
  readonly label: string;
  readonly value: string;
  readonly secret?: boolean;
}): JSX.Element {
  const { label, value, secret } = props;
  const id = useId();
  const shown = useSignal(!secret);
  const done = useSignal(false);
  const field = useRef<HTMLInputElement>(null);
  return (
    <div class="copyable">
      <label for={id}>{label}</label>
      <div class="copyable-row">
        <input
          id={id}
          ref={field}
          class="mono"
          type={(shown.value ? "text" : "password") as "text"}
          readOnly
          value={value}
          autocomplete="off"
          onFocus={(e) => e.currentTarget.select()}
        />
        {secret && (
          <Button
            kind="quiet"
            icon={shown.value ? "hidden" : "eye"}
            label={`${shown.value ? "Hide" : "Show"} ${label}`}
            onClick={() => {
              shown.value = !shown.value;
            }}
          />
        )}
        <Button
          kind="quiet"
          icon={done.value ? "check" : "copy"}
          label={`Copy ${label}`}
          onClick={async () => {
            done.value = await copy(value, field.current);
            setTimeout(() => {
              done.value = false;
            }, 1_500);
          }}
        />
      </div>
    </div>
  );
}

/** A window over the page; the browser keeps the focus inside, Escape closes it. */
export function Dialog(
  props: { readonly title: string; readonly onClose: () => void } & Children,
): JSX.Element {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  // Open with its first frame: a key that is pressed then is meant for it.
  useLayoutEffect(() => {
    ref.current?.showModal();
    // Where a person goes on: the first field, or the button that changes nothing.
    ref.current
      ?.querySelector<HTMLElement>("form :is(input, select, textarea), .dialog-actions button")
      ?.focus();
  }, []);
  return (
    <dialog
      ref={ref}
      aria-labelledby={id}
      onClose={props.onClose}
      onMouseDown={(e) => e.target === ref.current && ref.current?.close()}
    >
      <div class="dialog">
        <header class="dialog-head">
          <h2 id={id}>{props.title}</h2>
          <Button kind="quiet" icon="close" label="Close" onClick={() => ref.current?.close()} />
        </header>
        {props.children}
      </div>
    </dialog>
  );
}

/** A secret that is shown this once; `note` says so. */
export function ShownOnce(
  props: { readonly title: string; readonly note: string; readonly onClose: () => void } & Children,
): JSX.Element {
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <div class="stack">
        <Note tone="warn">{props.note}</Note>
        {props.children}
      </div>
    </Dialog>
  );
}

/** Pages beside each other, each at an address of its own. */
export function Tabs(props: {
  readonly label: string;
  readonly tabs: readonly { readonly href: string; readonly name: string; readonly here: boolean }[];
}): JSX.Element {
  return (
    <nav class="tabs" aria-label={props.label}>
      {props.tabs.map(({ href, name, here }) => (
        <a key={href} href={href} aria-current={here ? "page" : undefined}>
          {name}
        </a>
      ))}
    </nav>
  );
}
