import { z } from "zod";

/** The schema language of the whole product: whatever comes from outside as an object is parsed with it. */
export { z };

const kinds: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a JSON object",
  record: "a JSON object",
};
/** How many of what somebody sent are repeated to him, and how much of each. */
const [mostNames, mostLetters] = [5, 64];

// What a schema does not say itself is said as ours is: the end of a sentence that begins with the field.
z.config({ customError: (issue) => ending(issue) });

function ending(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case "invalid_type": {
      const must = `must be ${kinds[issue.expected] ?? `of type ${issue.expected}`}`;
      return issue.input === undefined ? `is missing; it ${must}` : must;
    }
    case "too_big":
      return `must be at most ${issue.maximum}${unitOf(issue.origin)}`;
    case "too_small":
      return issue.origin === "string" && issue.minimum === 1
        ? "must not be empty"
        : `must be at least ${issue.minimum}${unitOf(issue.origin)}`;
    case "invalid_value":
      return `must be ${issue.values.length > 1 ? "one of " : ""}${issue.values.map(String).join(", ")}`;
    case "unrecognized_keys": {
      const names = issue.keys.slice(0, mostNames).map((key) => JSON.stringify(key.slice(0, mostLetters)));
      const more = issue.keys.length > mostNames ? " and others" : "";
      return `has fields that are not known: ${names.join(", ")}${more}`;
    }
    case "invalid_union":
      return "has none of the forms that are possible";
    case "invalid_format":
      return "is not in the form that it needs";
    default:
      return "is not possible";
  }
}

function unitOf(origin: string): string {
  return { string: " characters", array: " entries", set: " entries", file: " bytes" }[origin] ?? "";
}
