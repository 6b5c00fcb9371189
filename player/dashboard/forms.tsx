import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Refused, sentenceOf } from "./api.ts";
import { Button, Dialog, Note } from "./parts.tsx";

type Children = { readonly children?: ComponentChildren };

/** Puts what a control says into a signal. */
export function into<T>(signal: Signal<T>): (value: T) => void {
  return (value) => {
    signal.value = value;
  };
}

/** Puts one value into a signal, whatever happens. */
export function sets<T>(signal: Signal<T>, value: T): () => void {
  return () => {
    signal.value = value;
  };
}

interface FieldProps {
  readonly label: string;
  readonly hint?: ComponentChildren;
  readonly error?: string | undefined;
}

function Field(
  props: FieldProps & {
    readonly control: (ids: {
      id: string;
      "aria-describedby"?: string;
      "aria-invalid"?: boolean;
    }) => ComponentChildren;
  },
): JSX.Element {
  const id = useId();
  const { label, hint, error, control } = props;
  const describes = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {control({
        id,
        ...(describes && { "aria-describedby": describes }),
        ...(error && { "aria-invalid": true }),
      })}
      {error && (
        <p class="wrong" id={`${id}-error`}>
          {error}
        </p>
      )}
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

export function TextField(
  props: FieldProps & {
    readonly value: string;
    readonly onInput: (value: string) => void;
    readonly type?: "text" | "password" | "number" | "url" | "datetime-local";
    readonly placeholder?: string;
    readonly autocomplete?: string;
    readonly required?: boolean;
    readonly mono?: boolean;
    readonly min?: number;
    readonly max?: number;
    readonly lines?: number;
    readonly autofocus?: boolean;
  },
): JSX.Element {
  const { value, onInput, type = "text", lines, mono, autofocus } = props;
  const ref = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (autofocus) ref.current?.focus();
  }, [autofocus]);
  const common = {
    placeholder: props.placeholder,
    required: props.required,
    class: mono ? "mono" : "",
    spellcheck: false,
  };
  return (
    <Field
      {...props}
      control={(ids) =>
        lines ? (
          <textarea
            {...ids}
            {...common}
            rows={lines}
            value={value}
            onInput={(e) => onInput(e.currentTarget.value)}
          />
        ) : (
          <input
            {...ids}
            {...common}
            ref={ref}
            type={type as "text"}
            value={value}
            min={props.min}
            max={props.max}
            autocomplete={props.autocomplete ?? "off"}
            onInput={(e) => onInput(e.currentTarget.value)}
          />
        )
      }
    />
  );
}

/** The name in somebody's `meta`. */
export function NameField(props: {
  readonly value: string;
  readonly onInput: (value: string) => void;
  readonly of: Work;
  readonly placeholder?: string;
}): JSX.Element {
  const { of, ...field } = props;
  return <TextField label="Name" {...field} error={of.wrong("/meta")} />;
}

