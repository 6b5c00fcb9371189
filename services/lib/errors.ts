/** Every failure a peer can meet: its stable code, the HTTP status it has on a socket that speaks HTTP. */
const statuses = {
  bad_request: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  limit: 429,
  bad_media: 422,
  unavailable: 503,
} as const;

export type FailureCode = keyof typeof statuses;

/** A broken promise of a peer or of the machine. The message tells a person what to change. */
export class Failure extends Error {
  readonly code: FailureCode;
  readonly status: number;
  constructor(code: FailureCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "Failure";
    this.code = code;
    this.status = statuses[code];
  }
}

/** What `error` says, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
