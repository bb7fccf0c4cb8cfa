// Eager quantization of a tree of modules, as torch.ao.quantization: fuse, prepare, calibrate or train, convert. All of it works on
// the model it is given (torch's inplace=True) and returns it, for the case that the model itself is exchanged.

import { OctavoError } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { engine, unwrap } from './engine.js';
import * as float from './float.js';
import type { OutputGrid } from './functional.js';
import * as intrinsic from './intrinsic.js';
import { Identity, type Layer, type Module, type PostProcess, type QParams, type Value } from './module.js';
import type { QConfig } from './qconfig.js';
import * as quantized from './quantized.js';
import { fromWire, type QDType, type TensorLike, tensor, toWire, type Wire } from './tensor.js';

// biome-ignore lint/suspicious/noExplicitAny: constructors of any module
type Class = new (...args: any[]) => Module;

interface ConvertRow {
  from: Class;
  /** Whether prepare() puts an observer behind it. */
  observed: boolean;
  to: (module: never, grid: OutputGrid & { dtype: QDType }) => Module;
}

/** What convert() makes of which module. */
const rows: ConvertRow[] = [
  { from: float.QuantStub, observed: true, to: (_, { scale, zeroPoint, dtype }) => new quantized.Quantize(scale, zeroPoint, dtype) },
  { from: float.DeQuantStub, observed: false, to: () => new quantized.DeQuantize() },
  { from: float.BatchNorm2d, observed: true, to: (bn: float.BatchNorm2d, grid) => quantized.BatchNorm2d.fromFloat(bn, grid) },
  { from: float.BatchNorm3d, observed: true, to: (bn: float.BatchNorm3d, grid) => quantized.BatchNorm3d.fromFloat(bn, grid) },
  {
    from: intrinsic.BNReLU2d,
    observed: true,
    to: (fused: intrinsic.BNReLU2d, grid) => quantized.BNReLU2d.fromFloat(fused[0] as float.BatchNorm2d, grid),
  },
  {
    from: intrinsic.BNReLU3d,
    observed: true,
    to: (fused: intrinsic.BNReLU3d, grid) => quantized.BNReLU3d.fromFloat(fused[0] as float.BatchNorm3d, grid),
  },
  { from: float.Conv2d, observed: true, to: (conv: float.Conv2d, grid) => quantized.Conv2d.fromFloat(conv, grid) },
  { from: float.Linear, observed: true, to: (linear: float.Linear, grid) => quantized.Linear.fromFloat(linear, grid) },
  {
    from: intrinsic.ConvReLU2d,
    observed: true,
    to: (fused: intrinsic.ConvReLU2d, grid) => quantized.ConvReLU2d.fromFloat(withQConfig(fused[0] as float.Conv2d, fused), grid),
  },
  {
    from: intrinsic.LinearReLU,
    observed: true,
    to: (fused: intrinsic.LinearReLU, grid) => quantized.LinearReLU.fromFloat(withQConfig(fused[0] as float.Linear, fused), grid),
  },
  { from: float.FloatFunctional, observed: true, to: (_, grid) => new quantized.QFunctional(grid) },
];
/** The qconfig of a fused module is that of its parts. */
const withQConfig = <M extends Module>(part: M, whole: Module): M => Object.assign(part, { qconfig: whole.qconfig });
const rowOf = (module: Module): ConvertRow | undefined => rows.find(({ from }) => module.constructor === from);

/** Which modules fuseModules() joins, and into what. */
const fusions: { types: Class[]; make: (modules: Module[]) => Layer }[] = [
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
    make: ([conv, bn]) => foldBatchNorm(conv as float.Conv2d, bn as float.BatchNorm2d),
  },
  {
    types: [float.Conv2d, float.BatchNorm2d, float.ReLU],
    make: ([conv, bn, relu]) => new intrinsic.ConvReLU2d(foldBatchNorm(conv as float.Conv2d, bn as float.BatchNorm2d), relu as float.ReLU),
  },
];

/** torch.nn.utils.fusion.fuse_conv_bn_weights: w * (gamma * rsqrt(var + eps)) along axis 0, and the bias that goes with it. */
export function fuseConvBnWeights(
  weight: TensorLike,
  bias: TensorLike | undefined,
  bn: Pick<float.BatchNorm2d, 'runningMean' | 'runningVar' | 'weight' | 'bias' | 'eps'>,
): { weight: Tensor<'float32'>; bias: Tensor<'float32'> } {
  const channels = bn.runningMean.length;
  const wire = (values: Float32Array): Wire => toWire(tensor(values));
  const fused = unwrap<{ weight: Wire; bias: Wire }>(
    engine().fuseConvBnWeights(toWire(weight), bias && toWire(bias), {
      runningMean: wire(bn.runningMean),
      runningVar: wire(bn.runningVar),
      weight: wire(bn.weight ?? new Float32Array(channels).fill(1)),
      bias: wire(bn.bias ?? new Float32Array(channels)),
      eps: bn.eps,
    }),
  );
  return { weight: fromWire(fused.weight) as Tensor<'float32'>, bias: fromWire(fused.bias) as Tensor<'float32'> };
}

