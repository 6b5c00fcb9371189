/** An element as it stands in a text. */
export interface Element {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly Element[];
}

/** Reads the XML that a manifest is made of: elements and attributes, no entities, no mixed text. Throws on anything else. */
export function readXml(text: string): Element {
  const body = text.replace(/^<\?xml[^?]*\?>\s*/, "");
  const stack: { name: string; attributes: Map<string, string>; children: Element[] }[] = [];
  let root: Element | undefined;
  let at = 0;
  const tag = /<(\/?)([\w:]+)((?:\s+[\w:]+="[^"<]*")*)\s*(\/?)>\s*/y;
  while (at < body.length) {
    tag.lastIndex = at;
    const found = tag.exec(body);
    if (!found || root) throw new Error(`not XML at ${at}: ${body.slice(at, at + 60)}`);
    at = tag.lastIndex;
    const [, closing, name, fields, empty] = found as unknown as string[];
    if (closing) {
      const open = stack.pop();
      if (open?.name !== name) throw new Error(`</${name}> closes ${open?.name}`);
      if (stack.length === 0) root = open;
      continue;
    }
    const attributes = new Map<string, string>();
    for (const [, key, value] of fields!.matchAll(/([\w:]+)="([^"]*)"/g)) {
      if (attributes.has(key!)) throw new Error(`${key} stands twice in ${name}`);
      attributes.set(key!, value!);
    }
    const element = { name: name!, attributes, children: [] as Element[] };
    stack.at(-1)?.children.push(element);
    if (!empty) stack.push(element);
    else if (stack.length === 0) root = element;
  }
  if (!root) throw new Error("an element is not closed");
  return root;
}

export function childrenOf(element: Element, name: string): Element[] {
  return element.children.filter((child) => child.name === name);
}

/** Seconds of an xs:duration as ours are written. */
export function secondsOf(text: string | undefined): number | undefined {
  const found = /^PT(\d+(?:\.\d+)?)S$/.exec(text ?? "");
  return found ? Number(found[1]) : undefined;
}
