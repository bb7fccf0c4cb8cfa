// A loaded network.

import { transfer } from 'comlink';
import { defaultEngine, type Engine, type Owner } from './engine.js';
import { abortable, abortError, OctavoError, throwIfAborted } from './errors.js';
import { isNode } from './features.js';
import type { ModelInfo, TensorInfo } from './host.js';

export type ModelSource = Uint8Array | ArrayBuffer | Blob | URL | string | Response | ReadableStream<Uint8Array>;

/** Where loading is. `total` is absent where the size is not known. */
export interface LoadProgress {
  stage: 'load';
  done: number;
  total?: number;
}
export interface ModelLoadOptions {
  engine?: Engine;
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
  /** Files with weights that lie outside the model, by the name that the model gives them. Their bytes are copied. */
  externalData?: Record<string, Uint8Array>;
}

/** Of a call that the engine does in one piece: aborting ends the waiting. */
export interface CallOptions {
  signal?: AbortSignal;
}

export interface NodeSummary {
  name: string;
  op: string;
  output: string;
  /** Null where it depends on sizes that the model leaves open. */
  shape: (number | string)[] | null;
  /** Multiply-accumulates, with open sizes as 1; null where the network cannot work at that size. */
  macs: number | null;
  /** What quantizeStatic with default options would make of it. */
  plan: 'int8' | 'float' | 'folded' | 'fused';
  reason: string;
}
export interface ModelSummary {
  name: string;
  producer: string;
  /** The file's. */
  opset: number;
  metadata: Record<string, string>;
  quantized: boolean;
  parameters: number;
  bytes: number;
  /** Multiply-accumulates of a run, with open sizes as 1; null where the network cannot work at that size. */
  macs: number | null;
  inputs: TensorInfo[];
  outputs: TensorInfo[];
  nodes: NodeSummary[];
}

export interface ExportOptions {
  /** 13 or later; default 17. */
  opset?: number;
  /** How an int8 BatchNormalization of its own is written. Default 'depthwise', which every runtime computes in integers. */
  batchNorm?: 'depthwise' | 'batchnorm' | 'muladd';
  /**
   * How integer nodes are written. 'qdq' (default): between DequantizeLinear and QuantizeLinear, which every runtime reads. 'qoperator': as QLinearConv,
   * com.microsoft.QLinearAdd and the like, which ONNX Runtime computes on integers at every optimization level; what has no such operator stays as in 'qdq'.
   */
  format?: 'qdq' | 'qoperator';
}

async function readStream(stream: ReadableStream<Uint8Array>, total: number | undefined, options: ModelLoadOptions): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let done = 0;
  const reader = stream.getReader();
  const cancel = (): void => void reader.cancel().catch(() => {});
  options.signal?.addEventListener('abort', cancel);
  try {
    for (;;) {
      const { value, done: atEnd } = await reader.read();
      throwIfAborted(options.signal, 'Model.load');
      if (atEnd) break;
      if (!(value instanceof Uint8Array)) {
        cancel();
        throw new OctavoError({
          code: 'INVALID_OPTION',
          what: `The stream gives values of type ${typeof value}, not bytes.`,
          where: 'Model.load',
          hint: 'Give a ReadableStream of Uint8Array.',
        });
      }
      parts.push(value);
      done += value.length;
      options.onProgress?.({ stage: 'load', done, ...(total === undefined ? {} : { total }) });
    }
  } finally {
    options.signal?.removeEventListener('abort', cancel);
    reader.releaseLock();
  }
  const bytes = new Uint8Array(done);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

