/**
 * What somebody outside says, fit for a quoted string of a playlist (rfc8216bis 4.1, 4.2): without quotation marks and control
 * characters, and without the beginning of a variable (4.3), which no list declares: players refuse one with it.
 */
export function quotable(text: string): string {
  return text.replace(/["\u0000-\u001f\u007f-\u009f]/g, "").replace(/\{(?=\$)/g, "(");
}
