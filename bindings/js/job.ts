// Long work: progress as events, a result as a promise, and an abort that stops it.

export type Stage = 'calibrate' | 'quantize' | 'evaluate' | 'sensitivity';

/** Where a job is. `total` is absent while it is not known. */
export interface Progress {
  stage: Stage;
  done: number;
  total?: number;
}

/**
 * Work that has begun. Iterate for progress (or do not: nothing depends on it), await `result`.
 *
 * Iterating ends when the work ends, and throws what `result` rejects with.
 */
export class Job<T> implements AsyncIterable<Progress> {
  /** Rejects with the first error; with ABORTED after abort(). */
  readonly result: Promise<T>;
  readonly #controller: AbortController;
  #latest: Progress | undefined;
  #wake: (() => void)[] = [];
  #over = false;
  #version = 0;

  /** @internal */
  constructor(work: (report: (progress: Progress) => void, signal: AbortSignal) => Promise<T>, signal?: AbortSignal) {
    this.#controller = new AbortController();
    const abort = (): void => this.#controller.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { once: true });
    this.result = work((progress) => this.#publish(progress), this.#controller.signal).finally(() => {
      signal?.removeEventListener('abort', abort);
      this.#over = true;
      this.#notify();
    });
    this.result.catch(() => {}); // whoever awaits it still sees the error; nobody has to
  }

  /** Stops the work at its next slice and frees what it holds. */
  abort(reason?: unknown): void {
    this.#controller.abort(reason);
  }

  /** Aborts what is still running and waits for its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.abort();
    await this.result.catch(() => {});
  }

  /** Progress events; a slow reader gets the latest one, not a backlog. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Progress> {
    let seen = 0;
    for (;;) {
      if (this.#latest && this.#version !== seen) {
        seen = this.#version;
        yield this.#latest;
        continue;
      }
      if (this.#over) break;
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
    await this.result;
  }

  #publish(progress: Progress): void {
    this.#latest = progress;
    this.#version++;
    this.#notify();
  }
  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}
