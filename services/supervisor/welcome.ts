import type { Config } from "../settings.ts";
import { publicUrls } from "../urls.ts";

/** What a person needs next, as one block of text. */
export function welcome(options: {
  readonly config: Config;
  /** The default live input; unknown where control runs elsewhere. */
  readonly person:
    | { readonly uid: string; readonly streamKey: string; readonly dashboard: string }
    | undefined;
  /** Base URL of the figures. */
  readonly metrics: string;
  /** How long the start took. */
  readonly seconds: string;
}): string {
  const { config, person, metrics, seconds } = options;
  const urls = publicUrls(config);
  const lines = [`Sluice is ready (${seconds} s)`, ""];
  const row = (name: string, value: string) => lines.push(`  ${name.padEnd(12)}${value}`);
  if (person && config.roles.includes("origin")) {
    row("Dashboard", person.dashboard);
    if (person.dashboard.includes("#")) row("", "opens it once, without a password, within the hour");
    lines.push("");
  }
  if (config.roles.includes("ingest")) {
    lines.push("  OBS: Settings > Stream > Service Custom");
    row("Server", urls.rtmp ?? urls.rtmps);
    if (person) row("Stream Key", person.streamKey);
    if (urls.rtmp) row("RTMPS", urls.rtmps);
    row("", certified(config));
    lines.push("");
  }
  if (config.roles.includes("origin")) {
    if (person) row("Watch", `${urls.http}/${person.uid}/watch`);
    row("API", `${urls.http}/docs`);
  }
  row("Metrics", `${metrics}/metrics`);
  return `\n${lines.join("\n")}\n`;
}

function certified({ tlsCert, domain, acmeDirectory }: Config): string {
  if (tlsCert) return "with your certificate; OBS checks that it is for this name";
  if (domain.length === 0) return selfSigned;
  return `with a certificate from ${new URL(acmeDirectory).host}, self-signed until it has come`;
}

const selfSigned = "OBS trusts only a real certificate for a DNS name: --domain NAME. ffmpeg takes this one";