export function Select(
  props: FieldProps & {
    readonly value: string;
    readonly options: readonly (readonly [value: string, name: string])[];
    readonly onChange: (value: string) => void;
  },
): JSX.Element {
  return (
    <Field
      {...props}
      control={(ids) => (
        <select {...ids} value={props.value} onChange={(e) => props.onChange(e.currentTarget.value)}>
          {props.options.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      )}
    />
  );
}

/** On or off, at once understood. */
export function Switch(props: {
  readonly label: string;
  readonly hint?: ComponentChildren;
  readonly on: boolean;
  /** The label is for who hears the page; whoever sees it has it beside. */
  readonly bare?: boolean;
  readonly disabled?: boolean;
  readonly onChange: (on: boolean) => void;
}): JSX.Element {
  const id = useId();
  const { label, hint, on, bare, disabled, onChange } = props;
  return (
    <div class={`switch${bare ? " bare" : ""}`}>
      <input
        id={id}
        type="checkbox"
        role="switch"
        aria-checked={on}
        checked={on}
        disabled={disabled}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={(e) => onChange(e.currentTarget.checked)}
      />
      <div class={bare ? "visually-hidden" : ""}>
        <label for={id}>{label}</label>
        {hint && (
          <p class="hint" id={`${id}-hint`}>
            {hint}
          </p>
        )}
      </div>
    </div>
  );
}

/** One of a few, each with a sentence. */
export function Choice<V extends string>(props: {
  readonly label: string;
  readonly value: V;
  readonly options: Readonly<Record<V, { readonly name: string; readonly about: string }>>;
  readonly onChange: (value: V) => void;
}): JSX.Element {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend>{props.label}</legend>
      <div class="choice-options">
        {(Object.entries(props.options) as [V, { name: string; about: string }][]).map(([value, one]) => (
          <label key={value} class="choice-option">
            <input
              type="radio"
              name={name}
              value={value}
              checked={value === props.value}
              onChange={() => props.onChange(value)}
            />
            <span>
              <b>{one.name}</b>
              <span class="hint">{one.about}</span>
            </span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

/** A change that is under way: one at a time, with what was wrong with the last. */
export function useWork() {
  const busy = useSignal(false);
  const trouble = useSignal<unknown>(undefined);
  const asked = useRef(new Set<string>());
  return {
    busy,
    trouble,
    /** What the server says of this field of the body; whoever asks shows it. */
    wrong(pointer: string): string | undefined {
      asked.current.add(pointer);
      return trouble.value instanceof Refused ? trouble.value.fields.get(pointer) : undefined;
    },
    isShown: (pointer: string): boolean => asked.current.has(pointer),
    async run<T>(does: () => Promise<T>, then?: (done: T) => unknown): Promise<void> {
      if (busy.value) return;
      busy.value = true;
      try {
        const done = await does();
        trouble.value = undefined;
        then?.(done);
      } catch (error) {
        trouble.value = error;
      } finally {
        busy.value = false;
      }
    },
  };
}
export type Work = ReturnType<typeof useWork>;

/** Why the last change was refused, where no field of the form says it. */
export function Trouble({ of }: { readonly of: Work }): JSX.Element | null {
  const error = of.trouble.value;
  if (error === undefined) return null;
  const isElsewhere =
    error instanceof Refused && error.fields.size > 0 && [...error.fields.keys()].every(of.isShown);
  return isElsewhere ? null : <Note tone="bad">{sentenceOf(error)}</Note>;
}

/** A form that does not leave the page. */
export function Form(
  props: { readonly onSubmit: () => unknown; readonly class?: string } & Children,
): JSX.Element {
  return (
    <form
      class={props.class ?? "stack"}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void props.onSubmit();
      }}
    >
      {props.children}
    </form>
  );
}

interface Sending {
  /** What the button says that sends it. */
  readonly action: string;
  readonly of: Work;
}

/** The end of a form on a page: what was wrong with it, and the button that sends it. */
export function Submit(
  props: Sending & { readonly kind?: "main" | "danger"; readonly disabled?: boolean },
): JSX.Element {
  const { of, action, kind = "main", disabled = false } = props;
  return (
    <>
      <Trouble of={of} />
      <div class="row end">
        <Button kind={kind} type="submit" busy={of.busy.value} disabled={disabled}>
          {action}
        </Button>
      </div>
    </>
  );
}

/** A form in a window of its own. */
export function FormDialog(
  props: Sending & {
    readonly title: string;
    readonly onSubmit: () => unknown;
    readonly onClose: () => void;
  } & Children,
): JSX.Element {
  const { title, action, of, onSubmit, onClose, children } = props;
  return (
    <Dialog title={title} onClose={onClose}>
      <Form onSubmit={onSubmit}>
        {children}
        <Trouble of={of} />
        <div class="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="main" type="submit" busy={of.busy.value}>
            {action}
          </Button>
        </div>
      </Form>
    </Dialog>
  );
}
