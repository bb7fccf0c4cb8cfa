// Eager quantization of a tree of modules, as torch.ao.quantization: fuse, prepare, calibrate or train, convert. All of it works on
// the model it is given (torch's inplace=True) and returns it, for the case that the model itself is exchanged.

import type { Tensor } from '../tensor.js';
import { object, real, refuse, shown } from './check.js';
import { engine, unwrap } from './engine.js';
import * as float from './float.js';
import * as intrinsic from './intrinsic.js';
import { checkedModule, Identity, type Layer, type Module, type PostProcess, type QParams, type Sequential, type Value } from './module.js';
import { FakeQuantize, FixedQParamsObserver } from './observer.js';
import type { OutputGrid } from './options.js';
import { defaultDynamicQConfig, type QConfig } from './qconfig.js';
import * as quantized from './quantized.js';
import { fromWire, type QDType, type TensorLike, tensor, toWire, type Wire } from './tensor.js';

// biome-ignore lint/suspicious/noExplicitAny: constructors of any module
type Class = new (...args: any[]) => Module;

interface ConvertRow {
  from: Class;
  /** Whether prepare() puts an observer behind it. */
  observed: boolean;
  to: (module: never, grid: OutputGrid & { dtype: QDType }) => Module;
  /** The layer in it whose weight prepareQat() fake-quantizes. */
  weighted?: (module: never) => float.Conv2d | float.Linear;
  /** What it gets behind it instead of the qconfig's activation: its results lie in a known range. */
  process?: (qat: boolean) => PostProcess;
}

/** torch's default_fixed_qparams_range_0to1_observer, and _fake_quant. */
function from0to1(qat: boolean): PostProcess {
  const fixed = { scale: 1 / 256, zeroPoint: 0, dtype: 'quint8', quantMin: 0, quantMax: 255 } as const;
  return qat ? new FakeQuantize({ observer: 'FixedQParamsObserver', ...fixed }) : new FixedQParamsObserver(fixed);
}

/** The qconfig of a fused module is that of its parts. */
const withQConfig = <M extends Module>(part: M, whole: Module): M => Object.assign(part, { qconfig: whole.qconfig });
/** The first module of a fused one. */
const firstOf = <M extends Module>(fused: Module): M => withQConfig((fused as Sequential)[0] as M, fused);
const foldedOf = (fused: intrinsic.ConvBn2d): float.Conv2d => withQConfig(foldBatchNorm(fused.conv, fused.bn), fused);