async function readResponse(response: Response, options: ModelLoadOptions): Promise<Uint8Array> {
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
  return response.body ? readStream(response.body, total, options) : new Uint8Array(await response.arrayBuffer());
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

async function readUrl(url: URL, options: ModelLoadOptions): Promise<Uint8Array> {
  const init = options.signal ? { signal: options.signal } : {};
  if (url.protocol === 'file:' && isNode()) {
    const { readFile } = await import(/* @vite-ignore */ 'node:fs/promises');
    return new Uint8Array(await readFile(url, init));
  }
  return readResponse(await fetch(url, init), options);
}

/** Where a source is, for errors, and how to read it; nothing where it is none that can be read. */
function reader(source: ModelSource, options: ModelLoadOptions): { where: string; read: () => Promise<Uint8Array> } | undefined {
  if (source instanceof Blob) {
    const { name } = source as { name?: string };
    return { where: name ?? 'the Blob', read: () => readStream(source.stream(), source.size, options) };
  }
  if (source instanceof ReadableStream) return { where: 'the stream', read: () => readStream(source, undefined, options) };
  if (source instanceof Response) return { where: source.url || 'the Response', read: () => readResponse(source, options) };
  if (typeof source !== 'string' && !(source instanceof URL)) return undefined;
  const url = parseUrl(source);
  return { where: url.href, read: () => readUrl(url, options) };
}

async function readSource(source: ModelSource, options: ModelLoadOptions): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  const readable = reader(source, options);
  if (!readable) {
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: 'The model is none of the things that can be read.',
      where: 'Model.load',
      hint: 'Give bytes, a URL, a Blob or File, a Response or a ReadableStream.',
    });
  }
  try {
    return await readable.read();
  } catch (error) {
    if (error instanceof OctavoError) throw error;
    if (options.signal?.aborted) throw abortError('Model.load', options.signal.reason);
    throw new OctavoError(
      {
        code: 'FETCH_FAILED',
        what: `It could not be read: ${error instanceof Error ? error.message : String(error)}.`,
        where: readable.where,
        hint: 'Look at the file or URL, and at CORS when it is of another site.',
      },
      { cause: error },
    );
  }
}

export class Model {
  readonly inputs: TensorInfo[];
  readonly outputs: TensorInfo[];
  /** Whether it has integer codes already. */
  readonly quantized: boolean;
  /** @internal */
  readonly owner: Owner;
  /** @internal */
  readonly id: number;
  readonly #exporting: ExportOptions;
  #closed = false;

  /** @internal */
  constructor(owner: Owner, info: ModelInfo, exporting: ExportOptions = {}) {
    this.owner = owner;
    this.#exporting = exporting;
    this.id = info.id;
    this.inputs = info.inputs;
    this.outputs = info.outputs;
    this.quantized = info.quantized;
  }

  /**
   * Reads an ONNX file (opset 7 to 22).
   *
   * @param source bytes (copied), URL, Blob or File, Response, stream
   * @throws OctavoError INVALID_MODEL, TRUNCATED_MODEL, UNSUPPORTED_OP (with all such nodes in `all`), FETCH_FAILED, ABORTED, ...
   */
  static async load(source: ModelSource, options: ModelLoadOptions = {}): Promise<Model> {
    throwIfAborted(options.signal, 'Model.load');
    const [engine, bytes] = await abortable(
      Promise.all([options.engine ?? defaultEngine(), readSource(source, options)]),
      options.signal,
      'Model.load',
    );
    const { length } = bytes;
    options.onProgress?.({ stage: 'load', done: length, total: length });
    // The caller's own bytes are copied (a part of a larger buffer by itself, not all of it); what was read here is moved.
    const isCallers = source instanceof Uint8Array || source instanceof ArrayBuffer;
    const isPart = bytes.byteLength < bytes.buffer.byteLength;
    const sent = isCallers && isPart ? new Uint8Array(bytes) : bytes;
    const given = isCallers && !isPart ? sent : transfer(sent, [sent.buffer]);
    const loading = engine
      .call('loadModel', [given, options.externalData ?? {}])
      .then((info) => new Model({ engine, generation: engine.generation }, info));
    return abortable(loading, options.signal, 'Model.load', (model) => model.close().catch(() => {}));
  }

  /** Inputs, outputs, every node with its size and what quantization would make of it. */
  async summary({ signal }: CallOptions = {}): Promise<ModelSummary> {
    throwIfAborted(signal, 'model.summary');
    return JSON.parse(await abortable(this.owner.engine.call('summary', [this.id], this.owner), signal, 'model.summary')) as ModelSummary;
  }

  /** The model as an ONNX file; without options in the form that was asked for when it was quantized. */
  async toONNX(options: ExportOptions = this.#exporting, { signal }: CallOptions = {}): Promise<Uint8Array> {
    throwIfAborted(signal, 'model.toONNX');
    return abortable(this.owner.engine.call('toONNX', [this.id, JSON.stringify(options)], this.owner), signal, 'model.toONNX');
  }

  /** Frees its memory. Sessions made of it stay usable. */
  async close(): Promise<void> {
    if (this.#closed || this.owner.engine.closed || this.owner.generation !== this.owner.engine.generation) return;
    this.#closed = true;
    await this.owner.engine.call('release', [this.id], this.owner);
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
