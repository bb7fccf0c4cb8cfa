// Options that functions and modules share: grids, pairs, pools; checked, and with their defaults.

import { object, real, refuse, shown, whole } from './check.js';
import type { Backend } from './qconfig.js';

/** The scale and zero point of a result. */
export interface OutputGrid {
  scale: number;
  zeroPoint: number;
}
/** A size of height and width; a number stands for both. */
export type Pair = number | readonly [number, number];
/** Height and width. @throws OctavoError INVALID_OPTION for anything but a whole number or two */
export function pair(value: Pair): readonly [number, number] {
  const both = typeof value === 'number' ? [value, value] : value;
  if (Array.isArray(both) && both.length === 2 && both.every(Number.isSafeInteger)) return both as [number, number];
  return refuse(
    `${Array.isArray(value) ? `[${value.map(shown).join(', ')}]` : shown(value)} is no size of two dimensions.`,
    'nn',
    'Give a whole number, or two: [height, width].',
  );
}

/** The numbers of a grid. @throws OctavoError INVALID_OPTION where they are none */
export function checkedGrid(grid: OutputGrid, where: string): OutputGrid {
  const { scale, zeroPoint } = object(grid, where, 'Give the { scale, zeroPoint } of the result.');
  return { scale: real(scale, 'scale'), zeroPoint: whole(zeroPoint, 'zeroPoint') };
}

/** The tensors of a call that joins any number of them. */
export function listed<T>(parts: readonly T[], where: string): readonly T[] {
  return Array.isArray(parts) ? parts : refuse(`${shown(parts)} is no list of tensors.`, where, 'Give an array of them.');
}

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
/** The options with their defaults, as the WebAssembly module takes them. */
export function poolOptions(options: PoolOptions): object {
  const { kernelSize, stride = 0, padding = 0, dilation = 1, countIncludePad = true, ceilMode = false, ...rest } = object(options, 'pool');
  if (rest.divisorOverride !== undefined) whole(rest.divisorOverride, 'divisorOverride');
  const pairs = { kernelSize: pair(kernelSize), stride: pair(stride), padding: pair(padding), dilation: pair(dilation) };
  return { ...pairs, countIncludePad, ceilMode, ...rest };
}