/** What convert() makes of which module. */
const rows: ConvertRow[] = [
  { from: float.QuantStub, observed: true, to: (_, { scale, zeroPoint, dtype }) => new quantized.Quantize(scale, zeroPoint, dtype) },
  { from: float.DeQuantStub, observed: false, to: () => new quantized.DeQuantize() },
  { from: float.BatchNorm2d, observed: true, to: (bn: float.BatchNorm2d, grid) => quantized.BatchNorm2d.fromFloat(bn, grid) },
  { from: float.BatchNorm3d, observed: true, to: (bn: float.BatchNorm3d, grid) => quantized.BatchNorm3d.fromFloat(bn, grid) },
  {
    from: intrinsic.BNReLU2d,
    observed: true,
    to: (fused: intrinsic.BNReLU2d, grid) => quantized.BNReLU2d.fromFloat(firstOf<float.BatchNorm2d>(fused), grid),
  },
  {
    from: intrinsic.BNReLU3d,
    observed: true,
    to: (fused: intrinsic.BNReLU3d, grid) => quantized.BNReLU3d.fromFloat(firstOf<float.BatchNorm3d>(fused), grid),
  },
  {
    from: float.Conv2d,
    observed: true,
    to: (conv: float.Conv2d, grid) => quantized.Conv2d.fromFloat(conv, grid),
    weighted: (conv: float.Conv2d) => conv,
  },
  {
    from: float.Linear,
    observed: true,
    to: (linear: float.Linear, grid) => quantized.Linear.fromFloat(linear, grid),
    weighted: (linear: float.Linear) => linear,
  },
  {
    from: intrinsic.ConvReLU2d,
    observed: true,
    to: (fused: intrinsic.ConvReLU2d, grid) => quantized.ConvReLU2d.fromFloat(firstOf<float.Conv2d>(fused), grid),
    weighted: firstOf<float.Conv2d>,
  },
  {
    from: intrinsic.ConvBn2d,
    observed: true,
    to: (fused: intrinsic.ConvBn2d, grid) => quantized.Conv2d.fromFloat(foldedOf(fused), grid),
    weighted: firstOf<float.Conv2d>,
  },
  {
    from: intrinsic.ConvBnReLU2d,
    observed: true,
    to: (fused: intrinsic.ConvBnReLU2d, grid) => quantized.ConvReLU2d.fromFloat(foldedOf(fused), grid),
    weighted: firstOf<float.Conv2d>,
  },
  {
    from: intrinsic.LinearReLU,
    observed: true,
    to: (fused: intrinsic.LinearReLU, grid) => quantized.LinearReLU.fromFloat(firstOf<float.Linear>(fused), grid),
    weighted: firstOf<float.Linear>,
  },
  { from: float.ReLU6, observed: false, to: () => new quantized.ReLU6() },
  { from: float.Hardswish, observed: true, to: (_, grid) => new quantized.Hardswish(grid) },
  { from: float.ELU, observed: true, to: ({ alpha }: float.ELU, grid) => new quantized.ELU(grid, alpha) },
  {
    from: float.LeakyReLU,
    observed: true,
    to: ({ negativeSlope }: float.LeakyReLU, grid) => new quantized.LeakyReLU(grid, negativeSlope),
  },
  { from: float.Sigmoid, observed: true, to: (_, grid) => new quantized.Sigmoid(grid), process: from0to1 },
  { from: float.Softmax, observed: true, to: ({ dim }: float.Softmax, grid) => new quantized.Softmax(dim, grid), process: from0to1 },
  { from: float.FloatFunctional, observed: true, to: (_, grid) => new quantized.QFunctional(grid) },
];
const rowOf = (module: Module): ConvertRow | undefined => rows.find(({ from }) => module.constructor === from);

/** Which modules are joined, and into what; `qat`: by fuseModulesQat(), which keeps a BatchNorm2d beside its convolution. */
const fusions: { types: Class[]; make: (modules: Module[], qat: boolean) => Layer }[] = [
  {
    types: [float.BatchNorm2d, float.ReLU],
    make: ([bn, relu]) => new intrinsic.BNReLU2d(bn as float.BatchNorm2d, relu as float.ReLU),
  },
  {
    types: [float.BatchNorm3d, float.ReLU],
    make: ([bn, relu]) => new intrinsic.BNReLU3d(bn as float.BatchNorm3d, relu as float.ReLU),
  },
  {
    types: [float.Conv2d, float.ReLU],
    make: ([conv, relu]) => new intrinsic.ConvReLU2d(conv as float.Conv2d, relu as float.ReLU),
  },
  {
    types: [float.Linear, float.ReLU],
    make: ([linear, relu]) => new intrinsic.LinearReLU(linear as float.Linear, relu as float.ReLU),
  },
  {
    types: [float.Conv2d, float.BatchNorm2d],
    make: ([conv, bn], qat) =>
      qat
        ? new intrinsic.ConvBn2d(conv as float.Conv2d, bn as float.BatchNorm2d)
        : foldBatchNorm(conv as float.Conv2d, bn as float.BatchNorm2d),
  },
  {
    types: [float.Conv2d, float.BatchNorm2d, float.ReLU],
    make: ([conv, bn, relu], qat) =>
      qat
        ? new intrinsic.ConvBnReLU2d(conv as float.Conv2d, bn as float.BatchNorm2d, relu as float.ReLU)
        : new intrinsic.ConvReLU2d(foldBatchNorm(conv as float.Conv2d, bn as float.BatchNorm2d), relu as float.ReLU),
  },
];

