// Functions on quantized tensors: torch.ao.nn.quantized.functional and torch.ops.quantized, code for code.
//
// Inputs are quint8 or qint8, per tensor. Functions without a grid keep the input's, or have the fixed one that torch gives them.

import { OctavoError } from '../errors.js';
import { engine, unwrap } from './engine.js';
import type { Backend } from './qconfig.js';
import { codes, QTensor, whole } from './tensor.js';

/** The scale and zero point of a result. */
export interface OutputGrid {
  scale: number;
  zeroPoint: number;
}
type Pair = number | readonly [number, number];
/** Height and width. @throws OctavoError INVALID_OPTION for anything but a whole number or two */
export function pair(value: Pair): readonly [number, number] {
  const both = typeof value === 'number' ? [value, value] : value;
  if (Array.isArray(both) && both.length === 2 && both.every(Number.isSafeInteger)) return both as [number, number];
  throw new OctavoError({
    code: 'INVALID_OPTION',
    what: `${JSON.stringify(value)} is no size of two dimensions.`,
    where: 'nn',
    hint: 'Give a whole number, or two: [height, width].',
  });
}

function call(name: string, inputs: readonly QTensor[], options: object = {}): QTensor {
  const wires = inputs.map((x) => codes(x, `functional.${name}`).wire());
  if ('zeroPoint' in options) whole(options.zeroPoint as number, 'zeroPoint');
  return new QTensor(unwrap(engine().functional(name, wires, options)));
}

export const relu = (x: QTensor): QTensor => call('relu', [x]);
export const relu6 = (x: QTensor): QTensor => call('relu6', [x]);
export const clamp = (x: QTensor, min: number, max: number): QTensor => call('clamp', [x], { min, max });
export const hardsigmoid = (x: QTensor): QTensor => call('hardsigmoid', [x]);
export const tanh = (x: QTensor): QTensor => call('tanh', [x]);
/** Without a grid: 1/256 from the lowest code, as torch.sigmoid. */
export const sigmoid = (x: QTensor, grid?: OutputGrid): QTensor => call('sigmoid', [x], grid);
export const hardswish = (x: QTensor, grid: OutputGrid): QTensor => call('hardswish', [x], grid);
export const leakyRelu = (x: QTensor, negativeSlope: number, grid: OutputGrid): QTensor =>
  call('leakyRelu', [x], { negativeSlope, ...grid });
export const elu = (x: QTensor, alpha: number, grid: OutputGrid): QTensor => call('elu', [x], { alpha, ...grid });
export const softmax = (x: QTensor, dim: number, grid: OutputGrid): QTensor => call('softmax', [x], { dim, ...grid });

export const add = (a: QTensor, b: QTensor, grid: OutputGrid): QTensor => call('add', [a, b], grid);
export const addReLU = (a: QTensor, b: QTensor, grid: OutputGrid): QTensor => call('addRelu', [a, b], grid);
export const mul = (a: QTensor, b: QTensor, grid: OutputGrid): QTensor => call('mul', [a, b], grid);
export const mulReLU = (a: QTensor, b: QTensor, grid: OutputGrid): QTensor => call('mulRelu', [a, b], grid);
export const addScalar = (x: QTensor, c: number): QTensor => call('addScalar', [x], { c });
export const mulScalar = (x: QTensor, c: number): QTensor => call('mulScalar', [x], { c });
export const cat = (parts: readonly QTensor[], dim: number, grid: OutputGrid): QTensor => call('cat', parts, { dim, ...grid });

/** torch's arguments of pools. */
export interface PoolOptions {
  kernelSize: Pair;
  /** The kernel's size unless given. */
  stride?: Pair;
  padding?: Pair;
  /** Of max pools. */
  dilation?: Pair;
  ceilMode?: boolean;
  /** Of average pools. */
  countIncludePad?: boolean;
  divisorOverride?: number;
  /** torch's engines round averages differently, seldom. */
  engine?: Backend;
}
const pool = (o: PoolOptions): object => ({
  countIncludePad: true,
  ceilMode: false,
  ...o,
  kernelSize: pair(o.kernelSize),
  stride: pair(o.stride ?? 0),
  padding: pair(o.padding ?? 0),
  dilation: pair(o.dilation ?? 1),
});
export const maxPool1d = (x: QTensor, options: PoolOptions): QTensor => call('maxPool1d', [x], pool(options));
export const maxPool2d = (x: QTensor, options: PoolOptions): QTensor => call('maxPool2d', [x], pool(options));
/** On ties torch answers differently for channels_last and contiguous inputs; so does this. */
export const avgPool2d = (x: QTensor, options: PoolOptions): QTensor => call('avgPool2d', [x], pool(options));
export const adaptiveAvgPool2d = (x: QTensor, outputSize: Pair): QTensor =>
  call('adaptiveAvgPool2d', [x], { outputSize: pair(outputSize) });
/** torch.mean(x, [2, 3]). */
export const meanHw = (x: QTensor, { keepdim = false }: { keepdim?: boolean } = {}): QTensor => call('meanHw', [x], { keepdim });
/** torch.nn.functional.interpolate, to [height, width]. */
export const interpolate = (
  x: QTensor,
  { size, mode = 'nearest', alignCorners = false }: { size: Pair; mode?: 'nearest' | 'bilinear'; alignCorners?: boolean },
): QTensor => {
  if (mode !== 'nearest' && mode !== 'bilinear') {
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: `mode = '${String(mode)}' is not known for codes.`,
      where: 'functional.interpolate',
      hint: "Use 'nearest' or 'bilinear'.",
    });
  }
  return call('interpolate', [x], { size: pair(size), mode, alignCorners });
};
export const flatten = (x: QTensor, startDim = 1): QTensor => call('flatten', [x], { startDim });
