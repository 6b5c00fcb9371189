import { z } from "../../lib/schema.ts";
import type { PublicUrls } from "../resources.ts";
import { type Call, codes } from "./call.ts";

type Schema = Record<string, unknown>;
type Shape = { readonly shape?: Readonly<Record<string, z.ZodType>> };

const intro =
  "The calls of Cloudflare Stream that this version serves, in the same shapes: clients written for it work with another base URL. Any account id is accepted.";

/** The OpenAPI 3.1 document of `calls`, made from the schemas that check the requests. */
export function openapi(calls: readonly Call[], urls: PublicUrls): object {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const one of calls) {
    const path = one.path.replaceAll(/:(\w+)/g, "{$1}");
    paths[path] ??= {};
    paths[path][one.method.toLowerCase()] = operation(one);
  }
  return {
    openapi: "3.1.0",
    info: { title: "Sluice", version: "1", description: intro },
    ...(urls.http && { servers: [{ url: urls.http.replace(/\/+$/, "") }] }),
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: { Error: errorEnvelope },
    },
  };
}

/** The same as one page for a person: no script, nothing from elsewhere. */
export function page(calls: readonly Call[], urls: PublicUrls): string {
  const base = (urls.http ?? "http://localhost:8080").replace(/\/+$/, "");
  const list = calls.map((one) => `<li><a href="#${idOf(one)}">${escaped(one.summary)}</a></li>`).join("\n");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sluice API</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>Sluice API</h1>
<p>${escaped(intro)}</p>
<p>Send the token with each call. The administrator's is in the file <code>admin-token</code> of the data folder.
The same as <a href="/docs/openapi.json">OpenAPI 3.1</a>.</p>
<pre><code>TOKEN=$(cat data/admin-token)</code></pre>
<p>With the official client: <code>new Cloudflare({ apiToken, baseURL: "${escaped(base)}/client/v4" })</code>.</p>
</header>
<nav aria-label="Calls"><ul>
${list}
</ul></nav>
<main>
${calls.map((one) => section(one, base)).join("\n")}
<section><h2 id="errors">Errors and notes</h2>
<p>Every answer but a 204 is <code>{result, success, errors, messages}</code>. An error is
<code>{code, message, source: {pointer}}</code>; the pointer leads to the field of the body.</p>
<p>Codes: ${Object.entries(codes)
    .map(([name, code]) => `${code} ${escaped(name)}`)
    .join(", ")}.</p></section>
</main>
</body>
</html>
`;
}

const errorEnvelope: Schema = {
  type: "object",
  properties: {
    result: { type: "null" },
    success: { const: false },
    errors: {
      type: "array",
      items: {
        type: "object",
        properties: {
          code: { type: "integer" },
          message: { type: "string" },
          source: { type: "object", properties: { pointer: { type: "string" } } },
        },
        required: ["code", "message"],
      },
    },
    messages: { type: "array" },
  },
};

function operation(one: Call): object {
  const failure = { content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } } };
  return {
    operationId: idOf(one),
    summary: one.summary,
    ...(one.detail && { description: one.detail }),
    parameters: parametersOf(one),
    ...(one.body && {
      requestBody: {
        content: {
          "application/json": {
            schema: jsonSchema(one.body, "input"),
            ...(one.example !== undefined && { example: one.example }),
          },
        },
      },
    }),
    responses: {
      ...(one.result
        ? {
            "200": {
              description: "Done",
              content: { "application/json": { schema: envelope(jsonSchema(one.result, "output")) } },
            },
          }
        : { "204": { description: "Done; no body" } }),
      "4XX": { description: "Refused, with what to change", ...failure },
    },
  };
}

function parametersOf(one: Call): object[] {
  const fields = (schema: z.ZodType) => Object.entries((schema as Shape).shape ?? {});
  return [
    ...fields(one.params).map(([name, schema]) => ({
      name,
      in: "path",
      required: true,
      schema: jsonSchema(schema, "input"),
    })),
    ...fields(one.query).map(([name, schema]) => ({
      name,
      in: "query",
      required: false,
      schema: jsonSchema(schema, "input"),
    })),
    ...(one.idempotent
      ? [
          {
            name: "Idempotency-Key",
            in: "header",
            required: false,
            schema: { type: "string", maxLength: 255 },
          },
        ]
      : []),
  ];
}

function envelope(result: Schema): Schema {
  return {
    type: "object",
    properties: {
      result,
      success: { const: true },
      errors: { type: "array", maxItems: 0 },
      messages: {
        type: "array",
        items: {
          type: "object",
          properties: { code: { type: "integer" }, message: { type: "string" } },
        },
      },
    },
    required: ["result", "success", "errors", "messages"],
  };
}

function jsonSchema(schema: z.ZodType, io: "input" | "output"): Schema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" }) as Schema;
  return rest;
}

function section(one: Call, base: string): string {
  const id = idOf(one);
  return `<section>
<h2 id="${id}">${escaped(one.summary)}</h2>
<p class="call"><b>${one.method}</b> <code>${escaped(one.path)}</code></p>
${one.detail ? `<p>${prose(one.detail)}</p>` : ""}
<pre><code>${escaped(curl(one, base))}</code></pre>
${table("Query", Object.entries((one.query as Shape).shape ?? {}), "input")}
${one.body ? table("Body", Object.entries((one.body as Shape).shape ?? {}), "input") : ""}
${one.result ? table("Result", rowsOf(one.result), "output") : "<p>Answers 204 without a body.</p>"}
</section>`;
}

/** The fields of an object, or of the objects in a list. */
function rowsOf(schema: z.ZodType): [string, z.ZodType][] {
  const element = (schema as { element?: z.ZodType }).element;
  return Object.entries(((element ?? schema) as Shape).shape ?? {});
}

function table(caption: string, fields: [string, z.ZodType][], io: "input" | "output"): string {
  const rows = fields.flatMap(([name, schema]) => lines(name, jsonSchema(schema, io)));
  if (rows.length === 0) return "";
  return `<table><caption>${caption}</caption><thead><tr><th scope="col">Field</th><th scope="col">Type</th><th scope="col">Meaning</th></tr></thead><tbody>
${rows.map((row) => `<tr><td><code>${escaped(row.name)}</code></td><td>${escaped(row.type)}</td><td>${prose(row.meaning)}</td></tr>`).join("\n")}
</tbody></table>`;
}

interface Row {
  readonly name: string;
  readonly type: string;
  readonly meaning: string;
}

/** A field and, below it, those inside it. */
function lines(name: string, schema: Schema): Row[] {
  const inner = [schema, ...((schema.anyOf ?? []) as Schema[])].find((some) => some.properties);
  const fields = Object.entries((inner?.properties ?? {}) as Record<string, Schema>);
  return [
    { name, type: typeOf(schema), meaning: String(schema.description ?? "") },
    ...fields.flatMap(([field, within]) => lines(`${name}.${field}`, within)),
  ];
}

function typeOf(schema: Schema): string {
  if (Array.isArray(schema.anyOf)) return (schema.anyOf as Schema[]).map(typeOf).join(" or ");
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  const { minimum, maximum, maxLength } = schema;
  const bounds =
    minimum !== undefined && maximum !== undefined && Number(maximum) < Number.MAX_SAFE_INTEGER
      ? ` ${minimum}-${maximum}`
      : maxLength !== undefined
        ? ` up to ${maxLength} characters`
        : "";
  return `${[schema.type ?? "any"].flat().join(" or ")}${bounds}`;
}

function curl(one: Call, base: string): string {
  const path = one.path.replace(":account", "default").replace(":uid", "UID");
  const method = one.method === "GET" ? "" : ` -X ${one.method}`;
  const body =
    one.example === undefined
      ? ""
      : ` \\\n  -H 'content-type: application/json' -d '${JSON.stringify(one.example)}'`;
  return `curl${method} -H "Authorization: Bearer $TOKEN"${body} \\\n  ${base}${path}`;
}

function idOf(one: Call): string {
  return one.summary.toLowerCase().replaceAll(/\W+/g, "-");
}

function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/** Text with `code` in it. */
function prose(text: string): string {
  return escaped(text).replaceAll(/`([^`]+)`/g, "<code>$1</code>");
}

const style = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 56rem; margin: 0 auto; padding: 1rem; }
code, pre { font: 0.9em/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; padding: 0.75rem 1rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: 6px; }
section { margin-top: 2.5rem; }
h2 { border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
.call code { overflow-wrap: anywhere; }
`;
