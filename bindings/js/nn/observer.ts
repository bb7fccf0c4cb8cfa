// Observers and fake quantization, with torch.ao.quantization's names and numbers.

import type {
  FakeQuantize as NativeFakeQuantize,
  LearnableFakeQuantize as NativeLearnable,
  Observer as NativeObserver,
} from '../octavo-nn.simd.mjs';
import type { Tensor } from '../tensor.js';
import { fields, object, real, reals, refuse, shown, whole, wholes } from './check.js';
import { engine, Native, unwrap } from './engine.js';
import type { PostProcess, QParams } from './module.js';
import { listed } from './options.js';
import { fromWire, type QDType, type QScheme, type TensorLike, toWire } from './tensor.js';

/** torch's keyword arguments; each observer reads those of its class. */
export interface ObserverOptions {
  dtype?: QDType;
  qscheme?: QScheme;
  /** One bit less: 0..127 or -64..63. */
  reduceRange?: boolean;
  quantMin?: number;
  quantMax?: number;
  /** The smallest scale; 2^-23. */
  eps?: number;
  /** MovingAverage*: the weight of a new batch; 0.01. */
  averagingConstant?: number;
  chAxis?: number;
  /** HistogramObserver; 2048. */
  bins?: number;
  /** FixedQParamsObserver. */
  scale?: number;
  zeroPoint?: number;
}

/** What codes an observer's scale and zero point are for. */
export interface QSpec {
  dtype: QDType;
  qscheme: QScheme;
  quantMin: number;
  quantMax: number;
  chAxis: number;
}

interface NativeProcess {
  forward(x: unknown): unknown;
  calculateQParams(): unknown;
  spec(): unknown;
  observed(): boolean;
  save(): unknown;
  load(bytes: Uint8Array): unknown;
  delete(): void;
}

/** What observers and fake quantizations have in common. */
abstract class Process<T extends NativeProcess> implements PostProcess {
  protected readonly native: Native<T>;

  constructor(object: T, name: string) {
    this.native = new Native(object, name);
  }

  /** An observer gives back what it got, a fake quantization what the codes would stand for. @throws OctavoError for NaN */
  forward(x: TensorLike): Tensor {
    return fromWire(unwrap(this.native.get().forward(toWire(x))));
  }
  /** (1, 0) before any value came, as torch's. */
  calculateQParams(): QParams {
    return unwrap(this.native.get().calculateQParams());
  }
  get spec(): QSpec {
    return this.native.get().spec() as QSpec;
  }
  get dtype(): QDType {
    return this.spec.dtype;
  }
  get qscheme(): QScheme {
    return this.spec.qscheme;
  }
  get quantMin(): number {
    return this.spec.quantMin;
  }
  get quantMax(): number {
    return this.spec.quantMax;
  }
  /** Whether calculateQParams() says something about data. */
  observed(): boolean {
    return this.native.get().observed();
  }
  /** The state as bytes, for load() of another one of the same kind; options are not in it. */
  save(): Uint8Array {
    return this.native.get().save() as Uint8Array;
  }
  /** @throws OctavoError INVALID_STATE for bytes that save() of the same kind did not write */
  load(bytes: Uint8Array): this {
    if (!(bytes instanceof Uint8Array)) refuse(`${shown(bytes)} is no state.`, 'load', 'Give the bytes of save(), a Uint8Array.');
    unwrap(this.native.get().load(bytes));
    return this;
  }
  /** Frees its memory now; it cannot be used afterwards. */
  close(): void {
    this.native.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }
  toString(): string {
    if (!this.observed()) return `${this.constructor.name}(dtype=torch.${this.dtype})`;
    const { scale, zeroPoint } = this.calculateQParams();
    return `${this.constructor.name}(scale=${scale.join(', ')}, zero_point=${zeroPoint.join(', ')}, dtype=torch.${this.dtype})`;
  }
}

