// Tensors at the border: typed arrays with a shape, in row-major order.

import { OctavoError } from './errors.js';

export interface TensorData {
  float32: Float32Array;
  float64: Float64Array;
  uint8: Uint8Array;
  int8: Int8Array;
  int32: Int32Array;
  uint32: Uint32Array;
  int64: BigInt64Array;
  bool: Uint8Array;
}
export type TensorType = keyof TensorData;

const constructors = {
  float32: Float32Array,
  float64: Float64Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
} as const;

export const elements = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1);
export const isTensorType = (type: string): type is TensorType => Object.hasOwn(constructors, type);

/** The type that a typed array stands for by itself; bool arrays need a Tensor. */
export function typeOf(data: unknown): TensorType | undefined {
  for (const [type, constructor] of Object.entries(constructors)) {
    if (data instanceof constructor) return type as TensorType;
  }
  return undefined;
}

export class Tensor<T extends TensorType = TensorType> {
  readonly type: T;
  readonly data: TensorData[T];
  readonly shape: readonly number[];

  /** @throws OctavoError SAMPLE_SHAPE where `data` has not as many elements as `shape`, SAMPLE_DTYPE where it is not of `type`. */
  constructor(type: T, data: TensorData[T], shape: readonly number[]) {
    if (!isTensorType(type) || !(data instanceof constructors[type]) || !Array.isArray(shape)) {
      throw new OctavoError({
        code: 'SAMPLE_DTYPE',
        what: `A tensor of ${String(type)} cannot be made of these.`,
        where: 'Tensor',
        hint: "Give its type, a typed array of that, and an array of dimensions: ('float32', new Float32Array(2), [1, 2]).",
      });
    }
    if (elements(shape) !== data.length) {
      throw new OctavoError({
        code: 'SAMPLE_SHAPE',
        what: `Shape [${shape.join(', ')}] has ${elements(shape)} elements, the data has ${data.length}.`,
        where: 'Tensor',
        hint: 'Give data and shape that fit.',
      });
    }
    this.type = type;
    this.data = data;
    this.shape = [...shape];
  }
}

/** A tensor over bytes that belong to it. */
export function tensorOfBytes(type: string, bytes: Uint8Array, shape: readonly number[]): Tensor {
  if (!isTensorType(type))
    throw new OctavoError({ code: 'UNSUPPORTED_DTYPE', what: `Outputs of type ${type} are not supported.`, hint: '' });
  const constructor = constructors[type];
  const data = new constructor(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / constructor.BYTES_PER_ELEMENT);
  return new Tensor(type, data as TensorData[typeof type], shape);
}

/** NHWC or HWC numbers as NCHW. */
export function toNCHW(data: Float32Array, [n, h, w, c]: readonly [number, number, number, number]): Float32Array {
  const out = new Float32Array(data.length);
  const plane = h * w;
  for (let image = 0; image < n; image++) {
    for (let pixel = 0; pixel < plane; pixel++) {
      for (let channel = 0; channel < c; channel++) {
        out[(image * c + channel) * plane + pixel] = data[(image * plane + pixel) * c + channel] ?? 0;
      }
    }
  }
  return out;
}
