// The gRPC status codes that a runtime answers with.
export const Status = {
  ok: 0,
  invalidArgument: 3,
  notFound: 5,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
} as const;

export type Status = (typeof Status)[keyof typeof Status];

/** An answer other than OK: the host's mistake or the runtime's, never the author's. */
export class StatusError extends Error {
  constructor(
    readonly status: Status,
    message: string,
  ) {
    super(message);
  }
}