/** The options, with numbers where numbers belong. */
function checked<T extends ObserverOptions & { channelLen?: number }>(options: T): T {
  fields(object(options, 'observer'), whole, 'quantMin', 'quantMax', 'chAxis', 'bins', 'channelLen');
  fields(options, real, 'eps', 'averagingConstant', 'scale', 'zeroPoint');
  return options;
}
/** torch's name of an observer that is given by it, or as its class. */
function kindOf(observer: string | (new (options?: ObserverOptions) => Observer)): string {
  if (typeof observer === 'string') return observer;
  const found = [...classes].find(([, known]) => known === observer);
  return found?.[0] ?? refuse(`observer = ${shown(observer)} is not known.`, 'observer', `Use one of ${[...classes.keys()].join(', ')}.`);
}

/** One of torch's observers; the subclasses name them. */
export class Observer extends Process<NativeObserver> {
  /** torch's class name. */
  readonly kind: string;

  constructor(kind: string, options: ObserverOptions = {}) {
    super(unwrap<NativeObserver>(engine().Observer.make(kindOf(kind), checked(options))), kind);
    this.kind = kind;
  }
  /** One batch; an empty one changes nothing. */
  observe(x: TensorLike): void {
    unwrap(this.native.get().observe(toWire(x)));
  }
  /**
   * As if `other`, of the same kind and options, had been observed here too. Moving averages, which depend on the order of batches, become
   * the mean of the two, each weighted by its batches.
   */
  merge(other: Observer): this {
    if (!(other instanceof Observer)) refuse(`${shown(other)} is no observer.`, 'merge', 'Give one of the same kind.');
    unwrap(this.native.get().merge(other.native.get()));
    return this;
  }
  /** torch: reset_min_max_vals(). */
  resetMinMaxVals(): void {
    this.native.get().reset();
  }
  /** The ends of what was seen, one a channel; empty before any value. */
  get minVal(): number[] {
    return this.native.get().minVal() as number[];
  }
  get maxVal(): number[] {
    return this.native.get().maxVal() as number[];
  }
}

export class MinMaxObserver extends Observer {
  constructor(options?: ObserverOptions) {
    super('MinMaxObserver', options);
  }
}
export class MovingAverageMinMaxObserver extends Observer {
  constructor(options?: ObserverOptions) {
    super('MovingAverageMinMaxObserver', options);
  }
}
export class PerChannelMinMaxObserver extends Observer {
  constructor(options?: ObserverOptions) {
    super('PerChannelMinMaxObserver', options);
  }
}
export class MovingAveragePerChannelMinMaxObserver extends Observer {
  constructor(options?: ObserverOptions) {
    super('MovingAveragePerChannelMinMaxObserver', options);
  }
}
export class HistogramObserver extends Observer {
  constructor(options?: ObserverOptions) {
    super('HistogramObserver', options);
  }
  /** The counts between minVal and maxVal. */
  get histogram(): number[] {
    return this.native.get().histogram() as number[];
  }
}
export class PlaceholderObserver extends Observer {
  constructor(options?: ObserverOptions) {
    super('PlaceholderObserver', options);
  }
}
export class NoopObserver extends Observer {
  constructor(options?: ObserverOptions) {
    super('NoopObserver', options);
  }
}
export class FixedQParamsObserver extends Observer {
  constructor(options?: ObserverOptions) {
    super('FixedQParamsObserver', options);
  }
}

const classes = new Map<string, unknown>(
  Object.entries({
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    PerChannelMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    HistogramObserver,
    PlaceholderObserver,
    NoopObserver,
    FixedQParamsObserver,
  }),
);

/** FakeQuantize's observer, its class or the name of that, and its options. */
export interface FakeQuantizeOptions extends ObserverOptions {
  observer?: string | (new (options?: ObserverOptions) => Observer);
}

/**
 * torch.ao.quantization.FakeQuantize: forward() shows the values to an observer, takes its scale and zero point and gives back what
 * the codes would stand for; backward() lets gradients straight through where nothing was clamped.
 */
