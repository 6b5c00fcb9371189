import { z } from "../../lib/schema.ts";

/** A yes or no in a query, as Cloudflare writes them. */
export const yes = z.enum(["true", "false"], { error: "must be true or false" }).optional();
/** How many at most. */
const limit = z.coerce
  .number()
  .pipe(
    z
      .int({ error: "must be a whole number from 1 to 1000" })
      .min(1, { error: "must be a whole number from 1 to 1000" })
      .max(1_000, { error: "must be a whole number from 1 to 1000" }),
  )
  .default(1_000);

const moment = z
  .union([z.iso.datetime({ offset: true }), z.iso.date()], {
    error: "must be a moment like 2026-01-31T12:00:00Z",
  })
  .transform((text) => new Date(text).toISOString());

/** What every list can be asked for: how much of it, in which order, and of which time and owner. */
export const listQuery = z.object({
  limit,
  asc: yes.describe("true begins with the oldest."),
  include_counts: yes,
  creator: z.string().max(64).optional(),
  after: moment.optional().describe("Began, or was made, after this moment."),
  before: moment.optional(),
  start: moment.optional().describe("The same as `after`."),
  end: moment.optional().describe("The same as `before`."),
});
