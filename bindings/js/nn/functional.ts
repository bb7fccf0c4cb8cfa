// Functions on quantized tensors: torch.ao.nn.quantized.functional and torch.ops.quantized, code for code.
//
// Inputs are quint8 or qint8, per tensor. Functions without a grid keep the input's, or have the fixed one that torch gives them.

import { object, real, refuse, shown, whole } from './check.js';
import { engine, unwrap } from './engine.js';
import { checkedGrid, listed, type OutputGrid, type Pair, type PoolOptions, pair, poolOptions } from './options.js';
import { codes, QTensor } from './tensor.js';

export type { OutputGrid, PoolOptions } from './options.js';

function call(name: string, inputs: readonly QTensor[], options: object = {}): QTensor {
  const wires = inputs.map((x) => codes(x, `functional.${name}`).wire());
  return new QTensor(unwrap(engine().functional(name, wires, options)));
}
const onto = (name: string, inputs: readonly QTensor[], grid: OutputGrid, options: object = {}): QTensor =>
  call(name, inputs, { ...options, ...checkedGrid(grid, `functional.${name}`) });

export const relu = (x: QTensor): QTensor => call('relu', [x]);
export const relu6 = (x: QTensor): QTensor => call('relu6', [x]);
export const clamp = (x: QTensor, min: number, max: number): QTensor =>
  call('clamp', [x], { min: real(min, 'min'), max: real(max, 'max') });
export const hardsigmoid = (x: QTensor): QTensor => call('hardsigmoid', [x]);
export const tanh = (x: QTensor): QTensor => call('tanh', [x]);
/** Without a grid: 1/256 from the lowest code, as torch.sigmoid. */
export const sigmoid = (x: QTensor, grid?: OutputGrid): QTensor => (grid === undefined ? call('sigmoid', [x]) : onto('sigmoid', [x], grid));
export const hardswish = (x: QTensor, grid: OutputGrid): QTensor => onto('hardswish', [x], grid);
export const leakyRelu = (x: QTensor, negativeSlope: number, grid: OutputGrid): QTensor =>
  onto('leakyRelu', [x], grid, { negativeSlope: real(negativeSlope, 'negativeSlope') });
export const elu = (x: QTensor, alpha: number, grid: OutputGrid): QTensor => onto('elu', [x], grid, { alpha: real(alpha, 'alpha') });
export const softmax = (x: QTensor, dim: number, grid: OutputGrid): QTensor => onto('softmax', [x], grid, { dim: whole(dim, 'dim') });

export const add = (a: QTensor, b: QTensor, grid: OutputGrid): QTensor => onto('add', [a, b], grid);
export const addReLU = (a: QTensor, b: QTensor, grid: OutputGrid): QTensor => onto('addRelu', [a, b], grid);
export const mul = (a: QTensor, b: QTensor, grid: OutputGrid): QTensor => onto('mul', [a, b], grid);
export const mulReLU = (a: QTensor, b: QTensor, grid: OutputGrid): QTensor => onto('mulRelu', [a, b], grid);
export const addScalar = (x: QTensor, c: number): QTensor => call('addScalar', [x], { c: real(c, 'c') });
export const mulScalar = (x: QTensor, c: number): QTensor => call('mulScalar', [x], { c: real(c, 'c') });
export const cat = (parts: readonly QTensor[], dim: number, grid: OutputGrid): QTensor =>
  onto('cat', listed(parts, 'functional.cat'), grid, { dim: whole(dim, 'dim') });

/** The pools take [N, C, H, W] (maxPool1d: [N, C, L]), or one of a batch alone: [C, H, W]. */
export const maxPool1d = (x: QTensor, options: PoolOptions): QTensor => call('maxPool1d', [x], poolOptions(options));
export const maxPool2d = (x: QTensor, options: PoolOptions): QTensor => call('maxPool2d', [x], poolOptions(options));
/** On ties torch answers differently for channels_last and contiguous inputs; so does this. */
export const avgPool2d = (x: QTensor, options: PoolOptions): QTensor => call('avgPool2d', [x], poolOptions(options));
export const adaptiveAvgPool2d = (x: QTensor, outputSize: Pair): QTensor =>
  call('adaptiveAvgPool2d', [x], { outputSize: pair(outputSize) });
/** torch.mean(x, [2, 3]). */
export const meanHw = (x: QTensor, options: { keepdim?: boolean } = {}): QTensor =>
  call('meanHw', [x], { keepdim: Boolean(object(options, 'functional.meanHw').keepdim) });
/** torch.nn.functional.interpolate, to [height, width]. */
export const interpolate = (x: QTensor, options: { size: Pair; mode?: 'nearest' | 'bilinear'; alignCorners?: boolean }): QTensor => {
  const { size, mode = 'nearest', alignCorners = false } = object(options, 'functional.interpolate');
  if (mode !== 'nearest' && mode !== 'bilinear')
    refuse(`mode = '${shown(mode)}' is not known for codes.`, 'functional.interpolate', "Use 'nearest' or 'bilinear'.");
  return call('interpolate', [x], { size: pair(size), mode, alignCorners });
};
export const flatten = (x: QTensor, startDim = 1): QTensor => call('flatten', [x], { startDim: whole(startDim, 'startDim') });
