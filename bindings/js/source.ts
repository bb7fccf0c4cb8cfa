// Where a model's bytes come from, read in pieces.

import { abortError, OctavoError, throwIfAborted } from './errors.js';
import { isNode } from './features.js';

export type ModelSource = Uint8Array | ArrayBuffer | Blob | URL | string | Response | ReadableStream<Uint8Array>;

/** As much as is handed on at once. */
export const pieceBytes: number = 16 * 2 ** 20;

/** A source that was opened: its size where that is known, and its bytes, each piece once. The pieces are nobody else's. */
export interface Opened {
  /** For errors. */
  where: string;
  total: number | undefined;
  pieces: AsyncIterable<Uint8Array>;
}

type Signal = { signal?: AbortSignal };

async function* ofBytes(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.slice(at, at + pieceBytes);
}

async function* ofStream(stream: ReadableStream<Uint8Array>, { signal }: Signal): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  const cancel = (): void => void reader.cancel().catch(() => {});
  signal?.addEventListener('abort', cancel);
  let atEnd = false;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      throwIfAborted(signal, 'Model.load');
      atEnd = done;
      if (done) return;
      if (!(value instanceof Uint8Array)) {
        throw new OctavoError({
          code: 'INVALID_OPTION',
          what: `The stream gives values of type ${typeof value}, not bytes.`,
          where: 'Model.load',
          hint: 'Give a ReadableStream of Uint8Array.',
        });
      }
      yield value;
    }
  } finally {
    signal?.removeEventListener('abort', cancel);
    if (!atEnd) cancel();
    reader.releaseLock();
  }
}

function ofResponse(response: Response, options: Signal): Omit<Opened, 'where'> {
  if (!response.ok) {
    throw new OctavoError({
      code: 'FETCH_FAILED',
      what: `The server answered ${response.status} ${response.statusText}.`,
      where: response.url,
      hint: 'Look at the URL.',
    });
  }
  const length = Number(response.headers.get('content-length'));
  // With a content encoding the length counts compressed bytes.
  const total = length > 0 && !response.headers.get('content-encoding') ? length : undefined;
  return response.body ? { total, pieces: ofStream(response.body, options) } : { total: 0, pieces: ofBytes(new Uint8Array()) };
}

function parseUrl(source: string | URL): URL {
  try {
    return new URL(source, typeof location === 'undefined' ? undefined : location.href);
  } catch {
    throw new OctavoError({
      code: 'FETCH_FAILED',
      what: 'This is not a URL.',
      where: String(source),
      hint: 'In Node give bytes: Model.load(await readFile(path)).',
    });
  }
}

async function ofUrl(url: URL, options: Signal): Promise<Omit<Opened, 'where'>> {
  if (url.protocol !== 'file:' || !isNode()) return ofResponse(await fetch(url, options), options);
  const { open } = await import(/* @vite-ignore */ 'node:fs/promises');
  const file = await open(url);
  const { size } = await file.stat();
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for (let at = 0; at < size; ) {
        throwIfAborted(options.signal, 'Model.load');
        const piece = new Uint8Array(Math.min(pieceBytes, size - at));
        const { bytesRead } = await file.read(piece, 0, piece.length, at);
        if (bytesRead === 0) return;
        at += bytesRead;
        yield piece.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  };
  return { total: size, pieces: pieces() };
}

/** Where a source is, for errors, and how to open it; nothing where it is none that can be read. */
function opener(source: ModelSource, options: Signal): { where: string; open: () => Promise<Omit<Opened, 'where'>> } | undefined {
  const whole = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
  if (whole instanceof Uint8Array) {
    return { where: 'Model.load', open: async () => ({ total: whole.length, pieces: ofBytes(whole) }) };
  }
  if (whole instanceof Blob) {
    const { name } = whole as { name?: string };
    return { where: name ?? 'the Blob', open: async () => ({ total: whole.size, pieces: ofStream(whole.stream(), options) }) };
  }
  if (whole instanceof ReadableStream) {
    return { where: 'the stream', open: async () => ({ total: undefined, pieces: ofStream(whole, options) }) };
  }
  if (whole instanceof Response) return { where: whole.url || 'the Response', open: async () => ofResponse(whole, options) };
  if (typeof whole !== 'string' && !(whole instanceof URL)) return undefined;
  const url = parseUrl(whole);
  return { where: url.href, open: () => ofUrl(url, options) };
}

/** Opens a source; reading it fails with FETCH_FAILED that names it, or ABORTED. */
export async function openSource(source: ModelSource, options: Signal): Promise<Opened> {
  const found = opener(source, options);
  if (!found) {
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: 'The model is none of the things that can be read.',
      where: 'Model.load',
      hint: 'Give bytes, a URL, a Blob or File, a Response or a ReadableStream.',
    });
  }
  const { where, open } = found;
  const explained = (error: unknown): unknown => {
    if (error instanceof OctavoError) return error;
    if (options.signal?.aborted) return abortError('Model.load', options.signal.reason);
    return new OctavoError(
      {
        code: 'FETCH_FAILED',
        what: `It could not be read: ${error instanceof Error ? error.message : String(error)}.`,
        where,
        hint: 'Look at the file or URL, and at CORS when it is of another site.',
      },
      { cause: error },
    );
  };
  try {
    const { total, pieces } = await open();
    const checked = async function* (): AsyncGenerator<Uint8Array> {
      try {
        yield* pieces;
      } catch (error) {
        throw explained(error);
      }
    };
    return { where, total, pieces: checked() };
  } catch (error) {
    throw explained(error);
  }
}
