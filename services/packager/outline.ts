import type { AudioMessage, VideoMessage } from "./flv.ts";

/**
 * What a message is to a reader that comes late: a configuration, under a name that tells whose; or frames, with whether
 * one can begin there. Undefined for what nobody needs.
 */
export function outlineOf(
  message: VideoMessage | AudioMessage,
): { readonly config?: string; readonly key: boolean } | undefined {
  if (message.type === "ignore") return undefined;
  if (message.type === "many") {
    const each = message.messages.map(outlineOf);
    const configs = each.flatMap((one) => one?.config ?? []);
    if (each.every((one) => !one)) return undefined;
    return configs.length > 0
      ? { config: configs.join(), key: false }
      : { key: each.some((one) => one?.key) };
  }
  if (message.type === "config" || message.type === "colour")
    return { config: `${message.type}${message.track}`, key: false };
  // Pictures of all tracks have their keyframes together; the first one leads.
  return { key: message.type === "frame" && message.track === 0 && "key" in message && message.key };
}
