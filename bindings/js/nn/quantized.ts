// Quantized modules: codes in, codes out, equal to torch's code for code. torch.ao.nn.quantized and torch.ao.nn.intrinsic.quantized.

import type { QuantizedModule as NativeModule } from '../octavo-nn.simd.mjs';
import { Tensor } from '../tensor.js';
import { object, real, refuse, whole } from './check.js';
import { engine, Native, unwrap } from './engine.js';
import { type ConvOptions, convOptions, BatchNorm2d as FloatBatchNorm2d, floats } from './float.js';
import * as functional from './functional.js';
import { Layer, Module, type StateDict, type Value } from './module.js';
import { checkedGrid, listed, type OutputGrid } from './options.js';
import type { Backend } from './qconfig.js';
import {
  codes,
  fromWire,
  type QDType,
  QTensor,
  type QWire,
  quantizePerTensor,
  type TensorLike,
  tensor,
  toWire,
  type Wire,
} from './tensor.js';
import { type Observed, quantizeWeight } from './weight.js';

/** A parameter: numbers, a tensor, or codes (per tensor, or per channel along axis 0), which are dequantized once. */
export type Parameter = Float32Array | readonly number[] | Tensor | QTensor;

/** What fromFloat() takes: an nn.BatchNorm2d or anything with its fields. */
export interface FloatBatchNorm extends Observed {
  /** None stands for affine: false: weight 1 and bias 0. (torch's op refuses that.) */
  weight?: Parameter | undefined;
  bias?: Parameter | undefined;
  runningMean: Parameter;
  runningVar: Parameter;
  numBatchesTracked?: number;
  eps?: number;
  momentum?: number;
}

const toWireOf = (value: Parameter): Wire =>
  value instanceof QTensor ? value.wire() : toWire(value instanceof Tensor ? value : tensor(value as Float32Array));
/** undefined and null are torch's None. */
const parameterWire = (value: Parameter | null | undefined): Wire | undefined =>
  value === undefined || value === null ? undefined : toWireOf(value);

const fromAnyWire = (wire: Wire | QWire): Tensor | QTensor => ('scheme' in wire ? new QTensor(wire) : fromWire(wire));

/** The output grid that an observer found. @throws OctavoError INVALID_STATE where there is none */
function gridOf(module: Observed, given: Partial<OutputGrid>, where: string): OutputGrid {
  const { scale, zeroPoint } = object(given, where);
  if (scale !== undefined && zeroPoint !== undefined) return checkedGrid({ scale, zeroPoint }, where);
  const found = module.activationPostProcess?.calculateQParams();
  if (found) return { scale: found.scale[0] as number, zeroPoint: found.zeroPoint[0] as number };
  return refuse(
    'There is no scale and zero point for the output.',
    where,
    'Give { scale, zeroPoint }, or prepare() and calibrate the float module.',
    'INVALID_STATE',
  );
}

/** What quantized parameters change, over all 256 codes of every channel. */
export interface ParameterError {
  /** Largest absolute differences. */
  weight: number;
  bias: number;
  runningMean: number;
  runningVar: number;
  /** 256 * channels, and how many of these outputs differ, by at most `largestChange` codes. */
  codes: number;
  codesChanged: number;
  largestChange: number;
}

/** What quantized modules with parameters share: an object of the wasm memory. */
abstract class Packed extends Layer {
  protected readonly native: Native<NativeModule>;

  constructor(kind: string, options: object) {
    super();
    this.training = false;
    this.native = new Native(unwrap<NativeModule>(engine().QuantizedModule.make(kind, options)), kind);
  }
  /** @throws OctavoError for floats, another shape, a per-channel input */
  forward(x: Value): QTensor {
    return new QTensor(unwrap(this.native.get().forward(codes(x, this.constructor.name).wire())));
  }
  get scale(): number {
    return this.#number('scale');
  }
  get zeroPoint(): number {
    return this.#number('zero_point');
  }
  override close(): void {
    this.native.close();
  }
  protected override ownState(): StateDict {
    const entries = unwrap<[string, Wire][]>(this.native.get().stateDict());
    return new Map(entries.map(([key, wire]) => [key, fromAnyWire(wire)]));
  }
  protected override loadOwnState(state: StateDict): void {
    const entries = [...state].map(([key, value]) => [key, value instanceof QTensor ? value.wire() : toWire(value)]);
    unwrap(this.native.get().loadStateDict(entries));
  }
  #number(key: string): number {
    return Number((this.ownState().get(key) as Tensor).data[0]);
  }
}

