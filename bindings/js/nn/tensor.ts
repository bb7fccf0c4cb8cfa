// Quantized tensors, with torch's names: quantizePerTensor(x, scale, zeroPoint, dtype), q.dequantize(), q.intRepr() ...

import { OctavoError } from '../errors.js';
import { elements, Tensor, type TensorData, type TensorType, tensorOfBytes } from '../tensor.js';
import { object, real, reals, refuse, shown, whole, wholes } from './check.js';
import { engine, unwrap } from './engine.js';

/** torch.quint8, torch.qint8, torch.qint32. */
export type QDType = 'quint8' | 'qint8' | 'qint32';
/** torch.per_tensor_affine and so on; the symmetric ones put the zero point in the middle of the range. */
export type QScheme = 'per_tensor_affine' | 'per_tensor_symmetric' | 'per_channel_affine' | 'per_channel_symmetric';
/** How the elements lie: row-major (NCHW), or NHWC and NDHWC. */
export type MemoryFormat = 'contiguous_format' | 'channels_last';

/** The codes in `x`. @throws OctavoError for floats, as torch does for a CPU tensor in a quantized op */
export function codes(x: unknown, where: string): QTensor {
  if (x instanceof QTensor) return x;
  return refuse(
    `Expected a quantized tensor, got ${x instanceof Tensor ? x.type : shown(x)}.`,
    where,
    'Quantize it first: quantizePerTensor(x, scale, zeroPoint, dtype), or a QuantStub in the model.',
    'UNSUPPORTED_DTYPE',
  );
}

/** A Tensor, or plain data and shape: float32 numbers unless the typed array says otherwise. */
export type TensorLike = Tensor | { data: TensorData[TensorType] | readonly number[]; shape: readonly number[] };

/** A tensor as it crosses into the wasm module. */
export interface Wire {
  dtype: string;
  shape: readonly number[];
  bytes: Uint8Array;
}
/** The same of a quantized tensor. */
export interface QWire extends Wire {
  scheme: QScheme;
  scales: number[];
  zeroPoints: number[];
  axis?: number;
  /** How the bytes lie, and what memory format torch's tensor has: a BatchNorm of planes gives planes, torch's channels_last. */
  order: MemoryFormat;
  format: MemoryFormat;
}

const bytesOf = (data: ArrayBufferView): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** A float32 tensor of numbers: `tensor([1, 2, 3, 4], [2, 2])`; the shape is one-dimensional unless given. */
export function tensor(data: Float32Array | readonly number[], shape: readonly number[] = [data?.length]): Tensor<'float32'> {
  const values = data instanceof Float32Array ? data : Float32Array.from(reals(data, 'data'));
  return new Tensor('float32', values, wholes(shape, 'shape'));
}

export function asTensor(value: TensorLike): Tensor {
  if (value instanceof Tensor) return value;
  const { data, shape } = value ?? {};
  const type = ArrayBuffer.isView(data) ? arrayTypes.get(data.constructor) : undefined;
  if (!Array.isArray(shape) || !(type || Array.isArray(data))) {
    refuse(
      `${shown(value)} is no tensor.`,
      'tensor',
      'Use tensor(numbers, shape), a Tensor, or { data, shape } with a typed array or an array of numbers.',
      'UNSUPPORTED_DTYPE',
    );
  }
  return type ? new Tensor(type, data as TensorData[TensorType], wholes(shape, 'shape')) : tensor(data as readonly number[], shape);
}
const arrayTypes = new Map<unknown, TensorType>([
  [Float32Array, 'float32'],
  [Float64Array, 'float64'],
  [Uint8Array, 'uint8'],
  [Int8Array, 'int8'],
  [Int32Array, 'int32'],
  [BigInt64Array, 'int64'],
]);

export function toWire(value: TensorLike): Wire {
  const { type, data, shape } = asTensor(value);
  return { dtype: type, shape, bytes: bytesOf(data) };
}
export const fromWire = (wire: Wire): Tensor => tensorOfBytes(wire.dtype, wire.bytes, wire.shape);

/** Codes on a grid, real = scale * (code - zeroPoint); immutable. Made by quantizePerTensor, quantizePerChannel and the modules. */
export class QTensor {
  readonly #wire: QWire;

  /** Of the modules' own making. @internal */
  constructor(wire: QWire) {
    this.#wire = object(wire, 'QTensor', 'Use quantizePerTensor() or makePerTensorQuantizedTensor().');
  }

  get dtype(): QDType {
    return this.#wire.dtype as QDType;
  }
  get shape(): readonly number[] {
    return this.#wire.shape;
  }
  get qscheme(): QScheme {
    return this.#wire.scheme;
  }
  get memoryFormat(): MemoryFormat {
    return this.#wire.format;
  }
  numel(): number {
    return elements(this.shape);
  }

