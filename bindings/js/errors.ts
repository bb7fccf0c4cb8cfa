// Errors: what is wrong, where, and what would work.

/** Codes that the engine gives; the table with their meanings is docs/reference/errors.md. */
export type EngineErrorCode =
  | 'INVALID_MODEL'
  | 'TRUNCATED_MODEL'
  | 'UNSUPPORTED_OP'
  | 'UNSUPPORTED_ATTRIBUTE'
  | 'UNSUPPORTED_OPSET'
  | 'UNSUPPORTED_DTYPE'
  | 'MISSING_INITIALIZER'
  | 'EXTERNAL_DATA'
  | 'SHAPE_MISMATCH'
  | 'NON_FINITE_WEIGHT'
  | 'DYNAMIC_DIMENSION'
  | 'SAMPLE_SHAPE'
  | 'SAMPLE_DTYPE'
  | 'SAMPLE_MISSING'
  | 'NO_SAMPLES'
  | 'NON_FINITE_SAMPLE'
  | 'INVALID_OPTION'
  | 'INVALID_STATE'
  | 'LIMIT_EXCEEDED'
  | 'OUT_OF_MEMORY'
  | 'INTERNAL';

/** Codes that only JavaScript gives, with their meanings. */
export const hostErrorCodes = {
  ABORTED: 'The caller aborted the work.',
  BAD_IMAGE: 'A picture cannot be decoded.',
  CLOSED: 'The object was closed before the call.',
  ENGINE_FAILED: 'The engine could not be loaded, or it was replaced after a failure.',
  FETCH_FAILED: 'A file or URL could not be read.',
  IMAGE_TOO_LARGE: 'A picture has more pixels than are read, or than `memoryLimit` allows.',
  NO_SIMD: 'This JavaScript engine has no WebAssembly SIMD.',
  RECIPE_MISMATCH: 'A recipe does not fit the model or the samples, or its file came out otherwise.',
} as const;
export type HostErrorCode = keyof typeof hostErrorCodes;
export type ErrorCode = EngineErrorCode | HostErrorCode;

/** An error as plain data: how it crosses from the engine and from the worker. */
export interface ErrorData {
  code: ErrorCode;
  /** One sentence: what is wrong, with the values. */
  what: string;
  /** "node 'conv1' (Conv)", "input 'image'", a file name, or empty. */
  where: string;
  /** What would work, or empty. */
  hint: string;
  /** Every finding when there is more than one, the first included. */
  all?: ErrorData[];
}

/** Everything that Octavo throws. `message` is "where: what hint". */
export class OctavoError extends Error {
  readonly code: ErrorCode;
  readonly what: string;
  readonly where: string;
  readonly hint: string;
  readonly all: ErrorData[];

  constructor(data: Omit<ErrorData, 'where' | 'hint'> & Partial<ErrorData>, options?: ErrorOptions) {
    const where = data.where ?? '';
    const hint = data.hint ?? '';
    super(`${where ? `${where}: ` : ''}${data.what}${hint ? ` ${hint}` : ''}`, options);
    this.name = 'OctavoError';
    this.code = data.code;
    this.what = data.what;
    this.where = where;
    this.hint = hint;
    this.all = data.all ?? [];
  }
}

/** Throws ABORTED when the signal says so. */
export function throwIfAborted(signal: AbortSignal | undefined, where: string): void {
  if (signal?.aborted) throw abortError(where, signal.reason);
}

/**
 * The result of `work`, or ABORTED as soon as the signal says so: what the engine does in one piece goes on to its end, but nobody waits for it.
 * `drop` then gets a result that came all the same.
 */
export function abortable<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  where: string,
  drop: (result: T) => unknown = () => {},
): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(abortError(where, signal.reason));
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    work
      .then(
        (result) => {
          if (signal.aborted) drop(result);
          else resolve(result);
        },
        (error: unknown) => reject(error),
      )
      .finally(() => signal.removeEventListener('abort', abort));
  });
}

export function abortError(where: string, reason?: unknown): OctavoError {
  return new OctavoError({ code: 'ABORTED', what: 'The work was aborted.', where }, { cause: reason });
}