export class FakeQuantize extends Process<NativeFakeQuantize> {
  constructor(options: FakeQuantizeOptions = {}, fused = false) {
    const { observer = 'MovingAverageMinMaxObserver', ...rest } = checked(options);
    super(unwrap<NativeFakeQuantize>(engine().FakeQuantize.make(kindOf(observer), rest, fused)), 'FakeQuantize');
  }
  /** The gradient of the last forward()'s x. @throws OctavoError INVALID_STATE before one */
  backward(gradOutput: TensorLike): Tensor<'float32'> {
    return fromWire(unwrap(this.native.get().backward(toWire(gradOutput)))) as Tensor<'float32'>;
  }
  enableObserver(enabled = true): this {
    this.native.get().enableObserver(enabled);
    return this;
  }
  disableObserver(): this {
    return this.enableObserver(false);
  }
  enableFakeQuant(enabled = true): this {
    this.native.get().enableFakeQuant(enabled);
    return this;
  }
  disableFakeQuant(): this {
    return this.enableFakeQuant(false);
  }
  get observerEnabled(): boolean {
    return this.native.get().observerEnabled();
  }
  get fakeQuantEnabled(): boolean {
    return this.native.get().fakeQuantEnabled();
  }
  /** What forward() used last. */
  get scale(): number[] {
    return this.native.get().scale() as number[];
  }
  get zeroPoint(): number[] {
    return this.native.get().zeroPoint() as number[];
  }
  /** The observer's range. */
  get minVal(): number[] {
    return this.native.get().minVal() as number[];
  }
  get maxVal(): number[] {
    return this.native.get().maxVal() as number[];
  }
}

/** torch's fused form, over a moving average: its scale is found in double precision, and may differ in the last bit. */
export class FusedMovingAvgObsFakeQuantize extends FakeQuantize {
  constructor(options?: FakeQuantizeOptions) {
    super(options, true);
  }
}

/** Gradients of x and of every scale and zero point. */
export interface LearnableGradients {
  x: Tensor<'float32'>;
  scale: number[];
  zeroPoint: number[];
}

/** torch's _LearnableFakeQuantize (LSQ+, arXiv:2004.09576): scale and zero point are parameters of your training loop. */
export class LearnableFakeQuantize extends Process<NativeLearnable> {
  constructor(options: FakeQuantizeOptions & { channelLen?: number; useGradScaling?: boolean } = {}) {
    const { observer = 'MovingAverageMinMaxObserver', ...rest } = checked(options);
    super(unwrap<NativeLearnable>(engine().LearnableFakeQuantize.make(kindOf(observer), rest)), 'LearnableFakeQuantize');
  }
  backward(gradOutput: TensorLike): LearnableGradients {
    return gradientsOf(this.native.get().backward(toWire(gradOutput)));
  }
  enableParamLearning(): this {
    this.native.get().enableParamLearning();
    return this;
  }
  enableStaticEstimate(): this {
    this.native.get().enableStaticEstimate();
    return this;
  }
  enableStaticObservation(): this {
    this.native.get().enableStaticObservation();
    return this;
  }
  get scale(): number[] {
    return this.native.get().scale() as number[];
  }
  get zeroPoint(): number[] {
    return this.native.get().zeroPoint() as number[];
  }
  /** What an optimizer's step made of them. @throws OctavoError SHAPE_MISMATCH for another number of them */
  setParameters(parameters: QParams): void {
    const { scale, zeroPoint } = object(parameters, 'setParameters', 'Give { scale, zeroPoint }, lists of numbers.');
    unwrap(this.native.get().setParameters(reals(scale, 'scale'), reals(zeroPoint, 'zeroPoint')));
  }
}

const gradientsOf = (outcome: unknown): LearnableGradients => {
  const { x, scale, zeroPoint } = unwrap<{ x: Parameters<typeof fromWire>[0]; scale: number[]; zeroPoint: number[] }>(outcome);
  return { x: fromWire(x) as Tensor<'float32'>, scale, zeroPoint };
};

/** The values, and where a code was within quantMin..quantMax (for the gradient). */
export interface FakeQuantized {
  y: Tensor<'float32'>;
  mask: Tensor<'bool'>;
}
const fakeQuantized = (outcome: unknown): FakeQuantized => {
  const { y, mask } = unwrap<Record<'y' | 'mask', Parameters<typeof fromWire>[0]>>(outcome);
  return { y: fromWire(y) as Tensor<'float32'>, mask: fromWire(mask) as Tensor<'bool'> };
};