/** A BatchNorm's parameters as the WebAssembly module takes them. */
function parameters(bn: FloatBatchNorm, where: string): object {
  const {
    weight,
    bias,
    runningMean,
    runningVar,
    numBatchesTracked = 0,
    eps = 1e-5,
    momentum = 0.1,
  } = object(bn, where, 'Give a BatchNorm.');
  return {
    weight: parameterWire(weight),
    bias: parameterWire(bias),
    runningMean: toWireOf(runningMean),
    runningVar: toWireOf(runningVar),
    numBatchesTracked: whole(numBatchesTracked, 'numBatchesTracked'),
    eps: real(eps, 'eps'),
    momentum: real(momentum, 'momentum'),
  };
}

/** The grid of codes that a BatchNorm gets. */
export interface InputGrid {
  dtype: QDType;
  scale: number;
  zeroPoint: number;
}
const checkedInput = (input: InputGrid): object => ({ dtype: object(input, 'input').dtype, ...checkedGrid(input, 'input') });

/** The common part of the quantized BatchNorms. */
export abstract class BatchNorm extends Packed {
  constructor(kind: string, bn: FloatBatchNorm, grid: OutputGrid) {
    super(kind, { ...parameters(bn, kind), ...checkedGrid(grid, kind) });
  }

  /** Which row of the kernel table ran last; '' before. */
  get kernel(): string {
    return this.native.get().kernel();
  }
  /**
   * Replaces the parameters by quantized ones, each over its own range; per channel gives every number a grid of its own. Says what
   * that costs for inputs on the grid `input`.
   */
  quantizeParameters(options: { dtype: QDType; perChannel?: boolean; input: InputGrid }): ParameterError {
    const { dtype, perChannel = false, input } = object(options, 'quantizeParameters');
    return unwrap(this.native.get().quantizeParameters({ dtype, perChannel, input: checkedInput(input) }));
  }
  /**
   * What other parameters would change: `bn` is the float layer of which this module's quantized ones were made, and the answer what
   * their quantization costs for inputs on the grid `input`.
   *
   * @throws OctavoError SHAPE_MISMATCH for another number of channels
   */
  compareParameters(bn: FloatBatchNorm, input: InputGrid): ParameterError {
    return unwrap(this.native.get().compareParameters(parameters(bn, 'compareParameters'), checkedInput(input)));
  }

  protected override describe(): string {
    const features = (this.ownState().get('running_mean') as Tensor | QTensor).shape[0];
    return `${features}, scale=${this.scale}, zero_point=${this.zeroPoint}`;
  }
}

/** A fresh module as torch makes it. */
const fresh = (numFeatures: number, options: { eps?: number; momentum?: number } = {}): FloatBatchNorm =>
  new FloatBatchNorm2d(numFeatures, options);
const unit: OutputGrid = { scale: 1, zeroPoint: 0 };

/** The static methods and the constructor of one class. */
export interface BatchNormClass {
  /** Weight 1, bias 0, mean 0, variance 1, scale 1, zero point 0, until loadStateDict(). */
  new (numFeatures: number, options?: { eps?: number; momentum?: number }): BatchNorm;
  /**
   * From a trained float layer; without { scale, zeroPoint }, from what its observer saw.
   *
   * @throws OctavoError for sizes that differ, and for parameters that are not finite, with the channel
   */
  fromFloat(bn: FloatBatchNorm, grid?: Partial<OutputGrid>): BatchNorm;
  /** torch's from_reference(bn, output_scale, output_zero_point). */
  fromReference(bn: FloatBatchNorm, outputScale: number, outputZeroPoint: number): BatchNorm;
}

