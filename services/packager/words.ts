import type { AmfObject, AmfValue } from "./amf.ts";

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

function isLanguage(text: string): boolean {
  return /^[a-z]{2,3}(-[a-z0-9]{1,8}){0,3}$/i.test(text);
}
