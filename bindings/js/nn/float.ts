// Float modules: what a model is before it is converted. Parameters are plain fields, for training loops of your own.

import { OctavoError } from '../errors.js';
import { Tensor } from '../tensor.js';
import { flatten, pair, relu } from './functional.js';
import { Layer, Module, type StateDict, type Value } from './module.js';
import { asTensor, QTensor, type TensorLike, tensor } from './tensor.js';

/** The float32 tensor in `x`. @throws OctavoError for codes, as torch's ops without a quantized form do */
export function floats(x: Value, where: string): Tensor<'float32'> {
  if (x instanceof Tensor && x.type === 'float32') return x as Tensor<'float32'>;
  const type = x instanceof QTensor ? `quantized torch.${x.dtype}` : x instanceof Tensor ? x.type : typeof x;
  throw new OctavoError({
    code: 'UNSUPPORTED_DTYPE',
    what: `Expected a float32 tensor, got ${type}.`,
    where,
    hint: x instanceof QTensor ? 'Put a DeQuantStub before this module, or convert it.' : 'Use tensor(numbers, shape).',
  });
}

/** Gradients of a BatchNorm's input and parameters. */
export interface BatchNormGradients {
  input: Tensor<'float32'>;
  weight: Float32Array;
  bias: Float32Array;
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
  #last: { normalized: Float32Array; inverse: Float64Array; count: number } | undefined;

  constructor(numFeatures: number, { eps = 1e-5, momentum = 0.1, affine = true }: BatchNormOptions = {}) {
    super();
    this.numFeatures = numFeatures;
    this.eps = eps;
    this.momentum = momentum;
    this.weight = affine ? new Float32Array(numFeatures).fill(1) : undefined;
    this.bias = affine ? new Float32Array(numFeatures) : undefined;
    this.runningMean = new Float32Array(numFeatures);
    this.runningVar = new Float32Array(numFeatures).fill(1);
  }

  forward(x: Value): Tensor<'float32'> {
    const { data, shape } = floats(x, this.constructor.name);
    if (!this.ranks.includes(shape.length) || shape[1] !== this.numFeatures) {
      throw new OctavoError({
        code: 'SHAPE_MISMATCH',
        what: `Expected ${this.ranks.join('D or ')}D input with ${this.numFeatures} channels, got [${shape.join(', ')}].`,
        where: this.constructor.name,
        hint: `Give a tensor of shape [N, ${this.numFeatures}, ...].`,
      });
    }
    const channels = this.numFeatures;
    const plane = shape.slice(2).reduce((product, dim) => product * dim, 1);
    const images = shape[0] as number;
    const count = images * plane;
    const mean = Float64Array.from(this.runningMean);
    const variance = Float64Array.from(this.runningVar);
    if (this.training && count > 0) this.#statistics(data, images, plane, mean, variance);
    const inverse = variance.map((one) => 1 / Math.sqrt(one + this.eps));
    const out = new Float32Array(data.length);
    const normalized = this.training ? new Float32Array(data.length) : undefined;
    for (let at = 0, i = 0; at < images * channels; at++) {
      const c = at % channels;
      const slope = inverse[c] as number;
      const center = mean[c] as number;
      const weight = this.weight?.[c] ?? 1;
      const bias = this.bias?.[c] ?? 0;
      for (const end = i + plane; i < end; i++) {
        const one = ((data[i] as number) - center) * slope;
        if (normalized) normalized[i] = one;
        out[i] = one * weight + bias;
      }
    }
    this.#last = normalized && { normalized, inverse, count };
    return new Tensor('float32', out, shape);
  }