/** torch.fake_quantize_per_tensor_affine. */
export function fakeQuantizePerTensorAffine(
  x: TensorLike,
  scale: number,
  zeroPoint: number,
  quantMin: number,
  quantMax: number,
): FakeQuantized {
  const range = [whole(quantMin, 'quantMin'), whole(quantMax, 'quantMax')] as const;
  return fakeQuantized(engine().fakeQuantizePerTensorAffine(toWire(x), real(scale, 'scale'), whole(zeroPoint, 'zeroPoint'), ...range));
}
/** torch.fake_quantize_per_channel_affine. */
export function fakeQuantizePerChannelAffine(
  x: TensorLike,
  scale: Iterable<number>,
  zeroPoint: Iterable<number>,
  axis: number,
  quantMin: number,
  quantMax: number,
): FakeQuantized {
  const grid = [reals(scale, 'scale'), wholes(zeroPoint, 'zeroPoint'), whole(axis, 'axis')] as const;
  return fakeQuantized(engine().fakeQuantizePerChannelAffine(toWire(x), ...grid, whole(quantMin, 'quantMin'), whole(quantMax, 'quantMax')));
}
/** gradOutput * mask: the gradient of both. */
export function fakeQuantizeBackward(gradOutput: TensorLike, mask: TensorLike): Tensor<'float32'> {
  return fromWire(unwrap(engine().fakeQuantizeBackward(toWire(gradOutput), toWire(mask)))) as Tensor<'float32'>;
}
/** The gradients of torch._fake_quantize_learnable_per_tensor_affine, or of the per-channel form where `axis` is given. */
export function fakeQuantizeLearnableBackward(
  gradOutput: TensorLike,
  x: TensorLike,
  qparams: QParams,
  options: { axis?: number; quantMin: number; quantMax: number; gradFactor?: number },
): LearnableGradients {
  const { scale, zeroPoint } = object(qparams, 'fakeQuantizeLearnableBackward', 'Give { scale, zeroPoint }, lists of numbers.');
  const { axis, quantMin, quantMax, gradFactor = 1 } = object(options, 'fakeQuantizeLearnableBackward');
  return gradientsOf(
    engine().fakeQuantizeLearnableBackward(toWire(gradOutput), toWire(x), reals(scale, 'scale'), reals(zeroPoint, 'zeroPoint'), {
      axis: axis === undefined ? axis : whole(axis, 'axis'),
      quantMin: whole(quantMin, 'quantMin'),
      quantMax: whole(quantMax, 'quantMax'),
      gradFactor: real(gradFactor, 'gradFactor'),
    }),
  );
}

/** ONNX Runtime's calibrators, each with its own options. */
export interface CalibrationOptions {
  /** MinMax, Entropy, Percentile or Distribution; MinMax unless given. */
  method?: 'MinMax' | 'Entropy' | 'Percentile' | 'Distribution';
  /** MinMax. */
  symmetric?: boolean;
  /** MinMax: the mean of the batches' ends. */
  movingAverage?: boolean;
  /** Percentile; 99.999. */
  percentile?: number;
  /** Entropy, 128; Percentile, 2048. */
  numBins?: number;
  /** Entropy; 128. */
  numQuantizedBins?: number;
}
/** The range [lowest, highest] that ONNX Runtime's quantize_static would find for a tensor, of all its batches at once. */
export function calibrationRange(batches: readonly TensorLike[], options: CalibrationOptions = {}): [number, number] {
  const { method = 'MinMax', symmetric = false, movingAverage = false, ...rest } = object(options, 'calibrationRange');
  fields(rest, whole, 'numBins', 'numQuantizedBins');
  fields(rest, real, 'percentile');
  const wires = listed(batches, 'calibrationRange').map(toWire);
  return unwrap(engine().calibrationRange(shown(method), wires, { symmetric, movingAverage, ...rest }));
}
