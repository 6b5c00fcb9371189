import { signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { call } from "./api.ts";
import { Trouble, useWork } from "./forms.tsx";
import { Button, Dialog, say } from "./parts.tsx";

interface Question {
  readonly title: string;
  readonly text: ComponentChildren;
  /** What the button says that does it. */
  readonly action: string;
  readonly does: () => Promise<unknown>;
}
const question = signal<Question | undefined>(undefined);

/** Asks before something that cannot be undone. */
export function confirm(asked: Question): void {
  question.value = asked;
}

/** Shows what `confirm` asks; once on the page. */
export function Confirmation(): JSX.Element | null {
  const asked = question.value;
  const work = useWork();
  if (!asked) return null;
  const close = () => {
    question.value = undefined;
    work.trouble.value = undefined;
  };
  return (
    <Dialog title={asked.title} onClose={close}>
      <div class="stack">
        <p class="about">{asked.text}</p>
        <Trouble of={work} />
        <div class="dialog-actions">
          <Button onClick={close}>Cancel</Button>
          <Button kind="danger" busy={work.busy.value} onClick={() => work.run(asked.does, close)}>
            {asked.action}
          </Button>
        </div>
      </div>
    </Dialog>
  );
}

/** A button that deletes what is at `path` of the API, once that was confirmed. A mere icon where it has a `label`. */
export function DeleteButton(
  props: Omit<Question, "does"> & {
    readonly path: string;
    readonly label?: string;
    readonly says?: string;
    readonly then: () => unknown;
    readonly children?: ComponentChildren;
  },
): JSX.Element {
  const { path, label, says = "Deleted.", then, children, ...question } = props;
  const does = async () => {
    await call("DELETE", path);
    await then();
    say(says);
  };
  return (
    <Button
      kind={children ? "danger" : "quiet"}
      icon="trash"
      {...(label && { label })}
      onClick={() => confirm({ ...question, does })}
    >
      {children}
    </Button>
  );
}
