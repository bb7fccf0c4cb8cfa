// The border of octavo/nn: every exported function, constructor and method, called with one argument (or one option) of a wrong kind at a
// time, either copes or throws an OctavoError that says so; never a TypeError from the inside, an error of the WebAssembly glue, a trap.
// A row for each export: one that has none fails.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import * as api from '../../dist/nn/index.js';

const { OctavoError, tensor } = api;

const wrong = [
  undefined,
  null,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  0.5,
  -1,
  2 ** 40,
  'text',
  true,
  7n,
  {},
  [],
  [1],
  [1, 'text'],
  { data: [1] },
  { data: 'text', shape: [1] },
  { data: [1], shape: [0.5] },
  { data: [1], shape: ['text'] },
  () => 0,
  Float32Array,
  new Float32Array(2),
];

const numbers = (count) => Float32Array.from({ length: count }, (_, i) => Math.fround(Math.sin(i)));
const ints = (count) => Int8Array.from({ length: count }, (_, i) => (i % 9) - 4);
const grid = { scale: 0.1, zeroPoint: 3 };

/** { path: { make?, args, calls? } }: the arguments of a function or a constructor; of methods of the object, by their names. */
function rows() {
  const image = tensor(numbers(32), [1, 2, 4, 4]);
  const row = tensor(numbers(8), [2, 4]);
  const q = api.quantizePerTensor(image, 0.1, 3, 'quint8');
  const q1 = api.quantizePerTensor(row, 0.1, 3, 'quint8');
  const q5 = api.quantizePerTensor(tensor(numbers(16), [1, 2, 2, 2, 2]), 0.1, 3, 'quint8');
  const codes = { data: Uint8Array.from({ length: 4 }, (_, i) => i), shape: [2, 2] };
  const weight = (...shape) => api.makePerTensorQuantizedTensor({ data: ints(shape.reduce((a, b) => a * b, 1)), shape }, 0.05, 0);
  const bn = { weight: numbers(2), bias: numbers(2), runningMean: numbers(2), runningVar: Float32Array.of(1, 2), eps: 1e-5 };
  const { nn, quantization } = api;
  const prepared = () => {
    const model = new nn.Sequential(new nn.QuantStub(), new nn.BatchNorm2d(2), new nn.ReLU(), new nn.DeQuantStub());
    model.qconfig = quantization.getDefaultQConfig('onednn');
    return model.eval();
  };
  const training = () => {
    const model = new nn.Sequential(new nn.Conv2d(2, 2, 1), new nn.BatchNorm2d(2), new nn.ReLU());
    model.qconfig = quantization.getDefaultQatQConfig('onednn');
    return model.train();
  };
  const floatLayer = (x, options) => ({ calls: { forward: [x], train: [true], getSubmodule: [''], ...options } });
  const observer = (options = {}) => ({
    args: [{ dtype: 'quint8', reduceRange: false, quantMin: 0, quantMax: 255, eps: 1e-3, ...options }],
    calls: { forward: [row], observe: [row], load: [new Uint8Array(4)], merge: [new quantization.MinMaxObserver()] },
  });
  const tensorObserver = observer({ qscheme: 'per_tensor_affine', averagingConstant: 0.1, bins: 16, scale: 1, zeroPoint: 0 });
  const channelObserver = observer({ qscheme: 'per_channel_affine', averagingConstant: 0.1, chAxis: 0 });
  const fake = {
    args: [{ observer: 'MovingAverageMinMaxObserver', dtype: 'quint8', qscheme: 'per_tensor_affine', quantMin: 0, quantMax: 255 }],
    calls: { forward: [row], backward: [row], load: [new Uint8Array(4)], enableObserver: [true], enableFakeQuant: [true] },
  };
  const quantizedBn = (x) => ({
    args: [2, { eps: 1e-5, momentum: 0.1 }],
    calls: {
      forward: [x],
      quantizeParameters: [{ dtype: 'qint8', perChannel: true, input: { dtype: 'quint8', scale: 0.1, zeroPoint: 3 } }],
      compareParameters: [bn, { dtype: 'quint8', scale: 0.1, zeroPoint: 3 }],
    },
    statics: { fromFloat: [bn, grid], fromReference: [bn, 0.1, 3] },
  });
  const window = { stride: 1, padding: 0, dilation: 1, groups: 1 };
  const quantizedConv = (w, x, extra) => ({
    args: [w, { ...grid, ...window, bias: tensor(numbers(2)), engine: 'onednn', ...extra }],
    calls: { forward: [x] },
    statics: {
      fromFloat: [
        { weight: numbers(w.numel()), weightShape: w.shape, bias: numbers(2), options: {} },
        { ...grid, engine: 'qnnpack' },
      ],
    },
  });
  const linear = {
    args: [weight(2, 4), { ...grid, bias: tensor(numbers(2)), engine: 'onednn' }],
    calls: { forward: [q1] },
    statics: { fromFloat: [{ weight: numbers(8), bias: numbers(2), inFeatures: 4, outFeatures: 2 }, grid] },
  };
  const onGrid = (...rest) => ({ args: [grid, ...rest], calls: { forward: [q] } });
  const functional = {
    relu: [q],
    relu6: [q],
    clamp: [q, 0, 1],
    hardsigmoid: [q],
    tanh: [q],
    sigmoid: [q, grid],
    hardswish: [q, grid],
    leakyRelu: [q, 0.1, grid],
    elu: [q, 1, grid],
    softmax: [q, 1, grid],
    add: [q, q, grid],
    addReLU: [q, q, grid],
    mul: [q, q, grid],
    mulReLU: [q, q, grid],
    addScalar: [q, 0.5],
    mulScalar: [q, 0.5],
    cat: [[q, q], 1, grid],
    maxPool1d: [api.quantizePerTensor(tensor(numbers(8), [1, 2, 4]), 0.1, 3, 'quint8'), { kernelSize: 2 }],
    maxPool2d: [q, { kernelSize: 2, stride: 1, padding: 0, dilation: 1, ceilMode: false }],
    avgPool2d: [q, { kernelSize: 2, stride: 1, padding: 0, countIncludePad: true, divisorOverride: 3, engine: 'onednn' }],
    adaptiveAvgPool2d: [q, 1],
    meanHw: [q, { keepdim: true }],
    interpolate: [q, { size: 2, mode: 'nearest', alignCorners: false }],
    flatten: [q, 1],
  };
  const of = (prefix, table) => Object.fromEntries(Object.entries(table).map(([name, value]) => [`${prefix}${name}`, value]));
  return {
    tensor: { args: [[1, 2], [2]] },
    Tensor: { args: ['float32', numbers(2), [2]] },
    QTensor: { args: [q.wire()], calls: { contiguous: [{ memoryFormat: 'channels_last' }] } },
    OctavoError: { skip: 'what the others throw' },
    quantizePerTensor: { args: [image, 0.1, 3, 'quint8', { qscheme: 'per_tensor_affine' }] },
    quantizePerChannel: { args: [image, [0.1, 0.2], [3, 4], 1, 'quint8', { qscheme: 'per_channel_affine' }] },
    makePerTensorQuantizedTensor: { args: [codes, 0.1, 3, { qscheme: 'per_tensor_affine' }] },
    makePerChannelQuantizedTensor: { args: [codes, [0.1, 0.2], [3, 4], 1, { qscheme: 'per_channel_affine' }] },
    dequantize: { args: [q] },
    fakeQuantizePerTensorAffine: { args: [image, 0.1, 3, 0, 255] },
    fakeQuantizePerChannelAffine: { args: [image, [0.1, 0.2], [3, 4], 1, 0, 255] },
    fakeQuantizeBackward: { args: [row, api.fakeQuantizePerTensorAffine(row, 0.1, 3, 0, 255).mask] },
    fakeQuantizeLearnableBackward: {
      args: [row, row, { scale: [0.1], zeroPoint: [3] }, { quantMin: 0, quantMax: 255, gradFactor: 1 }],
    },
    ...of('nn.', {
      BatchNorm1d: { args: [4, { eps: 1e-5, momentum: 0.1, affine: true }], ...floatLayer(row, { backward: [row] }) },
      BatchNorm2d: { args: [2, { eps: 1e-5, momentum: 0.1, affine: true }], ...floatLayer(image, { backward: [image] }) },
      BatchNorm3d: { args: [2, { eps: 1e-5 }], ...floatLayer(tensor(numbers(16), [1, 2, 2, 2, 2])) },
      Conv2d: { args: [2, 2, 1, { bias: true, ...window }], ...floatLayer(image, { backward: [image] }) },
      Linear: { args: [4, 2, { bias: true }], ...floatLayer(row, { backward: [tensor(numbers(4), [2, 2])] }) },
      ReLU: { args: [], ...floatLayer(image, { backward: [image] }) },
      ReLU6: { args: [], ...floatLayer(image, { backward: [image] }) },
      Hardswish: { args: [], ...floatLayer(image) },
      ELU: { args: [1], ...floatLayer(image) },
      LeakyReLU: { args: [0.1], ...floatLayer(image) },
      Sigmoid: { args: [], ...floatLayer(image) },
      Softmax: { args: [1], ...floatLayer(image) },
      MaxPool2d: { args: [2, { stride: 2, padding: 0, dilation: 1, ceilMode: false }], ...floatLayer(image) },
      AvgPool2d: { args: [2, { stride: 2, padding: 0, countIncludePad: true, divisorOverride: 3 }], ...floatLayer(image) },
      AdaptiveAvgPool2d: { args: [1], ...floatLayer(image) },
      Flatten: { args: [], ...floatLayer(image) },
      Identity: { args: [], ...floatLayer(image) },
      QuantStub: { args: [], ...floatLayer(image) },
      DeQuantStub: { args: [], ...floatLayer(image) },
      FloatFunctional: {
        args: [],
        calls: {
          add: [image, image],
          addReLU: [image, image],
          mul: [image, image],
          cat: [[image, image], 1],
          addScalar: [image, 1],
          mulScalar: [image, 1],
        },
      },
      Module: { skip: 'abstract: users derive from it' },
      Layer: { skip: 'abstract: users derive from it' },
      Sequential: { args: [new nn.ReLU(), new nn.ReLU6()], calls: { forward: [image], setChild: ['0', new nn.ReLU()] } },
    }),
    ...of('nn.intrinsic.', {
      BNReLU2d: { args: [new nn.BatchNorm2d(2), new nn.ReLU()], calls: { forward: [image] } },
      BNReLU3d: { args: [new nn.BatchNorm3d(2), new nn.ReLU()] },
      ConvReLU2d: { args: [new nn.Conv2d(2, 2, 1), new nn.ReLU()], calls: { forward: [image] } },
      LinearReLU: { args: [new nn.Linear(4, 2), new nn.ReLU()], calls: { forward: [row] } },
      ConvBn2d: { args: [new nn.Conv2d(2, 2, 1), new nn.BatchNorm2d(2)], calls: { forward: [image], backward: [image] } },
      ConvBnReLU2d: {
        args: [new nn.Conv2d(2, 2, 1), new nn.BatchNorm2d(2), new nn.ReLU()],
        calls: { forward: [image], backward: [image] },
      },
    }),
    ...of('nn.quantized.', {
      BatchNorm: { skip: 'abstract' },
      BatchNorm1d: quantizedBn(api.quantizePerTensor(tensor(numbers(8), [4, 2]), 0.1, 3, 'quint8')),
      BatchNorm2d: quantizedBn(q),
      BatchNorm3d: quantizedBn(q5),
      BNReLU1d: quantizedBn(api.quantizePerTensor(tensor(numbers(8), [4, 2]), 0.1, 3, 'quint8')),
      BNReLU2d: quantizedBn(q),
      BNReLU3d: quantizedBn(q5),
      Conv1d: quantizedConv(weight(2, 2, 1), api.quantizePerTensor(tensor(numbers(8), [1, 2, 4]), 0.1, 3, 'quint8')),
      ConvReLU1d: quantizedConv(weight(2, 2, 1), api.quantizePerTensor(tensor(numbers(8), [1, 2, 4]), 0.1, 3, 'quint8')),
      Conv2d: quantizedConv(weight(2, 2, 1, 1), q),
      ConvReLU2d: quantizedConv(weight(2, 2, 1, 1), q),
      ConvTranspose2d: quantizedConv(weight(2, 2, 1, 1), q, { outputPadding: 0 }),
      Linear: linear,
      LinearReLU: linear,
      Quantize: { args: [0.1, 3, 'quint8'], calls: { forward: [image] } },
      DeQuantize: { args: [], calls: { forward: [q] } },
      ReLU6: { args: [], calls: { forward: [q] } },
      Hardswish: onGrid(),
      Sigmoid: onGrid(),
      ELU: onGrid(1),
      LeakyReLU: onGrid(0.1),
      Softmax: { args: [1, grid], calls: { forward: [q] } },
      QFunctional: {
        args: [grid],
        calls: { add: [q, q], addReLU: [q, q], mul: [q, q], cat: [[q, q], 1], addScalar: [q, 1], mulScalar: [q, 1] },
      },
      'dynamic.Linear': {
        args: [weight(2, 4), numbers(2)],
        calls: { forward: [row] },
        statics: { fromFloat: linear.statics.fromFloat.slice(0, 1) },
      },
      'dynamic.Conv2d': {
        args: [weight(2, 2, 1, 1), { ...window, bias: numbers(2) }],
        calls: { forward: [image] },
        statics: { fromFloat: [{ weight: numbers(4), weightShape: [2, 2, 1, 1], bias: numbers(2), options: {} }] },
      },
    }),
    ...of('nn.quantized.functional.', Object.fromEntries(Object.entries(functional).map(([name, args]) => [name, { args }]))),
    ...of('quantization.', {
      Observer: { args: ['MinMaxObserver', { dtype: 'quint8' }], calls: tensorObserver.calls },
      MinMaxObserver: tensorObserver,
      MovingAverageMinMaxObserver: tensorObserver,
      HistogramObserver: tensorObserver,
      PlaceholderObserver: tensorObserver,
      NoopObserver: tensorObserver,
      FixedQParamsObserver: tensorObserver,
      PerChannelMinMaxObserver: channelObserver,
      MovingAveragePerChannelMinMaxObserver: channelObserver,
      FakeQuantize: fake,
      FusedMovingAvgObsFakeQuantize: fake,
      LearnableFakeQuantize: {
        args: [{ ...fake.args[0], scale: 0.1, zeroPoint: 3, channelLen: 1, useGradScaling: true }],
        calls: { ...fake.calls, enableObserver: undefined, enableFakeQuant: undefined, setParameters: [{ scale: [0.1], zeroPoint: [3] }] },
      },
      calibrationRange: {
        args: [
          [row],
          { method: 'Percentile', symmetric: false, movingAverage: false, percentile: 99, numBins: 128, numQuantizedBins: 128 },
        ],
      },
      getDefaultQConfig: { args: ['x86'] },
      getDefaultQatQConfig: { args: ['x86'] },
      defaultDynamicQConfig: { skip: 'an object' },
      fuseConvBnWeights: { args: [tensor(numbers(4), [2, 2, 1, 1]), tensor(numbers(2)), bn] },
      fuseModules: { args: () => [prepared(), ['1', '2']] },
      fuseModulesQat: { args: () => [training(), ['0', '1', '2']] },
      prepare: { args: () => [prepared()] },
      prepareQat: { args: () => [training()] },
      convert: {
        args: () => {
          const model = quantization.prepare(prepared());
          model.forward(image);
          return [model];
        },
      },
      quantizeDynamic: { args: () => [new nn.Sequential(new nn.Linear(4, 2)), [nn.Linear]] },
    }),
    init: { skip: 'loads once; tests/js/errors.test.mjs has its options' },
    isa: { args: [] },
    memoryBytes: { args: [] },
  };
}