  /** torch: q_scale(). @throws OctavoError for a per-channel tensor */
  qScale(): number {
    return this.#perTensor('q_scale').scales[0] as number;
  }
  /** torch: q_zero_point(). @throws OctavoError for a per-channel tensor */
  qZeroPoint(): number {
    return this.#perTensor('q_zero_point').zeroPoints[0] as number;
  }
  /** torch: q_per_channel_scales(). @throws OctavoError for a per-tensor one */
  qPerChannelScales(): number[] {
    return [...this.#perChannel('q_per_channel_scales').scales];
  }
  qPerChannelZeroPoints(): number[] {
    return [...this.#perChannel('q_per_channel_zero_points').zeroPoints];
  }
  qPerChannelAxis(): number {
    return this.#perChannel('q_per_channel_axis').axis as number;
  }

  /** The codes, row-major: a tensor of uint8, int8 or int32. */
  intRepr(): Tensor {
    return fromWire(unwrap(engine().intRepr(this.#wire)));
  }
  /** The real numbers, row-major. */
  dequantize(): Tensor<'float32'> {
    return fromWire(unwrap(engine().dequantize(this.#wire))) as Tensor<'float32'>;
  }
  /** The same tensor with its elements in another order of memory. */
  contiguous(options: { memoryFormat?: MemoryFormat } = {}): QTensor {
    const { memoryFormat = 'contiguous_format' } = object(options, 'contiguous');
    if (!['contiguous_format', 'channels_last'].includes(memoryFormat) || (memoryFormat === 'channels_last' && this.shape.length < 3)) {
      throw new OctavoError({
        code: 'INVALID_OPTION',
        what: `A tensor of ${this.shape.length} dimensions has no memory format '${memoryFormat}'.`,
        where: 'contiguous',
        hint: "Use 'contiguous_format', or 'channels_last' where there are [N, C, ...] of 3 dimensions or more.",
      });
    }
    if (memoryFormat === this.memoryFormat) return this;
    return new QTensor(unwrap(engine().contiguous(this.#wire, memoryFormat === 'channels_last')));
  }
  /** As torch prints it: values, size, dtype, scheme, scale and zero point. */
  toString(): string {
    return unwrap(engine().print(this.#wire));
  }

  /** For the modules. @internal */
  wire(): QWire {
    return this.#wire;
  }

  #perTensor(what: string): QWire {
    if (this.#wire.axis === undefined) return this.#wire;
    throw schemeError(what, 'per tensor', this.qscheme);
  }
  #perChannel(what: string): QWire {
    if (this.#wire.axis !== undefined) return this.#wire;
    throw schemeError(what, 'per channel', this.qscheme);
  }
}

const schemeError = (what: string, wanted: string, qscheme: string): OctavoError =>
  new OctavoError({
    code: 'INVALID_STATE',
    what: `Expected a tensor that is quantized ${wanted}, got torch.${qscheme}.`,
    where: what,
    hint: wanted === 'per tensor' ? 'Use qPerChannelScales() and qPerChannelZeroPoints().' : 'Use qScale() and qZeroPoint().',
  });

/** How a function that makes quantized tensors names their scheme. */
export interface SchemeOptions {
  /** A symmetric scheme says, and checks, that the zero point lies in the middle: 128 of quint8, else 0. Affine unless given. */
  qscheme?: QScheme;
}
/** One scale and zero point; the scheme is per tensor. */
function perTensor(scale: number, zeroPoint: number, options: SchemeOptions = {}): object {
  const { qscheme = 'per_tensor_affine' } = object(options, 'qscheme');
  return { scales: [real(scale, 'scale')], zeroPoints: [whole(zeroPoint, 'zeroPoint')], scheme: qscheme };
}
function perChannel(scales: Iterable<number>, zeroPoints: Iterable<number>, axis: number, options: SchemeOptions = {}): object {
  const { qscheme = 'per_channel_affine' } = object(options, 'qscheme');
  return { scales: reals(scales, 'scales'), zeroPoints: wholes(zeroPoints, 'zeroPoints'), axis: whole(axis, 'axis'), scheme: qscheme };
}
const quantized = (x: TensorLike, grid: object, dtype: QDType): QTensor => new QTensor(unwrap(engine().quantize(toWire(x), grid, dtype)));
const ofCodes = (codes: TensorLike, grid: object): QTensor => new QTensor(unwrap(engine().makeQuantized(toWire(codes), grid)));

/**
 * torch.quantize_per_tensor: clamp(zeroPoint + rint(x * (1 / scale))), ties to even, in float32.
 *
 * @throws OctavoError for a scale that is not positive, a zero point outside the dtype, an x that is not float32
 */
export function quantizePerTensor(x: TensorLike, scale: number, zeroPoint: number, dtype: QDType, options?: SchemeOptions): QTensor {
  return quantized(x, perTensor(scale, zeroPoint, options), dtype);
}

/** torch.quantize_per_channel: a scale and a zero point for each index of `axis`. */
export function quantizePerChannel(
  x: TensorLike,
  scales: Iterable<number>,
  zeroPoints: Iterable<number>,
  axis: number,
  dtype: QDType,
  options?: SchemeOptions,
): QTensor {
  return quantized(x, perChannel(scales, zeroPoints, axis, options), dtype);
}

/** torch.dequantize. */
export const dequantize = (q: QTensor): Tensor<'float32'> => codes(q, 'dequantize').dequantize();

/** torch._make_per_tensor_quantized_tensor: codes (uint8, int8, int32) that are there already. */
export function makePerTensorQuantizedTensor(codes: TensorLike, scale: number, zeroPoint: number, options?: SchemeOptions): QTensor {
  return ofCodes(codes, perTensor(scale, zeroPoint, options));
}

/** torch._make_per_channel_quantized_tensor. */
export function makePerChannelQuantizedTensor(
  codes: TensorLike,
  scales: Iterable<number>,
  zeroPoints: Iterable<number>,
  axis: number,
  options?: SchemeOptions,
): QTensor {
  return ofCodes(codes, perChannel(scales, zeroPoints, axis, options));
}
