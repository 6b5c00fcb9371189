import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "./config.ts";
import { Failure } from "./lib/errors.ts";
import { requestInternal } from "./lib/http.ts";
import { z } from "./lib/schema.ts";
import { ladderChoice } from "./live/ladder.ts";
import { readRunning } from "./supervisor/place.ts";

const base = "/client/v4/accounts/local/stream/live_inputs";
const address = z.object({ url: z.string(), streamKey: z.string() });
const input = z.object({
  uid: z.string(),
  meta: z.object({ name: z.string().optional() }).optional(),
  ladder: ladderChoice.nullish(),
  rtmps: address,
  rtmp: address.optional(),
});
const list = z.object({ liveInputs: z.array(z.object({ uid: z.string() })) });

/** `sluice input`: lists the live inputs of the Sluice that runs on this data folder with their keys, or creates one. Returns the exit code. */
export async function runInput(
  config: Config,
  verb: string | undefined,
  wish: { readonly name: string | undefined; readonly ladder: string | undefined },
): Promise<number> {
  if (verb !== undefined && verb !== "list" && verb !== "create") {
    console.error(`input: "${verb}" is not a command; type sluice input, or sluice input create NAME`);
    return 2;
  }
  const running = readRunning(config.data);
  const control = config.controlAddress ?? (running && `unix:${join(running.runtime, "control.sock")}`);
  if (!control)
    throw new Failure(
      "unavailable",
      `no Sluice runs on ${config.data}; type npm start, or name its folder with --data`,
    );
  const token = (await readFile(join(config.data, "admin-token"), "utf8")).trim();
  const call = async (path: string, json?: unknown) => {
    const answer = await requestInternal(control, path, { secret: token, json });
    const body = z
      .object({ result: z.unknown(), errors: z.array(z.object({ message: z.string() })).default([]) })
      .parse(answer.json);
    if (answer.status >= 400)
      throw new Failure("bad_request", body.errors.map((error) => error.message).join("; "));
    return body.result;
  };
  const uids =
    verb === "create"
      ? [
          input.parse(await call(base, { meta: { name: wish.name ?? "Live input" }, ladder: wish.ladder }))
            .uid,
        ]
      : list.parse(await call(base)).liveInputs.map((each) => each.uid);
  for (const uid of uids) {
    const one = input.parse(await call(`${base}/${uid}`));
    const { url, streamKey } = one.rtmp ?? one.rtmps;
    const { ladder } = one;
    const own = ladder
      ? `\n  Ladder      ${typeof ladder === "string" ? ladder : JSON.stringify(ladder)}`
      : "";
    console.log(
      `${one.meta?.name ?? "(no name)"}\n  uid         ${uid}\n  Server      ${url}\n  Stream Key  ${streamKey}${own}`,
    );
  }
  return 0;
}