/** torch.nn.utils.fusion.fuse_conv_bn_weights: w * (gamma * rsqrt(var + eps)) along axis 0, and the bias that goes with it. */
export function fuseConvBnWeights(
  weight: TensorLike,
  bias: TensorLike | undefined,
  bn: Pick<float.BatchNorm2d, 'runningMean' | 'runningVar' | 'weight' | 'bias' | 'eps'>,
): { weight: Tensor<'float32'>; bias: Tensor<'float32'> } {
  const { runningMean, runningVar, weight: gamma, bias: beta, eps } = object(bn, 'fuseConvBnWeights', 'Give a BatchNorm.');
  const wire = (values: Float32Array): Wire => toWire(tensor(values));
  const mean = wire(runningMean);
  const fused = unwrap<{ weight: Wire; bias: Wire }>(
    engine().fuseConvBnWeights(toWire(weight), bias ? toWire(bias) : undefined, {
      runningMean: mean,
      runningVar: wire(runningVar),
      weight: wire(gamma ?? new Float32Array(runningMean.length).fill(1)),
      bias: wire(beta ?? new Float32Array(runningMean.length)),
      eps: real(eps, 'eps'),
    }),
  );
  return { weight: fromWire(fused.weight) as Tensor<'float32'>, bias: fromWire(fused.bias) as Tensor<'float32'> };
}

/** torch.nn.utils.fusion.fuse_conv_bn_eval: the same function as one convolution, with a bias. */
function foldBatchNorm(conv: float.Conv2d, bn: float.BatchNorm2d): float.Conv2d {
  const { weight, bias } = fuseConvBnWeights(tensor(conv.weight, conv.weightShape), conv.bias && tensor(conv.bias), bn);
  const [outChannels, , ...kernel] = conv.weightShape as [number, number, number, number];
  const fused = new float.Conv2d(conv.inChannels, outChannels, kernel, conv.options);
  fused.weight = weight.data;
  fused.bias = bias.data;
  fused.weightFakeQuant = conv.weightFakeQuant;
  return fused.eval();
}

function fuse<M extends Module>(model: M, modulesToFuse: string[] | string[][], qat: boolean): M {
  const where = qat ? 'fuseModulesQat' : 'fuseModules';
  checkedModule(model, where);
  if (!Array.isArray(modulesToFuse) || modulesToFuse.length === 0)
    refuse(`${shown(modulesToFuse)} names no modules.`, where, "Give a list of paths, ['0', '1'], or several such lists.");
  const lists = Array.isArray(modulesToFuse[0]) ? (modulesToFuse as string[][]) : [modulesToFuse as string[]];
  for (const paths of lists) {
    const modules = paths.map((path) => model.getSubmodule(path));
    const row = fusions.find(({ types }) => types.length === modules.length && types.every((type, i) => modules[i]?.constructor === type));
    if (!row) {
      const known = fusions.map(({ types }) => types.map(({ name }) => name).join(' + ')).join(', ');
      return refuse(
        `Cannot fuse ${modules.map(({ constructor }) => constructor.name).join(' + ')}.`,
        `${where}: ${paths.join(', ')}`,
        `What can be fused: ${known}.`,
      );
    }
    if (row.types[0] === float.Conv2d && modules.some(({ training }) => training !== qat)) {
      refuse(
        `${where} is for ${qat ? 'training' : 'eval'} mode.`,
        `${where}: ${paths.join(', ')}`,
        qat ? 'Call model.train() first, or use fuseModules().' : 'Call model.eval() first, or use fuseModulesQat().',
        'INVALID_STATE',
      );
    }
    const fused = row.make(modules, qat);
    fused.train((modules[0] as Module).training);
    fused.qconfig = (modules[0] as Module).qconfig;
    paths.forEach((path, i) => {
      const at = path.lastIndexOf('.');
      model.getSubmodule(at < 0 ? '' : path.slice(0, at)).setChild(path.slice(at + 1), i === 0 ? fused : new Identity());
    });
  }
  return model;
}

/**
 * torch.ao.quantization.fuse_modules: each list of paths becomes one module in the place of the first, and Identity in the others'.
 * BatchNorm2d is folded into the convolution before it.
 *
 * @throws OctavoError INVALID_OPTION for sequences that have no fused form, INVALID_STATE in training mode
 */