function batchNormClass(kind: string): BatchNormClass {
  const made = class extends BatchNorm {
    constructor(numFeatures: number | FloatBatchNorm, options?: { eps?: number; momentum?: number } | OutputGrid) {
      if (typeof numFeatures !== 'object') super(kind, fresh(numFeatures, options as { eps?: number }), unit);
      else super(kind, numFeatures, options as OutputGrid);
    }
    static fromFloat(bn: FloatBatchNorm, grid: Partial<OutputGrid> = {}): BatchNorm {
      return new made(bn, gridOf(object(bn, kind, 'Give a BatchNorm.'), grid, `nn.quantized.${kind}.fromFloat`));
    }
    static fromReference(bn: FloatBatchNorm, scale: number, zeroPoint: number): BatchNorm {
      return new made(bn, { scale, zeroPoint });
    }
  };
  Object.defineProperty(made, 'name', { value: kind });
  return made;
}

/** quantized::batch_norm1d (rank 2 or 3); torch has the op but no module over it. */
export const BatchNorm1d: BatchNormClass = batchNormClass('BatchNorm1d');
export const BatchNorm2d: BatchNormClass = batchNormClass('BatchNorm2d');
export const BatchNorm3d: BatchNormClass = batchNormClass('BatchNorm3d');
/** quantized::batch_norm1d_relu. */
export const BNReLU1d: BatchNormClass = batchNormClass('BNReLU1d');
export const BNReLU2d: BatchNormClass = batchNormClass('BNReLU2d');
export const BNReLU3d: BatchNormClass = batchNormClass('BNReLU3d');

const gridState = ({ scale, zeroPoint }: OutputGrid): StateDict =>
  new Map<string, Tensor>([
    ['scale', new Tensor('float64', Float64Array.of(scale), [])],
    ['zero_point', new Tensor('int64', BigInt64Array.of(BigInt(zeroPoint)), [])],
  ]);

/** Strictly. */
function loadGrid(module: Module & OutputGrid, state: StateDict): void {
  const scale = state.get('scale');
  const zeroPoint = state.get('zero_point');
  const single = (value: Tensor | QTensor | undefined): value is Tensor => value instanceof Tensor && value.data.length === 1;
  if (state.size !== 2 || !single(scale) || !single(zeroPoint)) {
    refuse(
      `The state dict has the keys ${[...state.keys()].join(', ') || '(none)'}.`,
      module.constructor.name,
      'It needs scale and zero_point, a number each, and nothing else.',
      'INVALID_STATE',
    );
  }
  const grid = { scale: Number(scale.data[0]), zeroPoint: Number(zeroPoint.data[0]) };
  Object.assign(module, checkedGrid(grid, module.constructor.name));
}

/** Floats to codes: what QuantStub becomes. */
export class Quantize extends Layer {
  scale: number;
  zeroPoint: number;
  readonly dtype: QDType;

  constructor(scale: number, zeroPoint: number, dtype: QDType = 'quint8') {
    super();
    this.training = false;
    this.scale = real(scale, 'scale');
    if (!(scale > 0)) refuse(`scale = ${scale} is not positive.`, 'nn.quantized.Quantize', 'Give what calculateQParams() gives.');
    this.zeroPoint = whole(zeroPoint, 'zeroPoint');
    this.dtype = dtype;
  }
  forward(x: Value | TensorLike): QTensor {
    return quantizePerTensor(floats(x as Value, 'Quantize'), this.scale, this.zeroPoint, this.dtype);
  }
  protected override ownState(): StateDict {
    return gridState(this);
  }
  protected override loadOwnState(state: StateDict): void {
    loadGrid(this, state);
  }
  protected override describe(): string {
    return `scale=${this.scale}, zero_point=${this.zeroPoint}, dtype=torch.${this.dtype}`;
  }
}

/** Codes to floats: what DeQuantStub becomes. */
export class DeQuantize extends Layer {
  constructor() {
    super();
    this.training = false;
  }
  forward(x: Value): Tensor<'float32'> {
    return x instanceof QTensor ? x.dequantize() : floats(x, 'DeQuantize');
  }
}

/** What fromFloat() takes: an nn.Linear, or anything with its fields. */
export interface FloatLinear extends Observed {
  /** [outFeatures, inFeatures], row-major. */
  weight: Float32Array;
  bias?: Float32Array | undefined;
  inFeatures: number;
  outFeatures: number;
}
/** What fromFloat() takes: an nn.Conv2d, or anything with its fields. */
export interface FloatConv extends Observed {
  weight: Float32Array;
  bias?: Float32Array | undefined;
  /** [outChannels, inChannels / groups, kernel height, kernel width] */
  weightShape: readonly number[];
  options: ConvOptions;
}