  /** Mean and variance of the batch, and their share in the running ones (there the variance is the unbiased one). */
  #statistics(data: Float32Array, images: number, plane: number, mean: Float64Array, variance: Float64Array): void {
    const channels = this.numFeatures;
    const count = images * plane;
    for (let c = 0; c < channels; c++) {
      let sum = 0;
      let squares = 0;
      for (let image = 0; image < images; image++) {
        const from = (image * channels + c) * plane;
        for (let i = from; i < from + plane; i++) sum += data[i] as number;
      }
      const center = sum / count;
      for (let image = 0; image < images; image++) {
        const from = (image * channels + c) * plane;
        for (let i = from; i < from + plane; i++) squares += ((data[i] as number) - center) ** 2;
      }
      mean[c] = center;
      variance[c] = squares / count;
      const unbiased = count > 1 ? squares / (count - 1) : squares;
      this.runningMean[c] = (1 - this.momentum) * (this.runningMean[c] as number) + this.momentum * center;
      this.runningVar[c] = (1 - this.momentum) * (this.runningVar[c] as number) + this.momentum * unbiased;
    }
    this.numBatchesTracked++;
  }

  /** Gradients for the last forward() in training mode. @throws OctavoError INVALID_STATE before one */
  backward(gradOutput: TensorLike): BatchNormGradients {
    if (!this.#last) {
      throw new OctavoError({
        code: 'INVALID_STATE',
        what: 'There is no forward() in training mode to go back through.',
        where: this.constructor.name,
        hint: 'Call train() and forward() first.',
      });
    }
    const { normalized, inverse, count } = this.#last;
    const { data: grad, shape } = floats(asTensor(gradOutput), this.constructor.name);
    const channels = this.numFeatures;
    const plane = shape.slice(2).reduce((product, dim) => product * dim, 1);
    const weight = new Float64Array(channels);
    const bias = new Float64Array(channels);
    const each = (body: (i: number, c: number) => void): void => {
      for (let i = 0; i < grad.length; i++) body(i, Math.floor(i / plane) % channels);
    };
    each((i, c) => {
      weight[c] = (weight[c] as number) + (grad[i] as number) * (normalized[i] as number);
      bias[c] = (bias[c] as number) + (grad[i] as number);
    });
    const input = new Float32Array(grad.length);
    each((i, c) => {
      const centered = (grad[i] as number) - ((bias[c] as number) + (normalized[i] as number) * (weight[c] as number)) / count;
      input[i] = centered * (this.weight?.[c] ?? 1) * (inverse[c] as number);
    });
    return { input: new Tensor('float32', input, shape), weight: Float32Array.from(weight), bias: Float32Array.from(bias) };
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
    loadFields(this, state, stateKeys, ['num_batches_tracked']);
    const count = state.get('num_batches_tracked');
    if (count instanceof Tensor) this.numBatchesTracked = Number(count.data[0]);
  }
  protected override describe(): string {
    return `${this.numFeatures}, eps=${this.eps}, momentum=${this.momentum}, affine=${this.weight !== undefined}`;
  }
}