export function fuseModules<M extends Module>(model: M, modulesToFuse: string[] | string[][]): M {
  return fuse(model, modulesToFuse, false);
}

/**
 * torch.ao.quantization.fuse_modules_qat: the same for a model in training mode; a BatchNorm2d stays beside its convolution, goes on
 * learning, and is folded by convert().
 *
 * @throws OctavoError INVALID_OPTION for sequences that have no fused form, INVALID_STATE in eval mode
 */
export function fuseModulesQat<M extends Module>(model: M, modulesToFuse: string[] | string[][]): M {
  return fuse(model, modulesToFuse, true);
}

/** Puts `process` behind forward(), as torch's forward hooks do: callers of module.forward() get what it returns. */
function observe(module: Module, process: PostProcess): void {
  if (module instanceof float.FloatFunctional) {
    module.activationPostProcess = process; // its functions ask for it
    return;
  }
  const forward = module.forward.bind(module) as (x: Value) => Value;
  module.activationPostProcess = process;
  // A property of this one object, in front of its class's method.
  const hooked = (x: Value): Value => process.forward(forward(x) as Tensor);
  Object.defineProperty(module, 'forward', { value: hooked, configurable: true, enumerable: false, writable: true });
}

/** Takes it away again. */
function unobserve(module: Module): void {
  delete (module as Partial<Module>).forward;
  module.activationPostProcess = undefined;
}

function prepareBelow(module: Module, inherited: QConfig | null | undefined, qat: boolean): void {
  const qconfig = module.qconfig === undefined ? inherited : module.qconfig;
  const row = rowOf(module);
  if (!row) {
    for (const [, child] of module.namedChildren()) prepareBelow(child, qconfig, qat);
    return;
  }
  module.qconfig = qconfig;
  if (!qconfig) return;
  if (row.observed && !module.activationPostProcess) observe(module, row.process?.(qat) ?? qconfig.activation());
  if (qat && row.weighted) row.weighted(module as never).weightFakeQuant ??= qconfig.weight();
}

function prepared<M extends Module>(model: M, qat: boolean): M {
  if (![...checkedModule(model, qat ? 'prepareQat' : 'prepare').namedModules()].some(([, { qconfig }]) => qconfig)) {
    refuse(
      'No module has a qconfig.',
      qat ? 'prepareQat' : 'prepare',
      `Set \`model.qconfig = quantization.${qat ? 'getDefaultQatQConfig' : 'getDefaultQConfig'}('x86')\` first.`,
      'INVALID_STATE',
    );
  }
  prepareBelow(model, undefined, qat);
  return model;
}

/**
 * torch.ao.quantization.prepare: puts an observer of each module's qconfig behind what it computes. Then show the model data.
 * Modules without a quantized form, and those with `qconfig = null`, stay as they are.
 */
export function prepare<M extends Module>(model: M): M {
  return prepared(model, false);
}

/** torch.ao.quantization.prepare_qat: the same with fake quantizations, of weights too. Then train, and convert. */
export function prepareQat<M extends Module>(model: M): M {
  if (!checkedModule(model, 'prepareQat').training) {
    refuse('prepareQat only works on models in training mode.', 'prepareQat', 'Call model.train() first.', 'INVALID_STATE');
  }
  return prepared(model, true);
}

/** Whether a process has seen data; those of your own say so, or are believed. */
const hasSeen = (process: PostProcess & { observed?: () => boolean }): boolean => process.observed?.() ?? true;

