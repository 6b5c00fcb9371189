import { z } from "../../lib/schema.ts";
import { hashPassword, passwordIs, passwordSetting, weakness } from "../login/password.ts";
import { dashboardActor, dashboardUrl, makeLink } from "../login/sessions.ts";
import { removePass } from "../store/passes.ts";
import { type Call, call, codes, type Deps, type Refusal } from "./call.ts";
import { nothing } from "./inputs.ts";

/** The calls about who may open the dashboard. */
export function adminCalls({ records, urls }: Deps): readonly Call[] {
  return [
    call({
      method: "PUT",
      path: "/v1/admin/password",
      summary: "Set the dashboard's password",
      detail:
        "Ends every session. From the dashboard the present password has to be given too, once there is one.",
      scope: "admin",
      params: nothing,
      query: nothing,
      body: z.strictObject({
        password: z.string({ error: "must be text" }).max(1_024),
        current: z.string().max(1_024).optional(),
      }),
      async handle({ body, actor }) {
        const weak = weakness(body.password);
        if (weak) return wrong("/password", weak);
        const known = await records.setting(passwordSetting);
        if (actor === dashboardActor && known && !(await passwordIs(body.current ?? "", known)))
          return wrong("/current", "current is not the present password.");
        const hash = await hashPassword(body.password);
        await records.write(async (tx) => {
          await tx.set(passwordSetting, hash);
          await tx.audit(actor, "password.set", "admin");
          await removePass(tx, { kind: "session", sha256: undefined });
        });
        return { status: 204, behind: [] };
      },
    }),
    call({
      method: "POST",
      path: "/v1/admin/links",
      summary: "Make a link that opens the dashboard",
      detail: "Good once, within an hour, and without a password: give it to nobody else.",
      scope: "admin",
      params: nothing,
      query: nothing,
      idempotent: "answer",
      result: z.object({ url: z.string(), expires: z.string() }),
      async handle({ actor, keep }) {
        const { result } = await records.write(async (tx) => {
          const link = await makeLink(tx);
          await tx.audit(actor, "link.create", "admin");
          const made = { url: dashboardUrl(urls, link), expires: link.expires };
          await keep(tx, made);
          return made;
        });
        return { status: 200, result };
      },
    }),
  ];
}

function wrong(pointer: string, message: string): Refusal {
  return { status: 400, errors: [{ code: codes.badRequest, message, source: { pointer } }] };
}
