import { icons } from "./icons.ts";

export interface Item {
  readonly id: string;
  readonly label: string;
  /** Said smaller, behind the label. */
  readonly detail: string;
}

/** What a menu shows, as plain data. */
export interface MenuModel {
  readonly items: readonly Item[];
  /** The id of the item that is in force. */
  readonly chosen: string;
}

export interface Menu {
  readonly open: boolean;
  /** With fewer than two items there is no choice: the button goes. */
  render(model: MenuModel): void;
  toggle(): void;
  close(): void;
}

export interface MenuOptions {
  readonly button: HTMLButtonElement;
  /** Where the items go. */
  readonly box: HTMLElement;
  readonly onPick: (id: string) => void;
  /** It opened or closed. */
  readonly onToggle: () => void;
}

/** A menu button and its menu of radio items, as ARIA's authoring practices describe their keys. */
export function createMenu({ button, box, onPick, onToggle }: MenuOptions): Menu {
  const items = () => [...box.querySelectorAll<HTMLButtonElement>("button")];
  let shown = "";
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  box.setAttribute("role", "menu");
  box.hidden = true;

  const isOpen = () => button.ariaExpanded === "true";
  const set = (open: boolean, keepFocus = false) => {
    if (isOpen() === open) return;
    box.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) (items().find(({ ariaChecked }) => ariaChecked === "true") ?? items()[0])?.focus();
    else if (!keepFocus) button.focus();
    onToggle();
  };
  const focus = (index: number) => {
    const all = items();
    all.at(index % all.length)?.focus();
  };

  button.addEventListener("click", () => set(!isOpen()));
  button.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    own(event);
    set(true);
  });
  box.addEventListener("click", (event) => {
    const id = (event.target as Element).closest("button")?.dataset.id;
    if (id === undefined) return;
    set(false);
    onPick(id);
  });
  box.addEventListener("keydown", (event) => {
    const at = items().indexOf((event.target as Element).closest("button")!);
    if (event.key === "ArrowDown") focus(at + 1);
    else if (event.key === "ArrowUp") focus(at - 1);
    else if (event.key === "Home") focus(0);
    else if (event.key === "End") focus(-1);
    else if (event.key === "Escape") set(false);
    else if (event.key === "Tab") return set(false, true);
    // These press the item, and nothing else.
    else if (event.key === "Enter" || event.key === " ") return event.stopPropagation();
    else return;
    own(event);
  });

  return {
    get open() {
      return isOpen();
    },
    render(model) {
      const usable = model.items.length > 1;
      button.hidden = !usable;
      if (!usable) set(false);
      const wanted = JSON.stringify(model);
      if (wanted === shown) return;
      shown = wanted;
      fill(box, model);
    },
    toggle: () => set(!isOpen()),
    close: () => set(false),
  };
}

/** Changes what differs, so that the focus stays where it is. */
function fill(box: HTMLElement, { items, chosen }: MenuModel): void {
  while (box.childElementCount > items.length) box.lastElementChild!.remove();
  while (box.childElementCount < items.length) {
    const item = document.createElement("button");
    item.type = "button";
    item.tabIndex = -1;
    item.setAttribute("role", "menuitemradio");
    item.innerHTML = `${icons.check}<span></span><small></small>`;
    box.append(item);
  }
  items.forEach(({ id, label, detail }, index) => {
    const item = box.children[index] as HTMLButtonElement;
    item.dataset.id = id;
    item.ariaChecked = String(id === chosen);
    item.querySelector("span")!.textContent = label;
    item.querySelector("small")!.textContent = detail;
  });
}

function own(event: Event): void {
  event.preventDefault();
  event.stopPropagation();
}