/** What `module` becomes; itself where nothing is to be done. @throws OctavoError INVALID_STATE */
function convertedOf(module: Module, row: ConvertRow, path: string): Module {
  if (!module.qconfig) return module;
  const process = module.activationPostProcess as (PostProcess & { dtype?: QDType }) | undefined;
  if (!row.observed) return row.to(module as never, { scale: 1, zeroPoint: 0, dtype: 'quint8' });
  if (process && !hasSeen(process) && module instanceof float.FloatFunctional && module.scalarsUsed) {
    return new quantized.QFunctional(); // torch's default grid, which sums with constants do not read
  }
  if (!process || !hasSeen(process)) {
    refuse(
      process ? 'The observer has seen no data.' : 'There is no observer.',
      `convert: ${path || 'the model'} (${module.constructor.name})`,
      process ? 'Run the prepared model on calibration data first.' : 'Call prepare() or prepareQat() first.',
      'INVALID_STATE',
    );
  }
  const { scale, zeroPoint }: QParams = process.calculateQParams();
  return row.to(module as never, { scale: scale[0] as number, zeroPoint: zeroPoint[0] as number, dtype: process.dtype ?? 'quint8' });
}

/** Every module with a row, with what it becomes. */
function conversions(module: Module, path: string, found: Map<Module, Module>): Map<Module, Module> {
  const row = rowOf(module);
  if (row) found.set(module, found.get(module) ?? convertedOf(module, row, path));
  else for (const [name, child] of module.namedChildren()) conversions(child, path ? `${path}.${name}` : name, found);
  return found;
}

/** Puts the replacements into the tree. */
function replaceBelow(module: Module, made: ReadonlyMap<Module, Module>): Module {
  const own = made.get(module);
  if (own) return own;
  for (const [name, child] of module.namedChildren()) {
    const replacement = replaceBelow(child, made);
    if (replacement !== child) module.setChild(name, replacement);
  }
  return module;
}

/**
 * torch.ao.quantization.convert: every observed module becomes its quantized form with the scale and zero point that were found. All or
 * nothing: where it throws, the model is as it was.
 *
 * @throws OctavoError INVALID_STATE for observers that have seen nothing
 */
export function convert<M extends Module>(model: M): M {
  const made = conversions(checkedModule(model, 'convert'), '', new Map());
  const converted = replaceBelow(model, made);
  for (const [module, replacement] of made) {
    if (replacement === module) continue;
    const trainedWith = rowOf(module)?.weighted?.(module as never).weightFakeQuant;
    for (const process of [module.activationPostProcess, trainedWith]) (process as { close?: () => void } | undefined)?.close?.();
    unobserve(module);
  }
  return converted as M;
}

/** The modules that quantizeDynamic() knows, and what becomes of them. */
const dynamicRows: { from: Class; to: (module: never) => Module }[] = [
  { from: float.Linear, to: (linear: float.Linear) => quantized.dynamic.Linear.fromFloat(linear) },
  { from: float.Conv2d, to: (conv: float.Conv2d) => quantized.dynamic.Conv2d.fromFloat(conv) },
];

/**
 * torch.ao.quantization.quantize_dynamic: modules of `types` get int8 weights (by their own qconfig, or defaultDynamicQConfig) and
 * quantize their input as it comes; no calibration. Linear layers by torch's rule, Conv2d, which torch leaves out, by ONNX's.
 *
 * @throws OctavoError INVALID_OPTION for types without a dynamic form
 */
export function quantizeDynamic<M extends Module>(model: M, types: Iterable<Class> = [float.Linear]): M {
  checkedModule(model, 'quantizeDynamic');
  if (typeof types !== 'object' || types === null || !(Symbol.iterator in types))
    refuse(`${shown(types)} is no list of classes.`, 'quantizeDynamic', 'Give an array: [nn.Linear].');
  const wanted = new Set<unknown>(types);
  for (const unknown of wanted) {
    if (dynamicRows.some(({ from }) => from === unknown)) continue;
    refuse(
      `There is no dynamic form of ${shown(unknown)}.`,
      'quantizeDynamic',
      `What has one: ${dynamicRows.map(({ from }) => from.name).join(', ')}.`,
    );
  }
  const made = new Map<Module, Module>();
  for (const [, module] of model.namedModules()) {
    const row = wanted.has(module.constructor) && dynamicRows.find(({ from }) => module.constructor === from);
    if (row) made.set(module, row.to({ ...module, qconfig: module.qconfig ?? defaultDynamicQConfig } as never));
  }
  return replaceBelow(model, made) as M;
}
