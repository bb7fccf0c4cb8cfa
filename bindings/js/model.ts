// A loaded network.

import { transfer } from 'comlink';
import { defaultEngine, type Engine, type Owner } from './engine.js';
import { abortable, OctavoError, throwIfAborted } from './errors.js';
import type { ModelInfo, TensorInfo } from './host.js';
import { type ModelSource, openSource, pieceBytes } from './source.js';

export type { ModelSource };

/** What 32 bits address, without the last page. */
const engineBytes = 2 ** 32 - 2 ** 16;

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
  /** Files with weights that lie outside the model, by the name that the model gives them. */
  externalData?: Record<string, ModelSource>;
  /** The most bytes that the model and the files beside it may have, LIMIT_EXCEEDED above it; default 4 GiB, which is all that an engine addresses. */
  memoryLimit?: number;
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

/** As long as a protocol buffer, which an ONNX file is, may be. */
const protobufBytes = 2 ** 31 - 1;

/** What a model's files are read into: bytes that are sent at once where they are few, room in the engine's memory where they are many. */
type Loaded = { bytes: Uint8Array } | { room: number };

const tooLarge = (size: number, limit: number): OctavoError =>
  new OctavoError({
    code: 'LIMIT_EXCEEDED',
    what: `The model's files take ${size} bytes or more; the limit is ${limit}.`,
    where: 'Model.load',
    hint:
      limit === engineBytes
        ? 'An engine addresses 4 GiB, its sessions included: give a smaller model.'
        : limit === protobufBytes
          ? 'An ONNX file ends at 2 GiB: save the weights beside it (external data), and give those files as `externalData`.'
          : 'Raise `memoryLimit`, or give a smaller model.',
  });

/**
 * Reads a model and the files beside it. Pieces of a large one go into the engine's memory as they come, so there is no second copy; a
 * source that does not tell its size is read to its end first, and given up piece by piece.
 */
async function readFiles(engine: Engine, source: ModelSource, options: ModelLoadOptions): Promise<Loaded> {
  const memoryLimit = Math.min(options.memoryLimit ?? engineBytes, engineBytes);
  const { signal } = options;
  const names = Object.keys(options.externalData ?? {});
  let room: number | undefined;
  let done = 0;
  let promised = 0;
  const progress = (bytes: number, total: number | undefined): void => {
    done += bytes;
    options.onProgress?.({ stage: 'load', done, ...(total === undefined ? {} : { total }) });
  };
  const reserve = (size: number, isModel: boolean): void => {
    promised += size;
    if (promised > memoryLimit) throw tooLarge(promised, memoryLimit);
    if (isModel && promised > protobufBytes) throw tooLarge(promised, protobufBytes);
  };
  try {
    for (const name of [undefined, ...names]) {
      const opened = await openSource(
        name === undefined ? source : (options.externalData?.[name] as ModelSource),
        signal ? { signal } : {},
      );
      const parts: Uint8Array[] = [];
      let { total } = opened;
      if (total !== undefined) reserve(total, name === undefined);
      if (total === undefined) {
        total = 0;
        for await (const piece of opened.pieces) {
          reserve(piece.length, name === undefined);
          total += piece.length;
          parts.push(piece);
          progress(piece.length, undefined);
        }
      } else if (name === undefined && names.length === 0 && total <= pieceBytes) {
        let size = 0;
        for await (const piece of opened.pieces) {
          size += piece.length;
          parts.push(piece);
          progress(piece.length, total);
        }
        checkSize(opened.where, size, total);
      }
      if (name === undefined && names.length === 0 && total <= pieceBytes) return { bytes: joined(parts, total) };

      room = await engine.call('openFile', [room ?? null, name ?? null, total]);
      let size = 0;
      const write = async (piece: Uint8Array): Promise<void> => {
        throwIfAborted(signal, 'Model.load');
        size += piece.length;
        checkSize(opened.where, size, total as number, true);
        // A view of a larger buffer goes by itself.
        const own = piece.length === piece.buffer.byteLength ? piece : piece.slice();
        await engine.call('writeFile', [room as number, transfer(own, [own.buffer])]);
      };
      if (opened.total === undefined) {
        for (let part = parts.shift(); part; part = parts.shift()) await write(part);
      } else {
        for await (const piece of opened.pieces) {
          const { length } = piece;
          await write(piece);
          progress(length, names.length === 0 ? total : undefined);
        }
      }
      checkSize(opened.where, size, total);
    }
    return { room: room as number };
  } catch (error) {
    if (room !== undefined) engine.call('release', [room]).catch(() => {});
    throw error;
  }
}

/** A source that gives more or less than it said: a download that broke off. */
function checkSize(where: string, size: number, total: number, goesOn = false): void {
  if (goesOn ? size <= total : size === total) return;
  throw new OctavoError({
    code: 'FETCH_FAILED',
    what: `It gave ${size} bytes${goesOn ? ' or more' : ''} where ${total} were promised.`,
    where,
    hint: 'Download or copy the file again.',
  });
}

/** Of a larger buffer only the part. */
function copied(bytes: Uint8Array, { memoryLimit = engineBytes, onProgress }: ModelLoadOptions): Uint8Array {
  const { length } = bytes;
  if (length > memoryLimit) throw tooLarge(length, memoryLimit);
  onProgress?.({ stage: 'load', done: length, total: length });
  return length < bytes.buffer.byteLength ? new Uint8Array(bytes) : bytes;
}

function joined(parts: Uint8Array[], total: number): Uint8Array {
  const [only] = parts;
  if (only && only.length === total && only.buffer.byteLength === total) return only;
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
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
   * Files of up to 4 GiB: those whose size is known beforehand (bytes, Blob, File, Response with a Content-Length) go into the engine's
   * memory piece by piece, and the weights are used where they lie.
   *
   * @param source bytes (copied), URL, Blob or File, Response, stream
   * @throws OctavoError INVALID_MODEL, TRUNCATED_MODEL, UNSUPPORTED_OP (with all such nodes in `all`), FETCH_FAILED, ABORTED, ...
   */
  static async load(source: ModelSource, options: ModelLoadOptions = {}): Promise<Model> {
    throwIfAborted(options.signal, 'Model.load');
    const { signal } = options;
    const engine = await abortable(Promise.resolve(options.engine ?? defaultEngine()), signal, 'Model.load');
    // The caller's own small bytes are copied by what sends them.
    const callers = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
    const isSmall = callers instanceof Uint8Array && callers.length <= pieceBytes && !options.externalData;
    const release = (files: Loaded): void => void ('room' in files && engine.call('release', [files.room]).catch(() => {}));
    const files = isSmall
      ? { bytes: copied(callers, options) }
      : await abortable(readFiles(engine, source, options), signal, 'Model.load', release);
    const given = 'room' in files ? files.room : isSmall ? files.bytes : transfer(files.bytes, [files.bytes.buffer]);
    const loading = engine.call('loadModel', [given]).then((info) => new Model({ engine, generation: engine.generation }, info));
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