/** Options of quantized convolutions and linear layers. */
export interface WeightedOptions extends OutputGrid {
  bias?: TensorLike | undefined;
  /** The engine of torch to equal: 'onednn' (also 'x86', 'fbgemm') or 'qnnpack'; seldom, and by one code, they differ. */
  engine?: Backend;
}

/** Convolutions and linear layers: a qint8 weight with zero point 0, per tensor or per output channel, and a float32 bias. */
abstract class Weighted extends Packed {
  constructor(kind: string, weight: QTensor, options: WeightedOptions & object) {
    const { bias, ...rest } = object(options, kind);
    const checked = { ...rest, ...checkedGrid(rest, kind), weight: codes(weight, kind).wire() };
    super(kind, { ...checked, bias: bias === undefined ? undefined : toWire(bias) });
  }
  /** The weight's codes. */
  get weight(): QTensor {
    return this.ownState().get('weight') as QTensor;
  }
  protected override describe(): string {
    return `weight=[${this.weight.shape.join(', ')}], scale=${this.scale}, zero_point=${this.zeroPoint}, qscheme=torch.${this.weight.qscheme}`;
  }
}

/** One class of convolution. */
export interface ConvClass {
  /** weight [outChannels, inChannels / groups, kernel ...] qint8; torch's from_float makes it. */
  new (weight: QTensor, options: WeightedOptions & ConvOptions): Layer & { readonly weight: QTensor; scale: number; zeroPoint: number };
  fromFloat(conv: FloatConv, options?: Partial<OutputGrid> & { engine?: Backend }): Layer;
}

function convClass(kind: string): ConvClass {
  const made = class extends Weighted {
    constructor(weight: QTensor, options: WeightedOptions & ConvOptions) {
      super(kind, weight, { ...options, ...convOptions(options) });
    }
    static fromFloat(conv: FloatConv, options: Partial<OutputGrid> & { engine?: Backend } = {}): Layer {
      const weight = quantizeWeight(object(conv, kind, 'Give a convolution.').weight, conv.weightShape, conv);
      const { engine: backend } = object(options, kind);
      const grid = gridOf(conv, options, `nn.quantized.${kind}.fromFloat`);
      return new made(weight, { ...grid, ...conv.options, ...(backend && { engine: backend }), bias: conv.bias && tensor(conv.bias) });
    }
  };
  Object.defineProperty(made, 'name', { value: kind });
  return made;
}

export const Conv1d: ConvClass = convClass('Conv1d');
export const Conv2d: ConvClass = convClass('Conv2d');
export const ConvReLU1d: ConvClass = convClass('ConvReLU1d');
export const ConvReLU2d: ConvClass = convClass('ConvReLU2d');
export const ConvTranspose2d: ConvClass = convClass('ConvTranspose2d');

/** One class of linear layer. */
export interface LinearClass {
  /** weight [outFeatures, inFeatures] qint8. */
  new (weight: QTensor, options: WeightedOptions): Layer & { readonly weight: QTensor; scale: number; zeroPoint: number };
  fromFloat(linear: FloatLinear, options?: Partial<OutputGrid> & { engine?: Backend }): Layer;
}

function linearClass(kind: string): LinearClass {
  const made = class extends Weighted {
    constructor(weight: QTensor, options: WeightedOptions) {
      super(kind, weight, options);
    }
    static fromFloat(linear: FloatLinear, options: Partial<OutputGrid> & { engine?: Backend } = {}): Layer {
      const weight = quantizeWeight(object(linear, kind, 'Give a linear layer.').weight, [linear.outFeatures, linear.inFeatures], linear);
      const { engine: backend } = object(options, kind);
      const grid = gridOf(linear, options, `nn.quantized.${kind}.fromFloat`);
      return new made(weight, { ...grid, ...(backend && { engine: backend }), bias: linear.bias && tensor(linear.bias) });
    }
  };
  Object.defineProperty(made, 'name', { value: kind });
  return made;
}