/** Strictly: copies state[key] into module[field], and complains of keys that are missing, unexpected or of another size. */
function loadFields<M extends Layer>(module: M, state: StateDict, fields: Record<string, keyof M>, optional: string[] = []): void {
  const wrong: string[] = [];
  const wanted = Object.entries(fields).filter(([, field]) => module[field] !== undefined);
  for (const [key, field] of wanted) {
    const value = state.get(key);
    const to = module[field] as Float32Array;
    if (!(value instanceof Tensor)) wrong.push(`missing key "${key}"`);
    else if (value.data.length !== to.length) wrong.push(`size mismatch for ${key}: ${value.data.length} instead of ${to.length}`);
    else to.set(value.data as Float32Array);
  }
  const known = new Set([...wanted.map(([key]) => key), ...optional]);
  for (const key of state.keys()) if (!known.has(key)) wrong.push(`unexpected key "${key}"`);
  if (wrong.length === 0) return;
  throw new OctavoError({
    code: 'INVALID_STATE',
    what: `Error(s) in loading state_dict: ${wrong.join('; ')}.`,
    where: module.constructor.name,
    hint: 'Save and load with the same modules.',
  });
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

/** max(x, 0), on floats and on codes. */
export class ReLU extends Layer {
  forward(x: Value): Value {
    if (x instanceof QTensor) return relu(x);
    const { data, shape } = floats(x, 'ReLU');
    return new Tensor(
      'float32',
      data.map((value) => Math.max(value, 0)),
      shape,
    );
  }
}

/** y = x weight^T + bias: weight [outFeatures, inFeatures], row-major. */
export class Linear extends Layer {
  readonly inFeatures: number;
  readonly outFeatures: number;
  weight: Float32Array;
  bias: Float32Array | undefined;

  /** Zeros: training, or loadStateDict(), gives the parameters. */
  constructor(inFeatures: number, outFeatures: number, { bias = true }: { bias?: boolean } = {}) {
    super();
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = new Float32Array(outFeatures * inFeatures);
    this.bias = bias ? new Float32Array(outFeatures) : undefined;
  }
  forward(x: Value): Tensor<'float32'> {
    const { data, shape } = floats(x, 'Linear');
    if (shape.at(-1) !== this.inFeatures) {
      throw new OctavoError({
        code: 'SHAPE_MISMATCH',
        what: `Expected ${this.inFeatures} features in the last dimension, got [${shape.join(', ')}].`,
        where: 'Linear',
        hint: 'Flatten the tensor first, or make the layer with as many features.',
      });
    }
    const rows = data.length / this.inFeatures;
    const out = new Float32Array(rows * this.outFeatures);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let o = 0; o < this.outFeatures; o++, at++) {
        let sum = this.bias?.[o] ?? 0;
        for (let i = 0; i < this.inFeatures; i++) {
          sum += (data[row * this.inFeatures + i] as number) * (this.weight[o * this.inFeatures + i] as number);
        }
        out[at] = sum;
      }
    }
    return new Tensor('float32', out, [...shape.slice(0, -1), this.outFeatures]);
  }
  protected override ownState(): StateDict {
    const state: StateDict = new Map([['weight', tensor(this.weight, [this.outFeatures, this.inFeatures])]]);
    if (this.bias) state.set('bias', tensor(this.bias));
    return state;
  }
  protected override loadOwnState(state: StateDict): void {
    loadFields<Linear>(this, state, { weight: 'weight', bias: 'bias' });
  }
  protected override describe(): string {
    return `in_features=${this.inFeatures}, out_features=${this.outFeatures}, bias=${this.bias !== undefined}`;
  }
}

type Pair = number | readonly [number, number];

/** torch's arguments of convolutions; a number stands for height and width. */
export interface ConvOptions {
  stride?: Pair;
  padding?: Pair;
  dilation?: Pair;
  /** Of transposed ones. */
  outputPadding?: Pair;
  groups?: number;
}

/** A float convolution, plainly written: it is there to be trained, calibrated and converted. Weight [out, in / groups, kH, kW]. */
export class Conv2d extends Layer {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly weightShape: readonly number[];
  readonly options: ConvOptions;
  weight: Float32Array;
  bias: Float32Array | undefined;