/** torch.nn.utils.fusion.fuse_conv_bn_eval: the same function as one convolution, with a bias. */
function foldBatchNorm(conv: float.Conv2d, bn: float.BatchNorm2d): float.Conv2d {
  if (conv.training || bn.training) {
    throw new OctavoError({
      code: 'INVALID_STATE',
      what: 'Conv2d and BatchNorm2d are fused in eval mode only.',
      where: 'fuseModules',
      hint: 'Call model.eval() first.',
    });
  }
  const { weight, bias } = fuseConvBnWeights(tensor(conv.weight, conv.weightShape), conv.bias && tensor(conv.bias), bn);
  const [outChannels, , ...kernel] = conv.weightShape as [number, number, number, number];
  const fused = new float.Conv2d(conv.inChannels, outChannels, kernel, conv.options);
  fused.weight = weight.data;
  fused.bias = bias.data;
  return fused.eval();
}

/**
 * torch.ao.quantization.fuse_modules: each list of paths becomes one module in the place of the first, and Identity in the others'.
 *
 * @throws OctavoError INVALID_OPTION for sequences that have no fused form
 */
export function fuseModules<M extends Module>(model: M, modulesToFuse: string[] | string[][]): M {
  const lists = Array.isArray(modulesToFuse[0]) ? (modulesToFuse as string[][]) : [modulesToFuse as string[]];
  for (const paths of lists) {
    const modules = paths.map((path) => model.getSubmodule(path));
    const row = fusions.find(({ types }) => types.length === modules.length && types.every((type, i) => modules[i]?.constructor === type));
    if (!row) {
      const known = fusions.map(({ types }) => types.map(({ name }) => name).join(' + ')).join(', ');
      throw new OctavoError({
        code: 'INVALID_OPTION',
        what: `Cannot fuse ${modules.map(({ constructor }) => constructor.name).join(' + ')}.`,
        where: `fuseModules: ${paths.join(', ')}`,
        hint: `What can be fused: ${known}.`,
      });
    }
    const fused = row.make(modules);
    fused.train((modules[0] as Module).training);
    fused.qconfig = (modules[0] as Module).qconfig;
    paths.forEach((path, i) => {
      const at = path.lastIndexOf('.');
      model.getSubmodule(at < 0 ? '' : path.slice(0, at)).setChild(path.slice(at + 1), i === 0 ? fused : new Identity());
    });
  }
  return model;
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

function prepareBelow(module: Module, inherited: QConfig | null | undefined, path: string): void {
  const qconfig = module.qconfig === undefined ? inherited : module.qconfig;
  const row = rowOf(module);
  if (!row) {
    for (const [name, child] of module.namedChildren()) prepareBelow(child, qconfig, path ? `${path}.${name}` : name);
    return;
  }
  module.qconfig = qconfig;
  if (row.observed && qconfig && !module.activationPostProcess) observe(module, qconfig.activation());
}

/**
 * torch.ao.quantization.prepare: puts an observer of each module's qconfig behind what it computes. Then show the model data.
 * Modules without a quantized form, and those with `qconfig = null`, stay as they are.
 */
export function prepare<M extends Module>(model: M): M {
  if (![...model.namedModules()].some(([, { qconfig }]) => qconfig)) {
    throw new OctavoError({
      code: 'INVALID_STATE',
      what: 'No module has a qconfig.',
      where: 'prepare',
      hint: "Set `model.qconfig = quantization.getDefaultQConfig('x86')` first.",
    });
  }
  prepareBelow(model, undefined, '');
  return model;
}

/** torch.ao.quantization.prepare_qat: the same with fake quantizations. Then train, and convert. */
export function prepareQat<M extends Module>(model: M): M {
  if (!model.training) {
    throw new OctavoError({
      code: 'INVALID_STATE',
      what: 'prepareQat only works on models in training mode.',
      where: 'prepareQat',
      hint: 'Call model.train() first.',
    });
  }
  return prepare(model);
}

/** Whether a process has seen data; those of your own say so, or are believed. */
const hasSeen = (process: PostProcess & { observed?: () => boolean }): boolean => process.observed?.() ?? true;

function converted(module: Module, path: string): Module {
  const row = rowOf(module);
  if (!row) {
    for (const [name, child] of module.namedChildren()) {
      const made = converted(child, path ? `${path}.${name}` : name);
      if (made !== child) module.setChild(name, made);
    }
    return module;
  }
  if (!module.qconfig) return module;
  const process = module.activationPostProcess as (PostProcess & { dtype?: QDType; close?: () => void }) | undefined;
  if (!row.observed) return row.to(module as never, { scale: 1, zeroPoint: 0, dtype: 'quint8' });
  if (!process || !hasSeen(process)) {
    throw new OctavoError({
      code: 'INVALID_STATE',
      what: process ? 'The observer has seen no data.' : 'There is no observer.',
      where: `convert: ${path || 'the model'} (${module.constructor.name})`,
      hint: process ? 'Run the prepared model on calibration data first.' : 'Call prepare() or prepareQat() first.',
    });
  }
  const { scale, zeroPoint }: QParams = process.calculateQParams();
  const made = row.to(module as never, {
    scale: scale[0] as number,
    zeroPoint: zeroPoint[0] as number,
    dtype: process.dtype ?? 'quint8',
  });
  unobserve(module);
  process.close?.();
  return made;
}

/**
 * torch.ao.quantization.convert: every observed module becomes its quantized form with the scale and zero point that were found.
 *
 * @throws OctavoError INVALID_STATE for observers that have seen nothing
 */
export function convert<M extends Module>(model: M): M {
  return converted(model, '') as M;
}