/** [path, value] of every export that can be called. */
function* callables(namespace, prefix = '') {
  for (const [name, value] of Object.entries(namespace)) {
    if (typeof value === 'function') yield [`${prefix}${name}`, value];
    else if (value?.[Symbol.toStringTag] === 'Module') yield* callables(value, `${prefix}${name}.`);
  }
}

const isClass = (value) => /^class\b/.test(Function.prototype.toString.call(value));
const show = (value) => {
  try {
    return typeof value === 'function' ? value.name || 'function' : (JSON.stringify(value) ?? String(value));
  } catch {
    return String(value);
  }
};

/** `args` with one of them, or one option of one of them, exchanged for something wrong: [what, args]. */
function* damaged(args) {
  for (const [i, valid] of args.entries()) {
    for (const bad of wrong) {
      yield [`argument ${i} = ${show(bad)}`, args.with(i, bad)];
      if (Object.getPrototypeOf(Object(valid)) !== Object.prototype) continue;
      for (const key of Object.keys(valid)) yield [`argument ${i}.${key} = ${show(bad)}`, args.with(i, { ...valid, [key]: bad })];
    }
  }
}

/** What is wrong with how `call` takes wrong arguments. */
function complaints(name, args, call) {
  const found = [];
  const fresh = typeof args === 'function' ? args : () => args;
  try {
    call(fresh()); // the right ones do, but what a row cannot have at hand: a saved state, and a grid for what has none
  } catch (error) {
    if (!(error instanceof OctavoError)) throw error;
  }
  for (const [i] of [...damaged(fresh())].entries()) {
    const [what, given] = [...damaged(fresh())][i];
    try {
      call(given);
    } catch (error) {
      const fine = error instanceof OctavoError && error.code !== 'INTERNAL' && error.what.length > 10;
      if (!fine) found.push(`${name}, ${what}: ${error.constructor.name}: ${error.message}`);
    }
  }
  return found;
}