  /** Zeros: training, or loadStateDict(), gives the parameters. */
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: Pair,
    { bias = true, ...options }: ConvOptions & { bias?: boolean } = {},
  ) {
    super();
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.options = options;
    this.weightShape = [outChannels, inChannels / (options.groups ?? 1), ...pair(kernelSize)];
    this.weight = new Float32Array(this.weightShape.reduce((product, dim) => product * dim, 1));
    this.bias = bias ? new Float32Array(outChannels) : undefined;
  }
  forward(x: Value): Tensor<'float32'> {
    const { data, shape } = floats(x, 'Conv2d');
    if (shape.length !== 4 || shape[1] !== this.inChannels) {
      throw new OctavoError({
        code: 'SHAPE_MISMATCH',
        what: `Expected an input of ${this.inChannels} channels, got [${shape.join(', ')}].`,
        where: 'Conv2d',
        hint: `Give a tensor of shape [N, ${this.inChannels}, H, W].`,
      });
    }
    const { stride = 1, padding = 0, dilation = 1, groups = 1 } = this.options;
    const [images, , height, width] = shape as [number, number, number, number];
    const [, depth, kh, kw] = this.weightShape as [number, number, number, number];
    const [sh, sw] = pair(stride);
    const [ph, pw] = pair(padding);
    const [dh, dw] = pair(dilation);
    const oh = Math.floor((height + 2 * ph - dh * (kh - 1) - 1) / sh) + 1;
    const ow = Math.floor((width + 2 * pw - dw * (kw - 1) - 1) / sw) + 1;
    const out = new Float32Array(images * this.outChannels * oh * ow);
    let at = 0;
    for (let n = 0; n < images; n++) {
      for (let o = 0; o < this.outChannels; o++) {
        const first = n * this.inChannels + Math.floor((o * groups) / this.outChannels) * depth;
        for (let y = 0; y < oh; y++) {
          for (let x = 0; x < ow; x++, at++) {
            let sum = this.bias?.[o] ?? 0;
            for (let c = 0; c < depth; c++) {
              for (let i = 0; i < kh; i++) {
                const row = y * sh - ph + i * dh;
                if (row < 0 || row >= height) continue;
                for (let j = 0; j < kw; j++) {
                  const column = x * sw - pw + j * dw;
                  if (column < 0 || column >= width) continue;
                  const value = data[((first + c) * height + row) * width + column] as number;
                  sum += value * (this.weight[((o * depth + c) * kh + i) * kw + j] as number);
                }
              }
            }
            out[at] = sum;
          }
        }
      }
    }
    return new Tensor('float32', out, [images, this.outChannels, oh, ow]);
  }
  protected override ownState(): StateDict {
    const state: StateDict = new Map([['weight', tensor(this.weight, this.weightShape)]]);
    if (this.bias) state.set('bias', tensor(this.bias));
    return state;
  }
  protected override loadOwnState(state: StateDict): void {
    loadFields<Conv2d>(this, state, { weight: 'weight', bias: 'bias' });
  }
  protected override describe(): string {
    return `${this.inChannels}, ${this.outChannels}, kernel_size=(${this.weightShape.slice(2).join(', ')})`;
  }
}

/** Sums and products of a network's own forward(), observed as one module each. */
export class FloatFunctional extends Module {
  forward(): never {
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: 'FloatFunctional is not to be called itself.',
      where: 'FloatFunctional',
      hint: 'Use add(), mul(), cat() ...',
    });
  }
  #observed(out: Tensor): Tensor {
    return this.activationPostProcess ? this.activationPostProcess.forward(out) : out;
  }
  #pairwise(a: Value, b: Value, name: string, f: (a: number, b: number) => number): Tensor {
    const left = floats(a, `FloatFunctional.${name}`);
    const right = floats(b, `FloatFunctional.${name}`);
    if (left.shape.join() !== right.shape.join()) {
      throw new OctavoError({
        code: 'SHAPE_MISMATCH',
        what: `Shapes [${left.shape.join(', ')}] and [${right.shape.join(', ')}] differ.`,
        where: `FloatFunctional.${name}`,
        hint: 'Give two tensors of one shape.',
      });
    }
    const out = left.data.map((value, i) => f(value, right.data[i] as number));
    return this.#observed(new Tensor('float32', out, left.shape));
  }
  add(a: Value, b: Value): Value {
    return this.#pairwise(a, b, 'add', (x, y) => x + y);
  }
  addRelu(a: Value, b: Value): Value {
    return this.#pairwise(a, b, 'addRelu', (x, y) => Math.max(x + y, 0));
  }
  mul(a: Value, b: Value): Value {
    return this.#pairwise(a, b, 'mul', (x, y) => x * y);
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
