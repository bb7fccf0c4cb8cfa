// From what callers have (tensors, arrays, pictures) to checked feeds of a model.

import { transfer } from 'comlink';
import { abortable, OctavoError, throwIfAborted } from './errors.js';
import { buffersOf, type RawFeeds, type RawTensor, type TensorInfo } from './host.js';
import { type ImageOptions, type ImageSource, imageInput, images, isImageSource } from './images.js';
import { elements, isTensorType, Tensor, type TensorData, type TensorType, toNCHW, typeOf } from './tensor.js';

/** A tensor, or data with its shape, or data alone where the model fixes the shape. */
export type Feed =
  | Tensor
  | TensorData[TensorType]
  | number[]
  | { data: TensorData[TensorType] | number[]; shape?: readonly number[]; layout?: 'NCHW' | 'NHWC' };
/** One feed for each input, by name. */
export type Feeds = Record<string, Feed>;
/** One sample: feeds by name, or, for a model of one input, a feed or a picture by itself. */
export type Sample = Feeds | Feed | ImageSource;
export type Samples = Iterable<Sample> | AsyncIterable<Sample>;

function sampleError(code: 'SAMPLE_SHAPE' | 'SAMPLE_DTYPE' | 'SAMPLE_MISSING', what: string, where: string, hint: string): OctavoError {
  return new OctavoError({ code, what, where, hint });
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const isFeed = (value: unknown): value is Feed =>
  value instanceof Tensor ||
  typeOf(value) !== undefined ||
  Array.isArray(value) ||
  (isObject(value) && 'data' in value && (typeOf(value.data) !== undefined || Array.isArray(value.data)));

function asTypedArray(data: TensorData[TensorType] | number[], type: TensorType): TensorData[TensorType] {
  if (!Array.isArray(data)) return data;
  if (type === 'float32') return Float32Array.from(data);
  if (type === 'uint8' || type === 'bool') return Uint8Array.from(data);
  if (type === 'int8') return Int8Array.from(data);
  if (type === 'int32') return Int32Array.from(data);
  return BigInt64Array.from(data, (x) => BigInt(Math.trunc(x)));
}

/** The input's shape with open dimensions taken from `shapes`, and the batch as 1. */
function knownShape(info: TensorInfo, shapes: Record<string, number[]>): (number | undefined)[] {
  return info.shape.map((dim, axis) => (typeof dim === 'number' ? dim : (shapes[info.name]?.[axis] ?? (axis === 0 ? 1 : undefined))));
}

/** Of a shape of this rank the sizes that are numbers; undefined for one that is free. An input that says nothing takes any. */
function openDims(info: TensorInfo, rank: number): (number | undefined)[] {
  if (info.shape.length === 0) return new Array<undefined>(rank).fill(undefined);
  return info.shape.map((dim) => (typeof dim === 'number' ? dim : undefined));
}

const openShape = (info: TensorInfo, shapes: Record<string, number[]>): (number | string)[] =>
  knownShape(info, shapes).map((dim) => dim ?? '?');

function checkFeed(info: TensorInfo, feed: Feed, shapes: Record<string, number[]>, where: string, declared = info): RawTensor {
  const place = `${where}, input '${info.name}'`;
  const boxed =
    feed instanceof Tensor || typeOf(feed) || Array.isArray(feed)
      ? undefined
      : (feed as { data: TensorData[TensorType] | number[]; shape?: readonly number[]; layout?: string });
  const raw = feed instanceof Tensor ? feed.data : (boxed?.data ?? (feed as TensorData[TensorType] | number[]));
  if (!isTensorType(info.type)) throw sampleError('SAMPLE_DTYPE', `Inputs of type ${info.type} cannot be fed.`, place, '');
  const odd = Array.isArray(raw) ? raw.findIndex((x) => typeof x !== 'number') : -1;
  if (odd >= 0) {
    const what = `Element ${odd} of the array is of type ${typeof (raw as unknown[])[odd]}.`;
    throw sampleError('SAMPLE_DTYPE', what, place, 'Give numbers, or a typed array.');
  }
  let data = asTypedArray(raw, info.type);
  const type = feed instanceof Tensor ? feed.type : typeOf(data);
  const isBool = info.type === 'bool' && type === 'uint8';
  if (type !== info.type && !isBool) {
    throw sampleError(
      'SAMPLE_DTYPE',
      `It is ${type ?? typeof raw}, the model takes ${info.type}.`,
      place,
      info.type === 'float32' ? 'Give a Float32Array.' : `Give a Tensor of type ${info.type}.`,
    );
  }
  let shape = feed instanceof Tensor ? feed.shape : boxed?.shape;
  if (boxed?.layout === 'NHWC') {
    if (!(data instanceof Float32Array) || shape?.length !== 4) {
      throw sampleError(
        'SAMPLE_SHAPE',
        'Layout NHWC is for float32 data with a shape of four dimensions.',
        place,
        'Give { data, shape: [n, h, w, c], layout: "NHWC" }.',
      );
    }
    const [n = 0, h = 0, w = 0, c = 0] = shape;
    if (elements(shape) === data.length) data = toNCHW(data, [n, h, w, c]);
    shape = [n, c, h, w];
  }
  const known = knownShape(info, shapes);
  const shown = `[${info.shape.join(', ')}]`;
  if (shape === undefined) {
    // Without a shape the model's must say it, but for one dimension that the length tells.
    const open = known.filter((dim) => dim === undefined).length;
    if (open > 0)
      throw sampleError(
        'SAMPLE_SHAPE',
        `It has no shape, and the model leaves ${shown} open.`,
        place,
        'Give { data, shape }, or `inputShapes`.',
      );
    shape = known as number[];
    if (elements(shape) !== data.length)
      throw sampleError(
        'SAMPLE_SHAPE',
        `It has ${data.length} elements, the model takes ${shown}.`,
        place,
        `Give ${elements(shape)} elements${declared.shape.some((dim) => typeof dim !== 'number') ? ', or { data, shape } with a shape of its own' : ''}.`,
      );
  }
  if (elements(shape) !== data.length) {
    throw sampleError(
      'SAMPLE_SHAPE',
      `Shape [${shape.join(', ')}] has ${elements(shape)} elements, the data has ${data.length}.`,
      place,
      'Give data and shape that fit.',
    );
  }
  const allowed = declared.shape === info.shape || known.length === 0 ? known : openDims(declared, shape.length);
  if (shape.length !== allowed.length || shape.some((dim, axis) => allowed[axis] !== undefined && allowed[axis] !== dim)) {
    throw sampleError(
      'SAMPLE_SHAPE',
      `It has shape [${shape.join(', ')}], the model takes [${declared.shape.join(', ')}].`,
      place,
      `Give a tensor of shape [${allowed.map((dim) => dim ?? '?').join(', ')}].`,
    );
  }
  // Crossing to a worker copies the whole buffer under a view: a part of a large one is taken out first.
  const view = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  const bytes = view.length < data.buffer.byteLength ? new Uint8Array(view) : view;
  return { type: info.type, bytes, shape: [...shape] };
}

export interface FeedRules {
  inputs: TensorInfo[];
  inputShapes: Record<string, number[]>;
  /** For samples that are pictures. */
  image?: ImageOptions;
  /** Bytes of a picture's pixels at most; 0 or left out is no limit. */
  memoryLimit?: number | undefined;
  /** The same inputs with the sizes open that a shape of the feed's own may choose. Default: `inputs`. */
  open?: TensorInfo[];
}

/** The same feeds, marked so that a worker gets their memory instead of a copy. */
export function moved(feeds: RawFeeds): RawFeeds {
  return transfer(feeds, buffersOf(feeds));
}

/** Checks one sample. @throws OctavoError SAMPLE_SHAPE, SAMPLE_DTYPE, SAMPLE_MISSING, BAD_IMAGE, IMAGE_TOO_LARGE; `where` names it. */
export async function toFeeds(sample: Sample, rules: FeedRules, where: string): Promise<RawFeeds> {
  const { inputs, inputShapes } = rules;
  const openOf = (info: TensorInfo): TensorInfo => rules.open?.find(({ name }) => name === info.name) ?? info;
  const [first] = inputs;
  if (first && inputs.length === 1) {
    if (isImageSource(sample)) {
      const { layout = 'NCHW', channels, height, width } = imageInput({ ...first, shape: openShape(first, inputShapes) }) ?? {};
      const options: ImageOptions = {
        layout,
        ...(height !== undefined && width !== undefined ? { size: [height, width] } : {}),
        ...(channels === 1 ? { channels: 'GRAY' } : {}),
        ...rules.image,
      };
      const { memoryLimit = 0 } = rules;
      for await (const tensor of images([sample], { ...options, memoryLimit })) {
        return moved({ [first.name]: checkFeed(first, tensor, inputShapes, where) });
      }
    }
    if (isFeed(sample)) return { [first.name]: checkFeed(first, sample, inputShapes, where, openOf(first)) };
  }
  if (!isObject(sample) || isFeed(sample)) {
    throw sampleError(
      'SAMPLE_MISSING',
      `It is ${isObject(sample) ? 'one tensor' : String(sample)}, the model has ${inputs.length} inputs.`,
      where,
      `Give { ${inputs.map(({ name }) => `${JSON.stringify(name)}: tensor`).join(', ')} }.`,
    );
  }
  const feeds = sample as Feeds;
  const names = inputs.map(({ name }) => name);
  const unknown = Object.keys(feeds).filter((name) => !names.includes(name));
  const missing = names.filter((name) => !(name in feeds));
  if (unknown.length > 0 || missing.length > 0) {
    const words = [
      missing.length ? `lacks ${missing.map((n) => `'${n}'`).join(', ')}` : '',
      unknown.length ? `has ${unknown.map((n) => `'${n}'`).join(', ')}, which the model does not take` : '',
    ];
    throw sampleError(
      'SAMPLE_MISSING',
      `It ${words.filter(Boolean).join(' and ')}.`,
      where,
      `The inputs are ${names.map((n) => `'${n}'`).join(', ')}.`,
    );
  }
  return Object.fromEntries(
    inputs.map((info) => {
      const feed = feeds[info.name];
      if (!isFeed(feed))
        throw sampleError(
          'SAMPLE_DTYPE',
          'It is no tensor and no typed array.',
          `${where}, input '${info.name}'`,
          'Give a Tensor, a typed array, or { data, shape }.',
        );
      return [info.name, checkFeed(info, feed, inputShapes, where, openOf(info))];
    }),
  );
}

/** The iterator of either kind of iterable; INVALID_OPTION for anything else. */
function iterate<T>(samples: Iterable<T> | AsyncIterable<T>, where: string): AsyncIterator<T> | Iterator<T> {
  const source = samples as Partial<Iterable<T> & AsyncIterable<T>> | null | undefined;
  const iterator = source?.[Symbol.asyncIterator]?.() ?? (typeof source === 'string' ? undefined : source?.[Symbol.iterator]?.());
  if (iterator) return iterator;
  throw new OctavoError({
    code: 'INVALID_OPTION',
    what: 'The samples are not iterable.',
    where,
    hint: 'Give an array, a generator, or any (async) iterable.',
  });
}

/** Pulls samples one at a time, from either kind of iterable; an abort does not wait for a source that never answers. */
export class SampleSource<T> {
  readonly #iterator: AsyncIterator<T> | Iterator<T>;
  readonly #where: string;
  readonly #signal: AbortSignal | undefined;
  #taken = false;
  #peeked: IteratorResult<T> | undefined;

  constructor(samples: Iterable<T> | AsyncIterable<T>, where: string, signal?: AbortSignal) {
    this.#iterator = iterate(samples, where);
    this.#where = where;
    this.#signal = signal;
  }

  /** @throws OctavoError ABORTED, or what the samples' own iterator throws */
  async next(): Promise<IteratorResult<T>> {
    throwIfAborted(this.#signal, this.#where);
    const peeked = this.#peeked;
    this.#peeked = undefined;
    if (peeked) return peeked;
    const next = await abortable(Promise.resolve(this.#iterator.next()), this.#signal, this.#where);
    this.#taken = next.done === true;
    return next;
  }

  /** What next() will give. */
  async peek(): Promise<IteratorResult<T>> {
    this.#peeked = await this.next();
    return this.#peeked;
  }

  /** Closes the iterator where not all samples were taken. */
  async close(): Promise<void> {
    if (this.#taken) return;
    this.#taken = true;
    // What fails here would hide the error that ended the work. A generator that waits for a sample answers only after it.
    const closed = (async () => this.#iterator.return?.())().catch(() => {});
    if (!this.#signal?.aborted) await closed;
  }
}
