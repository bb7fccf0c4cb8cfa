// Float modules: what a model is before it is converted. Parameters are plain fields, for training loops of your own. What is more than a
// sum or a comparison runs in WebAssembly and gives the same bits everywhere.

import { Tensor } from '../tensor.js';
import { object, real, refuse, shown, whole } from './check.js';
import { engine, unwrap } from './engine.js';
import { adaptiveAvgPool2d, avgPool2d, flatten, maxPool2d, relu, relu6 } from './functional.js';
import { backThrough, Layer, Module, type PostProcess, type StateDict, type Value } from './module.js';
import { listed, type Pair, type PoolOptions, pair, poolOptions } from './options.js';
import { asTensor, fromWire, QTensor, type TensorLike, tensor, toWire, type Wire } from './tensor.js';

/** The float32 tensor in `x`. @throws OctavoError for codes, as torch's ops without a quantized form do */
export function floats(x: Value, where: string): Tensor<'float32'> {
  if (x instanceof Tensor && x.type === 'float32') return x as Tensor<'float32'>;
  const type = x instanceof QTensor ? `quantized torch.${x.dtype}` : x instanceof Tensor ? x.type : shown(x);
  const hint = x instanceof QTensor ? 'Put a DeQuantStub before this module, or convert it.' : 'Use tensor(numbers, shape).';
  return refuse(`Expected a float32 tensor, got ${type}.`, where, hint, 'UNSUPPORTED_DTYPE');
}

/** A parameter's numbers, all `value`. @throws OctavoError LIMIT_EXCEEDED beyond 2^28 of them, INVALID_OPTION for sizes that are none */
function filled(shape: readonly number[], value: number, where: string): Float32Array {
  const count = shape.reduce((product, dim) => product * (whole(dim, where) < 0 ? Number.NaN : dim), 1);
  if (Number.isNaN(count)) refuse(`[${shape.join(', ')}] is no size of a parameter.`, where, 'Give whole numbers from 0.');
  if (count > 2 ** 28) refuse(`[${shape.join(', ')}] is too large.`, where, 'A parameter has at most 2^28 numbers.', 'LIMIT_EXCEEDED');
  return new Float32Array(count).fill(value);
}

type Floats = Tensor<'float32'>;

/** A float function of the WebAssembly module, by its name; an undefined input is a bias that is not there. */
export function floatFunction(name: string, inputs: readonly (Tensor | undefined)[], options: object = {}): [Floats, ...Floats[]] {
  const wires = inputs.map((x) => x && toWire(x));
  return unwrap<Wire[]>(engine().floatFunction(name, wires, options)).map(fromWire) as [Floats, ...Floats[]];
}

/** Gradients of a layer's input and parameters; `bias` also of a layer without one. */
export interface LayerGradients {
  input: Tensor<'float32'>;
  weight: Float32Array;
  bias: Float32Array;
}
const gradientsOf = ([input, weight, bias]: Floats[]): LayerGradients => ({
  input: input as Floats,
  weight: (weight as Floats).data,
  bias: (bias as Floats).data,
});

/** What the last forward() left for backward(). @throws OctavoError INVALID_STATE where there was none */
export function lastOf<T>(last: T | undefined, module: Module): T {
  if (last !== undefined) return last;
  return refuse('There is no forward() to go back through.', module.constructor.name, 'Call forward() first.', 'INVALID_STATE');
}

/** Options of torch's BatchNorm modules. */
export interface BatchNormOptions {
  eps?: number;
  momentum?: number;
  affine?: boolean;
}

const stateKeys = {
  weight: 'weight',
  bias: 'bias',
  running_mean: 'runningMean',
  running_var: 'runningVar',
} as const;