describe('octavo/nn at its border', () => {
  before(() => api.init({ isa: process.env.OCTAVO_ISA }));

  test('every export has a row', () => {
    const table = rows();
    assert.deepEqual(
      [...callables(api)].map(([path]) => path).filter((path) => !(path in table)),
      [],
    );
  });

  test('wrong arguments give an OctavoError, or do', () => {
    const table = rows();
    const found = [];
    for (const [path, value] of callables(api)) {
      const { skip, args, calls = {}, statics = {} } = table[path] ?? { skip: true };
      if (skip) continue;
      const make = (given) => (isClass(value) ? new value(...given) : value(...given));
      found.push(...complaints(path, args, make));
      for (const [name, given] of Object.entries(statics)) {
        found.push(...complaints(`${path}.${name}`, given, (one) => value[name](...one)));
      }
      const object = () => make(typeof args === 'function' ? args() : args);
      const state = path.startsWith('nn.') && isClass(value) ? { loadStateDict: [Object.fromEntries(object().stateDict())] } : {};
      for (const [name, given] of Object.entries({ ...state, ...calls })) {
        if (!given) continue;
        const call = (one) => {
          const made = object();
          if (name === 'backward') made.forward(calls.forward[0]);
          return made[name](...one);
        };
        found.push(...complaints(`${path}.prototype.${name}`, given, call));
      }
    }
    assert.deepEqual(found, [], `${found.length} of them`);
  });
});
