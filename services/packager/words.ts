import type { AmfObject, AmfValue } from "./amf.ts";
import { fromBase64 } from "./base64.ts";
import { captionsInData, captionsInT35, type Triplets } from "./codec/a53.ts";

/** What is to be shown from a moment on until something else is said. */
export interface Words {
  readonly text: string;
  /** RFC 5646, where the publisher says it. */
  readonly language: string | undefined;
  /** For how long at the most. */
  readonly mostMs: number;
}

/** Whoever stops speaking need not say so. */
const usualMs = 8_000;
const maxText = 4_096;

/** Reads the value of `onTextData`; undefined where it says nothing. An empty text takes away what is shown. */
export function readWords(value: AmfValue): Words | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { text, language, lang, duration } = value as AmfObject;
  if (typeof text !== "string" || text.length > maxText) return undefined;
  const tag = [language, lang].find((one) => typeof one === "string" && isLanguage(one));
  const stated = typeof duration === "number" && duration > 0 && duration <= 60 ? duration * 1000 : undefined;
  return { text, language: typeof tag === "string" ? tag : undefined, mostMs: stated ?? usualMs };
}

/** Captions stand until they are taken away; whoever joins later is not told, so not for ever. */
export const captionMs = 16_000;
/** As base64: a message has at most 31 triplets. */
const maxInfo = 1_024;
const country = [0xb5, 0x00, 0x31];

/** The captions in the value of `onCaptionInfo`: A/53 data as base64, from its country code, from `GA94` or from cc_data on. */
export function readCaptionInfo(value: AmfValue): Triplets | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { data } = value as AmfObject;
  const bytes = typeof data === "string" && data.length <= maxInfo ? fromBase64(data) : undefined;
  if (!bytes || bytes.length < 5) return undefined;
  return captionsInT35(bytes) ?? captionsInT35(Uint8Array.of(...country, ...bytes)) ?? bare(bytes);
}

/** Behind the count of cc_data stands a byte of ones. */
function bare(bytes: Uint8Array): Triplets | undefined {
  return bytes[1] === 0xff ? captionsInData(bytes) : undefined;
}

function isLanguage(text: string): boolean {
  return /^[a-z]{2,3}(-[a-z0-9]{1,8}){0,3}$/i.test(text);
}