/** The common part of BatchNorm1d, 2d and 3d: over the batch while training, over the running statistics in eval mode. */
export abstract class BatchNorm extends Layer {
  readonly numFeatures: number;
  readonly eps: number;
  readonly momentum: number;
  /** undefined with affine: false. */
  weight: Float32Array | undefined;
  bias: Float32Array | undefined;
  runningMean: Float32Array;
  runningVar: Float32Array;
  numBatchesTracked = 0;
  protected abstract readonly ranks: readonly number[];
  #last: { input: Floats; mean: Floats; variance: Floats; fromBatch: boolean } | undefined;

  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super();
    const { eps = 1e-5, momentum = 0.1, affine = true } = object(options, 'BatchNorm');
    const all = (value: number): Float32Array => filled([numFeatures], value, 'numFeatures');
    this.numFeatures = numFeatures;
    this.eps = real(eps, 'eps');
    this.momentum = real(momentum, 'momentum');
    this.weight = affine ? all(1) : undefined;
    this.bias = affine ? all(0) : undefined;
    this.runningMean = all(0);
    this.runningVar = all(1);
  }

  forward(x: Value): Tensor<'float32'> {
    const input = floats(x, this.constructor.name);
    const { shape } = input;
    if (!this.ranks.includes(shape.length) || shape[1] !== this.numFeatures) {
      refuse(
        `Expected ${this.ranks.join('D or ')}D input with ${this.numFeatures} channels, got [${shape.join(', ')}].`,
        this.constructor.name,
        `Give a tensor of shape [N, ${this.numFeatures}, ...].`,
        'SHAPE_MISMATCH',
      );
    }
    let mean = tensor(this.runningMean.slice());
    let variance = tensor(this.runningVar.slice());
    if (this.training) {
      [mean, variance] = floatFunction('batchStatistics', [input]) as [Floats, Floats];
      this.#move(mean.data, variance.data, input.data.length / this.numFeatures);
    }
    this.#last = { input, mean, variance, fromBatch: this.training };
    return floatFunction('batchNorm', [input, mean, variance, this.#weight(), tensor(this.#bias())], { eps: this.eps })[0];
  }

  #weight(): Floats {
    return tensor(this.weight ?? new Float32Array(this.numFeatures).fill(1));
  }
  #bias(): Float32Array {
    return this.bias ?? new Float32Array(this.numFeatures);
  }
  /** The batch's share in the running statistics; there the variance is the unbiased one. */
  #move(mean: Float32Array, variance: Float32Array, count: number): void {
    const moved = (running: Float32Array, batch: Float32Array, factor: number): void => {
      for (let c = 0; c < running.length; c++) {
        running[c] = (1 - this.momentum) * (running[c] as number) + this.momentum * factor * (batch[c] as number);
      }
    };
    moved(this.runningMean, mean, 1);
    moved(this.runningVar, variance, count / (count - 1));
    this.numBatchesTracked++;
  }

  /** Gradients for the last forward(), of either mode. @throws OctavoError INVALID_STATE before one */
  backward(gradOutput: TensorLike): LayerGradients {
    const { input, mean, variance, fromBatch } = lastOf(this.#last, this);
    const grad = floats(asTensor(gradOutput), this.constructor.name);
    return gradientsOf(floatFunction('batchNormBackward', [grad, input, mean, variance, this.#weight()], { eps: this.eps, fromBatch }));
  }

  protected override ownState(): StateDict {
    const state: StateDict = new Map();
    for (const [key, field] of Object.entries(stateKeys)) {
      const values = this[field];
      if (values) state.set(key, tensor(values));
    }
    state.set('num_batches_tracked', new Tensor('int64', BigInt64Array.of(BigInt(this.numBatchesTracked)), []));
    return state;
  }
  protected override loadOwnState(state: StateDict): void {
    const shape = [this.numFeatures];
    const fields = Object.entries(stateKeys).map(([key, field]) => [key, { field, shape }] as const);
    loadFields<BatchNorm>(this, state, Object.fromEntries(fields), ['num_batches_tracked']);
    const count = state.get('num_batches_tracked');
    if (count instanceof Tensor) this.numBatchesTracked = Number(count.data[0]);
  }
  protected override describe(): string {
    return `${this.numFeatures}, eps=${this.eps}, momentum=${this.momentum}, affine=${this.weight !== undefined}`;
  }
}

/**
 * Strictly, and all or nothing: copies state[key] into module[field], float32 of that shape; complains of keys that are missing,
 * unexpected or of another size.
 */
function loadFields<M extends Layer>(
  module: M,
  state: StateDict,
  fields: Record<string, { field: keyof M; shape: readonly number[] }>,
  optional: string[] = [],
): void {
  const wrong: string[] = [];
  const wanted = Object.entries(fields).filter(([, { field }]) => module[field] !== undefined);
  for (const [key, { shape }] of wanted) {
    const value = state.get(key);
    if (value === undefined) wrong.push(`missing key "${key}"`);
    else if (!(value instanceof Tensor) || value.type !== 'float32') wrong.push(`${key} is not float32`);
    else if (value.shape.join() !== shape.join())
      wrong.push(`size mismatch for ${key}: [${value.shape.join(', ')}] instead of [${shape.join(', ')}]`);
  }
  const known = new Set([...wanted.map(([key]) => key), ...optional]);
  for (const key of state.keys()) if (!known.has(key)) wrong.push(`unexpected key "${key}"`);
  if (wrong.length > 0) {
    refuse(
      `Error(s) in loading state_dict: ${wrong.join('; ')}.`,
      module.constructor.name,
      'Save and load with the same modules.',
      'INVALID_STATE',
    );
  }
  for (const [key, { field }] of wanted) (module[field] as Float32Array).set((state.get(key) as Floats).data);
}

export class BatchNorm1d extends BatchNorm {
  protected readonly ranks: readonly number[] = [2, 3];
}
export class BatchNorm2d extends BatchNorm {
  protected readonly ranks: readonly number[] = [4];
}
export class BatchNorm3d extends BatchNorm {
  protected readonly ranks: readonly number[] = [5];
}

/** f of every element. */
function mapped({ data, shape }: Floats, f: (value: number, i: number) => number): Floats {
  return new Tensor('float32', data.map(f), shape);
}

/** max(x, 0), on floats and on codes. */
export class ReLU extends Layer {
  #last: Floats | undefined;

  forward(x: Value): Value {
    if (x instanceof QTensor) return relu(x);
    this.#last = floats(x, 'ReLU');
    return mapped(this.#last, (value) => Math.max(value, 0));
  }
  /** The gradient where the last input was positive, else 0. @throws OctavoError INVALID_STATE before forward() */
  backward(gradOutput: TensorLike): Tensor<'float32'> {
    const { data } = lastOf(this.#last, this);
    return mapped(floats(asTensor(gradOutput), 'ReLU'), (grad, i) => ((data[i] as number) > 0 ? grad : 0));
  }
}

/** min(max(x, 0), 6), on floats and on codes. */
export class ReLU6 extends Layer {
  #last: Floats | undefined;

  forward(x: Value): Value {
    if (x instanceof QTensor) return relu6(x);
    this.#last = floats(x, 'ReLU6');
    return mapped(this.#last, (value) => Math.min(Math.max(value, 0), 6));
  }
  /** The gradient where the last input was between 0 and 6, else 0. @throws OctavoError INVALID_STATE before forward() */
  backward(gradOutput: TensorLike): Tensor<'float32'> {
    const { data } = lastOf(this.#last, this);
    const inside = (value: number): boolean => value > 0 && value < 6;
    return mapped(floats(asTensor(gradOutput), 'ReLU6'), (grad, i) => (inside(data[i] as number) ? grad : 0));
  }
}

/** x * min(max(x + 3, 0), 6) / 6. */
export class Hardswish extends Layer {
  forward(x: Value): Value {
    return mapped(floats(x, 'Hardswish'), (value) => (value * Math.min(Math.max(value + 3, 0), 6)) / 6);
  }
}

/** x, and alpha * (e^x - 1) below 0. */
export class ELU extends Layer {
  readonly alpha: number;
  constructor(alpha = 1) {
    super();
    this.alpha = real(alpha, 'alpha');
  }
  forward(x: Value): Value {
    return floatFunction('elu', [floats(x, 'ELU')], { alpha: this.alpha })[0];
  }
  protected override describe(): string {
    return `alpha=${this.alpha}`;
  }
}

/** x, and negativeSlope * x below 0. */
export class LeakyReLU extends Layer {
  readonly negativeSlope: number;
  constructor(negativeSlope = 0.01) {
    super();
    this.negativeSlope = real(negativeSlope, 'negativeSlope');
  }
  forward(x: Value): Value {
    return mapped(floats(x, 'LeakyReLU'), (value) => (value > 0 ? value : Math.fround(this.negativeSlope) * value));
  }
  protected override describe(): string {
    return `negative_slope=${this.negativeSlope}`;
  }
}

/** 1 / (1 + e^-x). */
export class Sigmoid extends Layer {
  forward(x: Value): Value {
    return floatFunction('sigmoid', [floats(x, 'Sigmoid')])[0];
  }
}

/** e^x over its sum along `dim` (negative: from the end). */
export class Softmax extends Layer {
  readonly dim: number;
  constructor(dim: number) {
    super();
    this.dim = whole(dim, 'dim');
  }
  /** @throws OctavoError INVALID_OPTION where the tensor has no such axis */
  forward(x: Value): Value {
    return floatFunction('softmax', [floats(x, 'Softmax')], { dim: this.dim })[0];
  }
  protected override describe(): string {
    return `dim=${this.dim}`;
  }
}

/** What the pools of windows share; on codes they keep the grid. */
abstract class Pool extends Layer {
  readonly options: PoolOptions;
  constructor(kernelSize: PoolOptions['kernelSize'], options: Omit<PoolOptions, 'kernelSize'> = {}) {
    super();
    this.options = { ...object(options, 'pool'), kernelSize };
    poolOptions(this.options); // complains of what is none
  }
  protected override describe(): string {
    const { kernelSize, stride = kernelSize, padding = 0 } = this.options;
    return `kernel_size=${String(kernelSize)}, stride=${String(stride)}, padding=${String(padding)}`;
  }
}
/** The largest of each window; padding never wins. */
export class MaxPool2d extends Pool {
  forward(x: Value): Value {
    if (x instanceof QTensor) return maxPool2d(x, this.options);
    return floatFunction('maxPool2d', [floats(x, 'MaxPool2d')], poolOptions(this.options))[0];
  }
}
/** The mean of each window. */
export class AvgPool2d extends Pool {
  forward(x: Value): Value {
    if (x instanceof QTensor) return avgPool2d(x, this.options);
    return floatFunction('avgPool2d', [floats(x, 'AvgPool2d')], poolOptions(this.options))[0];
  }
}
/** The means of windows that cover the image evenly, [height, width] of them. */
export class AdaptiveAvgPool2d extends Layer {
  readonly outputSize: readonly [number, number];
  constructor(outputSize: Pair) {
    super();
    this.outputSize = pair(outputSize);
  }
  forward(x: Value): Value {
    if (x instanceof QTensor) return adaptiveAvgPool2d(x, this.outputSize);
    return floatFunction('adaptiveAvgPool2d', [floats(x, 'AdaptiveAvgPool2d')], { outputSize: this.outputSize })[0];
  }
  protected override describe(): string {
    return `output_size=(${this.outputSize.join(', ')})`;
  }
}

/** y = x weight^T + bias: weight [outFeatures, inFeatures], row-major. */
export class Linear extends Layer {
  readonly inFeatures: number;
  readonly outFeatures: number;
  weight: Float32Array;
  bias: Float32Array | undefined;
  /** Set by prepareQat(): what forward() sees of the weight. */
  weightFakeQuant: PostProcess | undefined = undefined;
  #last: { input: Floats; used: Floats } | undefined;

  /** Zeros: training, or loadStateDict(), gives the parameters. */
  constructor(inFeatures: number, outFeatures: number, options: { bias?: boolean } = {}) {
    super();
    const { bias = true } = object(options, 'Linear');
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = filled([outFeatures, inFeatures], 0, 'Linear');
    this.bias = bias ? new Float32Array(outFeatures) : undefined;
  }
  forward(x: Value): Tensor<'float32'> {
    const input = floats(x, 'Linear');
    const weight = tensor(this.weight, [this.outFeatures, this.inFeatures]);
    const used = (this.weightFakeQuant?.forward(weight) ?? weight) as Floats;
    this.#last = { input, used };
    return floatFunction('linear', [input, used, this.bias && tensor(this.bias)])[0];
  }
  /** Gradients for the last forward(), of the weight before its fake quantization. @throws OctavoError INVALID_STATE before one */
  backward(gradOutput: TensorLike): LayerGradients {
    const { input, used } = lastOf(this.#last, this);
    const found = gradientsOf(floatFunction('linearBackward', [floats(asTensor(gradOutput), 'Linear'), input, used]));
    return { ...found, weight: backThrough(this.weightFakeQuant, tensor(found.weight, used.shape)).data };
  }
  protected override ownState(): StateDict {
    const state: StateDict = new Map([['weight', tensor(this.weight, [this.outFeatures, this.inFeatures])]]);
    if (this.bias) state.set('bias', tensor(this.bias));
    return state;
  }
  protected override loadOwnState(state: StateDict): void {
    loadFields<Linear>(this, state, {
      weight: { field: 'weight', shape: [this.outFeatures, this.inFeatures] },
      bias: { field: 'bias', shape: [this.outFeatures] },
    });
  }
  protected override describe(): string {
    return `in_features=${this.inFeatures}, out_features=${this.outFeatures}, bias=${this.bias !== undefined}`;
  }
}

/** torch's arguments of convolutions; a number stands for height and width. */
export interface ConvOptions {
  stride?: Pair;
  padding?: Pair;
  dilation?: Pair;
  /** Of transposed ones. */
  outputPadding?: Pair;
  groups?: number;
}

/** The options with their defaults, as the WebAssembly module takes them. */
export function convOptions(options: ConvOptions): object {
  const all: ConvOptions & { paddingMode?: unknown } = object(options, 'convolution');
  const { stride = 1, padding = 0, dilation = 1, outputPadding = 0, groups = 1, paddingMode = 'zeros' } = all;
  if (paddingMode !== 'zeros') refuse(`paddingMode = ${shown(paddingMode)} is not there.`, 'convolution', "Pad the input, or use 'zeros'.");
  const pairs = { stride: pair(stride), padding: pair(padding), dilation: pair(dilation), outputPadding: pair(outputPadding) };
  return { ...pairs, groups: whole(groups, 'groups') };
}

/** A float convolution of [N, C, H, W]. Weight [outChannels, inChannels / groups, kH, kW]. */
export class Conv2d extends Layer {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly weightShape: readonly number[];
  readonly options: ConvOptions;
  weight: Float32Array;
  bias: Float32Array | undefined;
  /** Set by prepareQat(): what forward() sees of the weight. */
  weightFakeQuant: PostProcess | undefined = undefined;
  #last: { input: Floats; used: Floats } | undefined;

  /** Zeros: training, or loadStateDict(), gives the parameters. */
  constructor(inChannels: number, outChannels: number, kernelSize: Pair, allOptions: ConvOptions & { bias?: boolean } = {}) {
    super();
    const { bias = true, ...options } = object(allOptions, 'Conv2d');
    convOptions(options); // complains of what is none
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.options = options;
    this.weightShape = [outChannels, whole(inChannels, 'inChannels') / (options.groups ?? 1), ...pair(kernelSize)];
    this.weight = filled(this.weightShape, 0, 'Conv2d');
    this.bias = bias ? new Float32Array(outChannels) : undefined;
  }
  forward(x: Value): Tensor<'float32'> {
    const input = floats(x, 'Conv2d');
    const weight = tensor(this.weight, this.weightShape);
    const used = (this.weightFakeQuant?.forward(weight) ?? weight) as Floats;
    this.#last = { input, used };
    return floatFunction('conv2d', [input, used, this.bias && tensor(this.bias)], convOptions(this.options))[0];
  }
  /** Gradients for the last forward(), of the weight before its fake quantization. @throws OctavoError INVALID_STATE before one */
  backward(gradOutput: TensorLike): LayerGradients {
    const { input, used } = lastOf(this.#last, this);
    const grad = floats(asTensor(gradOutput), 'Conv2d');
    const found = gradientsOf(floatFunction('conv2dBackward', [grad, input, used], convOptions(this.options)));
    return { ...found, weight: backThrough(this.weightFakeQuant, tensor(found.weight, used.shape)).data };
  }
  protected override ownState(): StateDict {
    const state: StateDict = new Map([['weight', tensor(this.weight, this.weightShape)]]);
    if (this.bias) state.set('bias', tensor(this.bias));
    return state;
  }
  protected override loadOwnState(state: StateDict): void {
    loadFields<Conv2d>(this, state, {
      weight: { field: 'weight', shape: this.weightShape },
      bias: { field: 'bias', shape: [this.outChannels] },
    });
  }
  protected override describe(): string {
    return `${this.inChannels}, ${this.outChannels}, kernel_size=(${this.weightShape.slice(2).join(', ')})`;
  }
}

/** Sums and products of a network's own forward(), observed as one module each. */
export class FloatFunctional extends Module {
  /** Has run with constants: these need no grid of its own. */
  scalarsUsed = false;

  forward(): never {
    refuse('FloatFunctional is not to be called itself.', 'FloatFunctional', 'Use add(), mul(), cat() ...');
  }
  #observed(out: Tensor): Tensor {
    return this.activationPostProcess ? this.activationPostProcess.forward(out) : out;
  }
  add(a: Value, b: Value): Value {
    return this.#observed(this.#sum(a, b, 'add'));
  }
  addReLU(a: Value, b: Value): Value {
    return this.#observed(mapped(this.#sum(a, b, 'addReLU'), (value) => Math.max(value, 0)));
  }
  mul(a: Value, b: Value): Value {
    const where = 'FloatFunctional.mul';
    return this.#observed(floatFunction('mul', [floats(a, where), floats(b, where)])[0]);
  }
  /** One after the other along `dim` (negative: from the end). */
  cat(parts: readonly Value[], dim = 0): Value {
    const tensors = listed(parts, 'FloatFunctional.cat').map((part) => floats(part, 'FloatFunctional.cat'));
    return this.#observed(floatFunction('cat', tensors, { dim: whole(dim, 'dim') })[0]);
  }
  /** Not observed, as in torch: the codes keep their values, and the grid moves. */
  addScalar(x: Value, c: number): Value {
    this.scalarsUsed = true;
    return mapped(floats(x, 'FloatFunctional.addScalar'), (value) => value + Math.fround(real(c, 'c')));
  }
  mulScalar(x: Value, c: number): Value {
    this.scalarsUsed = true;
    return mapped(floats(x, 'FloatFunctional.mulScalar'), (value) => value * Math.fround(real(c, 'c')));
  }
  #sum(a: Value, b: Value, name: string): Floats {
    const where = `FloatFunctional.${name}`;
    return floatFunction('add', [floats(a, where), floats(b, where)])[0];
  }
}

/** [N, ...] as [N, product]. */
export class Flatten extends Layer {
  forward(x: Value): Value {
    if (x instanceof QTensor) return flatten(x);
    const { data, shape } = floats(x, 'Flatten');
    return new Tensor('float32', data, [shape[0] ?? 1, shape.slice(1).reduce((product, dim) => product * dim, 1)]);
  }
}

/** Where floats become codes once the model is converted; before, it gives back what it gets. */
export class QuantStub extends Layer {
  forward(x: Value): Value {
    return x;
  }
}
/** Where codes become floats again. */
export class DeQuantStub extends Layer {
  forward(x: Value): Value {
    return x;
  }
}