export const Linear: LinearClass = linearClass('Linear');
export const LinearReLU: LinearClass = linearClass('LinearReLU');

/** What a module keeps that has an output grid and nothing else. */
abstract class OnGrid extends Layer {
  scale: number;
  zeroPoint: number;

  constructor(grid: OutputGrid) {
    super();
    const { scale, zeroPoint } = checkedGrid(grid, new.target.name);
    this.training = false;
    this.scale = scale;
    this.zeroPoint = zeroPoint;
  }
  protected override ownState(): StateDict {
    return gridState(this);
  }
  protected override loadOwnState(state: StateDict): void {
    loadGrid(this, state);
  }
  protected override describe(): string {
    return `scale=${this.scale}, zero_point=${this.zeroPoint}`;
  }
}

export class ReLU6 extends Layer {
  forward(x: Value): QTensor {
    return functional.relu6(codes(x, 'ReLU6'));
  }
}
export class Hardswish extends OnGrid {
  forward(x: Value): QTensor {
    return functional.hardswish(codes(x, 'Hardswish'), this);
  }
}
export class Sigmoid extends OnGrid {
  forward(x: Value): QTensor {
    return functional.sigmoid(codes(x, 'Sigmoid'), this);
  }
}
export class ELU extends OnGrid {
  readonly alpha: number;
  constructor(grid: OutputGrid, alpha = 1) {
    super(grid);
    this.alpha = real(alpha, 'alpha');
  }
  forward(x: Value): QTensor {
    return functional.elu(codes(x, 'ELU'), this.alpha, this);
  }
}
export class LeakyReLU extends OnGrid {
  readonly negativeSlope: number;
  constructor(grid: OutputGrid, negativeSlope = 0.01) {
    super(grid);
    this.negativeSlope = real(negativeSlope, 'negativeSlope');
  }
  forward(x: Value): QTensor {
    return functional.leakyRelu(codes(x, 'LeakyReLU'), this.negativeSlope, this);
  }
}
export class Softmax extends OnGrid {
  readonly dim: number;
  constructor(dim: number, grid: OutputGrid = unit) {
    super(grid);
    this.dim = whole(dim, 'dim');
  }
  forward(x: Value): QTensor {
    return functional.softmax(codes(x, 'Softmax'), this.dim, this);
  }
}

/** Operations of a network's own forward(), with one output grid; what FloatFunctional becomes. */
export class QFunctional extends Module {
  scale: number;
  zeroPoint: number;

  constructor(grid: OutputGrid = unit) {
    super();
    const { scale, zeroPoint } = checkedGrid(grid, 'QFunctional');
    this.training = false;
    this.scale = scale;
    this.zeroPoint = zeroPoint;
  }
  forward(): never {
    refuse('QFunctional is not to be called itself.', 'QFunctional', 'Use add(), mul(), cat() ...');
  }
  add(a: Value, b: Value): QTensor {
    return functional.add(codes(a, 'QFunctional.add'), codes(b, 'QFunctional.add'), this);
  }
  addReLU(a: Value, b: Value): QTensor {
    return functional.addReLU(codes(a, 'QFunctional.addReLU'), codes(b, 'QFunctional.addReLU'), this);
  }
  mul(a: Value, b: Value): QTensor {
    return functional.mul(codes(a, 'QFunctional.mul'), codes(b, 'QFunctional.mul'), this);
  }
  cat(parts: readonly Value[], dim = 0): QTensor {
    return functional.cat(
      listed(parts, 'QFunctional.cat').map((part) => codes(part, 'QFunctional.cat')),
      dim,
      this,
    );
  }
  addScalar(x: Value, c: number): QTensor {
    return functional.addScalar(codes(x, 'QFunctional.addScalar'), c);
  }
  mulScalar(x: Value, c: number): QTensor {
    return functional.mulScalar(codes(x, 'QFunctional.mulScalar'), c);
  }
  protected override ownState(): StateDict {
    return gridState(this);
  }
  protected override loadOwnState(state: StateDict): void {
    loadGrid(this, state);
  }
  protected override describe(): string {
    return `scale=${this.scale}, zero_point=${this.zeroPoint}`;
  }
}

export * as dynamic from './dynamic.js';
export * as functional from './functional.js';
export type { Observed } from './weight.js';
