// Quantized tensors, with torch's names: quantizePerTensor(x, scale, zeroPoint, dtype), q.dequantize(), q.intRepr() ...

import { OctavoError } from '../errors.js';
import { elements, Tensor, type TensorData, type TensorType, tensorOfBytes } from '../tensor.js';
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
  throw new OctavoError({
    code: 'UNSUPPORTED_DTYPE',
    what: `Expected a quantized tensor, got ${x instanceof Tensor ? x.type : typeof x}.`,
    where,
    hint: 'Quantize it first: quantizePerTensor(x, scale, zeroPoint, dtype), or a QuantStub in the model.',
  });
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
  format: MemoryFormat;
}

/** @throws OctavoError INVALID_OPTION for what is no whole number: the WebAssembly module would cut it off */
export function whole(value: number, name: string): number {
  if (Number.isSafeInteger(value)) return value;
  throw new OctavoError({
    code: 'INVALID_OPTION',
    what: `${name} = ${String(value)} is no whole number.`,
    where: name,
    hint: 'Give a whole number.',
  });
}
const wholes = (values: Iterable<number>, name: string): number[] => Array.from(values, (value) => whole(value, name));

const bytesOf = (data: ArrayBufferView): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** A float32 tensor of numbers: `tensor([1, 2, 3, 4], [2, 2])`; the shape is one-dimensional unless given. */
export function tensor(data: Float32Array | readonly number[], shape: readonly number[] = [data.length]): Tensor<'float32'> {
  return new Tensor('float32', data instanceof Float32Array ? data : Float32Array.from(data), shape);
}

export function asTensor(value: TensorLike): Tensor {
  if (value instanceof Tensor) return value;
  const { data, shape } = value ?? {};
  if (Array.isArray(data)) return new Tensor('float32', Float32Array.from(data), shape);
  const type = ArrayBuffer.isView(data) ? arrayTypes.get(data.constructor) : undefined;
  if (!type || !Array.isArray(shape)) {
    throw new OctavoError({
      code: 'UNSUPPORTED_DTYPE',
      what: 'This is no tensor.',
      where: 'tensor',
      hint: 'Use tensor(numbers, shape), a Tensor, or { data, shape } with a typed array or an array of numbers.',
    });
  }
  return new Tensor(type, data as TensorData[TensorType], shape);
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

  constructor(wire: QWire) {
    this.#wire = wire;
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
  contiguous({ memoryFormat = 'contiguous_format' }: { memoryFormat?: MemoryFormat } = {}): QTensor {
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

/**
 * torch.quantize_per_tensor: clamp(zeroPoint + rint(x * (1 / scale))), ties to even, in float32.
 *
 * @throws OctavoError for a scale that is not positive, a zero point outside the dtype, an x that is not float32
 */
export function quantizePerTensor(x: TensorLike, scale: number, zeroPoint: number, dtype: QDType): QTensor {
  return new QTensor(unwrap(engine().quantizePerTensor(toWire(x), scale, whole(zeroPoint, 'zeroPoint'), dtype)));
}

/** torch.quantize_per_channel: a scale and a zero point for each index of `axis`. */
export function quantizePerChannel(
  x: TensorLike,
  scales: Iterable<number>,
  zeroPoints: Iterable<number>,
  axis: number,
  dtype: QDType,
): QTensor {
  const zeros = wholes(zeroPoints, 'zeroPoints');
  return new QTensor(unwrap(engine().quantizePerChannel(toWire(x), [...scales], zeros, whole(axis, 'axis'), dtype)));
}

/** torch.dequantize. */
export const dequantize = (q: QTensor): Tensor<'float32'> => q.dequantize();

/** torch._make_per_tensor_quantized_tensor: codes (uint8, int8, int32) that are there already. */
export function makePerTensorQuantizedTensor(codes: TensorLike, scale: number, zeroPoint: number): QTensor {
  const grid = { scales: [scale], zeroPoints: [whole(zeroPoint, 'zeroPoint')], scheme: 'per_tensor_affine' };
  return new QTensor(unwrap(engine().makeQuantized(toWire(codes), grid)));
}

/** torch._make_per_channel_quantized_tensor. */
export function makePerChannelQuantizedTensor(
  codes: TensorLike,
  scales: Iterable<number>,
  zeroPoints: Iterable<number>,
  axis: number,
): QTensor {
  const grid = {
    scales: [...scales],
    zeroPoints: wholes(zeroPoints, 'zeroPoints'),
    axis: whole(axis, 'axis'),
    scheme: 'per_channel_affine',
  };
  return new QTensor(unwrap(engine().makeQuantized(toWire(codes), grid)));
}
