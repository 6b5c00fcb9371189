import { isIP } from "node:net";
import type { Config } from "./settings.ts";

/** Base URLs that people and programs paste; RTMP ones end in the application `live`. */
export interface BaseUrls {
  /** Absent when plain RTMP is switched off. */
  readonly rtmp?: string;
  readonly rtmps: string;
  readonly http: string;
  readonly https: string;
}

/** URLs of the ports of `config` on `host`. */
export function baseUrls(config: Config, host: string): BaseUrls {
  const name = isIP(host) === 6 ? `[${host}]` : host;
  return {
    ...(config.rtmp && { rtmp: `rtmp://${name}:${config.rtmpPort}/live` }),
    rtmps: `rtmps://${name}:${config.rtmpsPort}/live`,
    http: `http://${name}:${config.httpPort}`,
    https: `https://${name}:${config.httpsPort}`,
  };
}

/** The host in URLs for people on this machine: what Sluice listens on, or localhost when that is every address. */
export function localHost(config: Config): string {
  return ["0.0.0.0", "::"].includes(config.host) ? "localhost" : config.host;
}

/** What the API hands to people elsewhere: `publicUrl` and its host when set, else the first domain, else what is right on this machine. */
export function publicUrls(config: Config): BaseUrls {
  const [domain] = config.domain;
  const host = config.publicUrl
    ? new URL(config.publicUrl).hostname.replace(/^\[|\]$/g, "")
    : (domain ?? localHost(config));
  const urls = baseUrls(config, host);
  if (config.publicUrl) return { ...urls, http: config.publicUrl.replace(/\/+$/, "") };
  return domain ? { ...urls, http: urls.https.replace(/:443$/, "") } : urls;
}
