// octavo/nn: torch's names, its numbers, its refusals; memory is given back.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import * as api from '../../dist/nn/index.js';

const { nn, quantization, quantizePerTensor, quantizePerChannel, tensor, Tensor, OctavoError } = api;

const numbers = (n, from = -3, to = 3) => Float32Array.from({ length: n }, (_, i) => from + ((to - from) * ((i * 7919) % n)) / n);
const throws = (work, code, pattern) =>
  assert.throws(work, (error) => {
    assert.ok(error instanceof OctavoError, `${error?.stack}`);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  });

/** A BatchNorm2d with uneven parameters. */
function batchNorm(channels) {
  const bn = new nn.BatchNorm2d(channels);
  for (let c = 0; c < channels; c++) {
    bn.weight[c] = 0.5 + (c % 5) * 0.21;
    bn.bias[c] = (c % 3) * 0.3 - 0.2;
    bn.runningMean[c] = (c % 7) * 0.11 - 0.3;
    bn.runningVar[c] = 0.4 + (c % 4) * 0.37;
  }
  return bn.eval();
}

test('before init() everything says that init() is missing', () => {
  throws(() => quantizePerTensor(tensor([1]), 0.1, 0, 'quint8'), 'INVALID_STATE', /init\(\)/);
});

describe('octavo/nn', () => {
  before(() => api.init({ isa: process.env.OCTAVO_ISA }));

  test('quantizePerTensor and its accessors', () => {
    const q = quantizePerTensor(tensor([-1, 0, 0.25, 0.35, 99], [5]), 0.1, 10, 'quint8');
    assert.deepEqual([...q.intRepr().data], [0, 10, 12, 14, 255]); // 2.5 and 3.5 steps are ties, rounded to even
    assert.equal(q.qScale(), 0.1);
    assert.equal(q.qZeroPoint(), 10);
    assert.equal(q.dtype, 'quint8');
    assert.equal(q.qscheme, 'per_tensor_affine');
    assert.deepEqual(
      [...q.dequantize().data],
      [-10, 0, 2, 4, 245].map((steps) => Math.fround(Math.fround(0.1) * steps)),
    );
    assert.match(String(q), /size=\(5,\).*dtype=torch\.quint8.*scale=0\.1, zero_point=10/s);
    throws(() => q.qPerChannelScales(), 'INVALID_STATE', /per channel/);
  });

  test('quantizePerChannel keeps scales, zero points and axis, in both memory formats', () => {
    const x = tensor(numbers(2 * 3 * 2 * 2), [2, 3, 2, 2]);
    const q = quantizePerChannel(x, [0.1, 0.2, 0.05], [0, -3, 4], 1, 'qint8');
    assert.deepEqual(q.qPerChannelScales(), [0.1, 0.2, 0.05]);
    assert.deepEqual(q.qPerChannelZeroPoints(), [0, -3, 4]);
    assert.equal(q.qPerChannelAxis(), 1);
    const last = q.contiguous({ memoryFormat: 'channels_last' });
    assert.equal(last.memoryFormat, 'channels_last');
    assert.deepEqual(last.intRepr().data, q.intRepr().data);
    assert.deepEqual(last.contiguous().wire().bytes, q.wire().bytes);
    assert.notDeepEqual(last.wire().bytes, q.wire().bytes);
    throws(() => q.qScale(), 'INVALID_STATE', /per tensor/);
  });

  test('wrong grids and tensors are refused with what would work', () => {
    const x = tensor([1, 2]);
    throws(() => quantizePerTensor(x, -1, 0, 'quint8'), 'INVALID_OPTION', /scale/i);
    throws(() => quantizePerTensor(x, 0.1, 300, 'quint8'), 'INVALID_OPTION', /zero.point/i);
    throws(() => quantizePerTensor(x, 0.1, 0, 'int4'), 'UNSUPPORTED_DTYPE', /quint8/);
    throws(() => quantizePerTensor({ data: Float32Array.of(1, 2), shape: [3] }, 0.1, 0, 'quint8'), 'SAMPLE_SHAPE', /3/);
    throws(() => quantizePerTensor('x', 0.1, 0, 'quint8'), 'UNSUPPORTED_DTYPE', /no tensor/);
    throws(() => quantizePerTensor(new Tensor('int32', Int32Array.of(1), [1]), 0.1, 0, 'quint8'), 'UNSUPPORTED_DTYPE', /int32/);
    throws(() => quantizePerChannel(x, [0.1], [0], 0, 'qint8'), 'INVALID_OPTION', /./);
  });

  test('the quantized BatchNorm2d computes, names its kernel, and refuses what torch refuses', () => {
    const channels = 17;
    const q = nn.quantized.BatchNorm2d.fromFloat(batchNorm(channels), { scale: 0.03, zeroPoint: 120 });
    const x = quantizePerTensor(tensor(numbers(2 * channels * 9), [2, channels, 3, 3]), 0.025, 128, 'quint8');
    const y = q.forward(x);
    assert.deepEqual([...y.shape], [2, channels, 3, 3]);
    assert.equal(y.qScale(), 0.03);
    assert.equal(y.qZeroPoint(), 120);
    // Against floats: the difference is at most half a step and what the codes of x already lost.
    const floats = batchNorm(channels).forward(x.dequantize()).data;
    y.dequantize().data.forEach((value, i) => {
      const clamped = Math.min(Math.max(floats[i], 0.03 * -120), 0.03 * 135);
      assert.ok(Math.abs(value - clamped) <= 0.0151, `${value} ${clamped}`);
    });
    assert.match(q.kernel, /^qbatchnorm\//);
    const last = q.forward(x.contiguous({ memoryFormat: 'channels_last' }));
    assert.equal(last.memoryFormat, 'channels_last');
    assert.deepEqual(last.intRepr().data, y.intRepr().data);
    throws(() => q.forward(tensor([1], [1, 1, 1, 1])), 'UNSUPPORTED_DTYPE', /quantized tensor/);
    throws(() => q.forward(quantizePerTensor(tensor([1, 2], [1, 2]), 0.1, 0, 'quint8')), 'SHAPE_MISMATCH', /./);
    const perChannel = quantizePerChannel(tensor(numbers(17), [1, 17, 1, 1]), Array(17).fill(0.1), Array(17).fill(0), 1, 'quint8');
    assert.throws(() => q.forward(perChannel), OctavoError);
    q.close();
    throws(() => q.forward(x), 'CLOSED', /closed/);
  });

  test('state dicts carry torch keys and load strictly', () => {
    const q = nn.quantized.BatchNorm2d.fromFloat(batchNorm(4), { scale: 0.25, zeroPoint: 3 });
    const state = q.stateDict();
    for (const key of ['weight', 'bias', 'running_mean', 'running_var', 'scale', 'zero_point']) assert.ok(state.has(key), key);
    const other = new nn.quantized.BatchNorm2d(4);
    assert.equal(other.scale, 1);
    other.loadStateDict(state);
    assert.equal(other.scale, 0.25);
    const x = quantizePerTensor(tensor(numbers(64), [1, 4, 4, 4]), 0.05, 100, 'quint8');
    assert.deepEqual(other.forward(x).intRepr().data, q.forward(x).intRepr().data);
    state.delete('bias');
    assert.throws(() => other.loadStateDict(state), OctavoError);
    const model = new nn.Sequential(new nn.QuantStub(), batchNorm(4), new nn.ReLU());
    assert.deepEqual([...model.stateDict().keys()], ['1.weight', '1.bias', '1.running_mean', '1.running_var', '1.num_batches_tracked']);
    const copy = new nn.Sequential(new nn.QuantStub(), new nn.BatchNorm2d(4), new nn.ReLU());
    copy.loadStateDict(model.stateDict());
    assert.deepEqual(copy[1].runningVar, model[1].runningVar);
    throws(() => copy.loadStateDict({ '1.weight': tensor([1]) }), 'INVALID_STATE', /size mismatch.*missing/);
    assert.throws(
      () => copy.loadStateDict({ '1.weight': tensor([1]) }),
      (error) => error.where.startsWith('1: '),
    );
    throws(() => new nn.quantized.Quantize(-1, 0), 'INVALID_OPTION', /scale = -1/);
  });

  test('parameters may be quantized; NaN names its channel; affine: false is weight 1 and bias 0', () => {
    const bn = batchNorm(4);
    const weight = quantizePerTensor(tensor(bn.weight), 0.01, 0, 'quint8');
    const q = nn.quantized.BatchNorm2d.fromFloat({ ...bn, weight }, { scale: 0.1, zeroPoint: 0 });
    const error = q.quantizeParameters({ dtype: 'qint8', perChannel: true, input: { dtype: 'quint8', scale: 0.05, zeroPoint: 128 } });
    assert.equal(error.codes, 1024);
    bn.runningVar[2] = Number.NaN;
    throws(() => nn.quantized.BatchNorm2d.fromFloat(bn, { scale: 0.1, zeroPoint: 0 }), 'NON_FINITE_WEIGHT', /channel 2/);
    const plain = new nn.BatchNorm2d(4, { affine: false });
    const ones = new nn.BatchNorm2d(4);
    const x = quantizePerTensor(tensor(numbers(64), [1, 4, 4, 4]), 0.05, 100, 'quint8');
    const grid = { scale: 0.1, zeroPoint: 7 };
    const run = (from) => nn.quantized.BatchNorm2d.fromFloat(from, grid).forward(x).intRepr().data;
    assert.deepEqual(run(plain), run(ones));
    throws(() => nn.quantized.BatchNorm2d.fromFloat(ones), 'INVALID_STATE', /scale/);
  });

  test('observers: ranges, merging, saving', () => {
    for (const kind of ['MinMaxObserver', 'HistogramObserver', 'MovingAverageMinMaxObserver']) {
      const Kind = quantization[kind];
      const observer = new Kind();
      assert.equal(observer.observed(), false);
      assert.deepEqual(observer.calculateQParams(), { scale: [1], zeroPoint: [0] });
      observer.observe(tensor([-1, 2, 3]));
      const saved = observer.save();
      const again = new Kind().load(saved);
      assert.deepEqual(again.calculateQParams(), observer.calculateQParams());
      throws(() => new Kind().load(saved.subarray(0, 3)), 'INVALID_STATE', /./);
    }
    const a = new quantization.MinMaxObserver();
    const b = new quantization.MinMaxObserver();
    a.observe(tensor([-1, 0]));
    b.observe(tensor([0, 5]));
    assert.deepEqual([a.merge(b).minVal, a.maxVal], [[-1], [5]]);
    assert.ok(Math.abs(a.calculateQParams().scale[0] - 6 / 255) < 1e-8);
    throws(() => a.observe(tensor([Number.NaN])), 'NON_FINITE_SAMPLE', /NaN/i);
    assert.throws(
      () => new quantization.MinMaxObserver({ dtype: 'quint8', qscheme: 'per_tensor_symmetric', reduceRange: true }),
      OctavoError,
    );
  });

  test('FakeQuantize: forward, backward, and its switches', () => {
    const fake = new quantization.FakeQuantize({ observer: 'MinMaxObserver' });
    const x = tensor([-1, 0, 0.4, 2]);
    const y = fake.forward(x);
    assert.equal(fake.scale[0], Math.fround(3 / 255));
    const codes = quantizePerTensor(x, fake.scale[0], fake.zeroPoint[0], 'quint8');
    assert.deepEqual(y.data, codes.dequantize().data);
    fake.disableObserver();
    fake.forward(tensor([-9, 9, 0.5, 1]));
    assert.deepEqual([...fake.backward(tensor([1, 2, 3, 4])).data], [0, 0, 3, 4]);
    assert.equal(fake.scale[0], Math.fround(3 / 255));
    fake.disableFakeQuant();
    assert.deepEqual([...fake.forward(tensor([-9, 9])).data], [-9, 9]);
    const learnable = new quantization.LearnableFakeQuantize().enableStaticEstimate();
    learnable.forward(x);
    learnable.enableParamLearning();
    learnable.setParameters({ scale: [0.5], zeroPoint: [2] });
    assert.deepEqual([...learnable.forward(tensor([0.3, -5])).data], [0.5, -1]);
    const gradients = learnable.backward(tensor([1, 1]));
    assert.deepEqual([...gradients.x.data], [1, 0]);
    assert.equal(gradients.scale.length, 1);
  });

  test('BatchNorm2d in training: the gradient is that of finite differences', () => {
    const shape = [2, 3, 2, 2];
    const x = numbers(24);
    const grad = numbers(24, -1, 1);
    const loss = (data, weight) => {
      const bn = new nn.BatchNorm2d(3);
      if (weight) bn.weight.set(weight);
      return bn.forward(tensor(data, shape)).data.reduce((sum, y, i) => sum + y * grad[i], 0);
    };
    const bn = new nn.BatchNorm2d(3);
    bn.forward(tensor(x, shape));
    const found = bn.backward(tensor(grad, shape));
    for (const i of [0, 5, 13, 23]) {
      const step = 1e-2;
      const up = Float32Array.from(x);
      const down = Float32Array.from(x);
      up[i] += step;
      down[i] -= step;
      assert.ok(Math.abs((loss(up) - loss(down)) / (2 * step) - found.input.data[i]) < 2e-3);
    }
    assert.ok(Math.abs((loss(x, [1.01, 1, 1]) - loss(x, [0.99, 1, 1])) / 0.02 - found.weight[0]) < 2e-3);
    assert.equal(bn.numBatchesTracked, 1);
  });

  test('prepare, calibrate, convert equals modules made by hand', () => {
    class Net extends nn.Module {
      quant = new nn.QuantStub();
      bn = batchNorm(4);
      relu = new nn.ReLU();
      dequant = new nn.DeQuantStub();
      forward(x) {
        return this.dequant.forward(this.relu.forward(this.bn.forward(this.quant.forward(x))));
      }
    }
    const x = tensor(numbers(4 * 16), [1, 4, 4, 4]);
    const model = new Net().eval();
    const float = model.forward(x);
    quantization.fuseModules(model, ['bn', 'relu']);
    assert.deepEqual(model.forward(x).data, float.data);
    assert.match(String(model), /\(bn\): BNReLU2d\(/);
    model.qconfig = quantization.getDefaultQConfig('onednn');
    quantization.prepare(model);
    throws(() => quantization.convert(model), 'INVALID_STATE', /quant .*calibration data/s);
    assert.deepEqual(model.forward(x).data, float.data); // observers change nothing
    const input = model.quant.activationPostProcess.calculateQParams();
    const output = model.bn.activationPostProcess.calculateQParams();
    quantization.convert(model);
    assert.match(String(model), /\(quant\): Quantize\(scale=/);
    const q = quantizePerTensor(x, input.scale[0], input.zeroPoint[0], 'quint8');
    const byHand = nn.quantized.BNReLU2d.fromFloat(batchNorm(4), { scale: output.scale[0], zeroPoint: output.zeroPoint[0] }).forward(q);
    assert.deepEqual(model.forward(x).data, byHand.dequantize().data);
    assert.deepEqual(model.bn.forward(q).intRepr().data, byHand.intRepr().data);
  });

  test('prepareQat fake-quantizes what the module then computes in codes', () => {
    const model = new nn.Sequential(new nn.QuantStub(), batchNorm(4), new nn.DeQuantStub());
    model.qconfig = quantization.getDefaultQatQConfig('qnnpack');
    throws(() => quantization.prepareQat(model.eval()), 'INVALID_STATE', /training mode/);
    quantization.prepareQat(model.train());
    const x = tensor(numbers(4 * 16), [1, 4, 4, 4]);
    const y = model.forward(x);
    const { scale, zeroPoint } = model[1].activationPostProcess;
    y.data.forEach((value) => {
      const code = value / scale[0] + zeroPoint[0];
      assert.ok(Math.abs(code - Math.round(code)) < 1e-3, 'a value of the grid');
    });
    assert.deepEqual([...model[1].activationPostProcess.backward(tensor(new Float32Array(64).fill(1), [1, 4, 4, 4])).shape], [1, 4, 4, 4]);
    quantization.convert(model.eval());
    assert.equal(model.forward(x).data.length, 64);
    assert.equal(model[1].zeroPoint, zeroPoint[0]);
  });

  test('misuse of the workflow says what to do', () => {
    const model = new nn.Sequential(new nn.QuantStub(), batchNorm(4));
    throws(() => quantization.prepare(model), 'INVALID_STATE', /qconfig/);
    throws(() => quantization.fuseModules(model, ['0', '1']), 'INVALID_OPTION', /Cannot fuse QuantStub \+ BatchNorm2d/);
    throws(() => quantization.fuseModules(model, ['1', '7']), 'INVALID_OPTION', /no module '7'/);
    throws(() => quantization.getDefaultQConfig('tpu'), 'INVALID_OPTION', /fbgemm/);
  });

  /** Central differences of `loss` in every element of `values`, against `found`. */
  function slopes(values, found, loss, tolerance = 2e-2) {
    const step = 4e-3;
    for (let i = 0; i < values.length; i++) {
      const kept = values[i];
      values[i] = kept + step;
      const up = loss();
      values[i] = kept - step;
      const down = loss();
      values[i] = kept;
      const slope = (up - down) / (2 * step);
      assert.ok(Math.abs(slope - found[i]) < tolerance * Math.max(1, Math.abs(slope)), `${i}: slope ${slope}, gradient ${found[i]}`);
    }
  }
  const weigh = ({ data }) => data.reduce((sum, y, i) => sum + y * (0.1 + 0.02 * i), 0);
  const weights = (shape) => {
    const size = shape.reduce((a, b) => a * b);
    return tensor(
      Float32Array.from({ length: size }, (_, i) => 0.1 + 0.02 * i),
      shape,
    );
  };
  function conv2d(inChannels, outChannels, kernel, options) {
    const conv = new nn.Conv2d(inChannels, outChannels, kernel, options);
    conv.weight.set(numbers(conv.weight.length, -1, 1));
    conv.bias?.set(numbers(outChannels, -0.5, 0.5));
    return conv;
  }

  test('float Conv2d and Linear: by their definition, and gradients that are slopes', () => {
    const conv = conv2d(4, 6, [3, 2], { stride: [2, 1], padding: [1, 0], dilation: [1, 2], groups: 2 });
    const x = tensor(numbers(2 * 4 * 5 * 6), [2, 4, 5, 6]);
    const y = conv.forward(x);
    assert.deepEqual([...y.shape], [2, 6, 3, 4]);
    const at = (n, c, row, column) => (row < 0 || row >= 5 ? 0 : x.data[((n * 4 + c) * 5 + row) * 6 + column]);
    for (const [n, o, row, column] of [
      [0, 0, 0, 0],
      [1, 5, 2, 3],
      [0, 3, 1, 2],
    ]) {
      let sum = conv.bias[o];
      for (let c = 0; c < 2; c++) {
        for (let i = 0; i < 3; i++) {
          for (let j = 0; j < 2; j++) {
            sum += at(n, Math.floor(o / 3) * 2 + c, row * 2 - 1 + i, column + 2 * j) * conv.weight[((o * 2 + c) * 3 + i) * 2 + j];
          }
        }
      }
      assert.ok(Math.abs(y.data[((n * 6 + o) * 3 + row) * 4 + column] - sum) < 1e-4);
    }
    const linear = new nn.Linear(6, 3);
    linear.weight.set(numbers(18, -1, 1));
    const input = tensor(numbers(12), [2, 6]);
    for (const [layer, from] of [
      [conv, x],
      [linear, input],
    ]) {
      const found = layer.backward(weights(layer.forward(from).shape));
      slopes(layer.weight, found.weight, () => weigh(layer.forward(from)));
      slopes(layer.bias, found.bias, () => weigh(layer.forward(from)));
      slopes(from.data, found.input.data, () => weigh(layer.forward(from)));
    }
    throws(() => new nn.Linear(2, 1).backward(tensor([1])), 'INVALID_STATE', /forward\(\)/);
    throws(() => conv.forward(tensor([1], [1, 1, 1, 1])), 'SHAPE_MISMATCH', /./);
    throws(() => linear.forward(tensor([1, 2])), 'SHAPE_MISMATCH', /./);
    throws(() => new nn.BatchNorm2d(1).forward(tensor([1], [1, 1, 1, 1])), 'SHAPE_MISMATCH', /more than 1 value per channel/);
  });

  test('fuseModulesQat: a BatchNorm2d goes on learning inside its convolution, and convert folds it', () => {
    const make = () => {
      const model = new nn.Sequential(new nn.QuantStub(), conv2d(2, 4, 3), batchNorm(4), new nn.ReLU(), new nn.DeQuantStub());
      return model.train();
    };
    const x = tensor(numbers(2 * 2 * 6 * 6), [2, 2, 6, 6]);
    const plain = make().forward(x).data;
    const model = make();
    throws(() => quantization.fuseModulesQat(make().eval(), ['1', '2']), 'INVALID_STATE', /training/);
    throws(() => quantization.fuseModules(make(), ['1', '2']), 'INVALID_STATE', /eval/);
    quantization.fuseModulesQat(model, ['1', '2', '3']);
    assert.match(String(model), /\(1\): ConvBnReLU2d\(/);
    assert.deepEqual(model.forward(x).data, plain);
    model.qconfig = quantization.getDefaultQatQConfig('onednn');
    quantization.prepareQat(model);
    const { conv, bn } = model[1];
    conv.weightFakeQuant.disableFakeQuant();
    model[0].activationPostProcess.disableFakeQuant();
    model[1].activationPostProcess.disableFakeQuant();
    const restore = () => {
      bn.runningMean.fill(0.1);
      bn.runningVar.fill(0.7); // which forward() moves
    };
    for (const training of [true, false]) {
      model.train(training);
      restore();
      const y = model.forward(x);
      if (training) {
        restore();
        y.data.forEach((value, i) => assert.ok(Math.abs(value - plain[i]) < 1e-4)); // f cancels out
      }
      const found = model[1].backward(weights(y.shape));
      const loss = () => {
        restore();
        return weigh(model.forward(x));
      };
      // Away from the kinks of the ReLU a slope is exact; a few elements come near one.
      slopes(conv.weight, found.conv.weight, loss, 6e-2);
      slopes(conv.bias, found.conv.bias, loss, 6e-2);
      slopes(bn.weight, found.bn.weight, loss, 6e-2);
      slopes(bn.bias, found.bn.bias, loss, 6e-2);
    }
    model.train();
    for (const process of [conv.weightFakeQuant, model[0].activationPostProcess, model[1].activationPostProcess]) process.enableFakeQuant();
    model.forward(x);
    const fused = quantization.fuseConvBnWeights(tensor(conv.weight, conv.weightShape), tensor(conv.bias), bn);
    model.eval();
    quantization.convert(model);
    assert.match(String(model), /\(1\): ConvReLU2d\(weight=\[4, 2, 3, 3\]/);
    assert.equal(model[1].weight.qPerChannelScales().length, 4);
    model[1].weight.dequantize().data.forEach((value, i) => {
      // Half a step, where the moving range of training holds the weight of today.
      const scale = model[1].weight.qPerChannelScales()[Math.floor(i / 18)];
      const wanted = Math.min(Math.max(fused.weight.data[i], -128 * scale), 127 * scale);
      assert.ok(Math.abs(value - wanted) <= 0.501 * scale, `${i}: ${value} ${wanted}, step ${scale}`);
    });
  });

  test('prepareQat fake-quantizes weights: the float model computes what the codes will', () => {
    const linear = new nn.Linear(8, 3);
    linear.weight.set(numbers(24, -1, 1));
    const model = new nn.Sequential(new nn.QuantStub(), linear, new nn.DeQuantStub()).train();
    // Not torch's fused default: that one trains on a scale of max / 128 and converts on max / 127.5.
    const observer = 'MovingAveragePerChannelMinMaxObserver';
    const weight = { observer, dtype: 'qint8', qscheme: 'per_channel_symmetric', quantMin: -128, quantMax: 127 };
    const { activation } = quantization.getDefaultQatQConfig('onednn');
    model.qconfig = { activation, weight: () => new quantization.FakeQuantize(weight) };
    quantization.prepareQat(model);
    const x = tensor(numbers(32), [4, 8]);
    model.forward(x);
    const used = linear.weightFakeQuant.forward(tensor(linear.weight, [3, 8]));
    assert.notDeepEqual(used.data, linear.weight);
    linear.backward(tensor(new Float32Array(12).fill(1), [4, 3]));
    model.eval();
    const fake = model.forward(x);
    quantization.convert(model);
    assert.deepEqual(model[1].weight.dequantize().data, used.data);
    model.forward(x).data.forEach((value, i) => assert.ok(Math.abs(value - fake.data[i]) < 1.01 * model[1].scale));
  });

  test('FloatFunctional: cat, scalars and sums become QFunctional', () => {
    class Net extends nn.Module {
      quant = new nn.QuantStub();
      sum = new nn.FloatFunctional();
      join = new nn.FloatFunctional();
      scalars = new nn.FloatFunctional();
      dequant = new nn.DeQuantStub();
      forward(x) {
        const q = this.quant.forward(x);
        const both = this.join.cat([q, this.sum.addReLU(q, q)], 1);
        return this.dequant.forward(this.scalars.mulScalar(this.scalars.addScalar(both, 0.5), 2));
      }
    }
    const model = new Net().eval();
    const x = tensor([-1, -0.5, 0.5, 1], [1, 2, 2]);
    assert.deepEqual([...model.forward(x).data], [-1, 0, 2, 3, 1, 1, 3, 5]);
    throws(() => model.sum.add(x, tensor([1, 2, 3])), 'SHAPE_MISMATCH', /size of tensor a/);
    throws(() => model.join.cat([x, tensor([1])], 0), 'SHAPE_MISMATCH', /./);
    model.qconfig = quantization.getDefaultQConfig('onednn');
    quantization.prepare(model);
    model.forward(x);
    quantization.convert(model);
    assert.ok(model.scalars instanceof nn.quantized.QFunctional);
    model.forward(x).data.forEach((value, i) => assert.ok(Math.abs(value - [-1, 0, 2, 3, 1, 1, 3, 5][i]) < 0.06, `${value}`));
  });

  test('activations: floats by their formulas, and converted as torch does', () => {
    const x = tensor([-7, -1, -0.25, 0, 0.5, 2, 6.5, 8], [2, 4]);
    const near = (layer, f) => layer.forward(x).data.forEach((y, i) => assert.ok(Math.abs(y - f(x.data[i], i)) < 1e-6, `${layer} ${y}`));
    near(new nn.ReLU6(), (v) => Math.min(Math.max(v, 0), 6));
    near(new nn.Hardswish(), (v) => (v * Math.min(Math.max(v + 3, 0), 6)) / 6);
    near(new nn.ELU(0.5), (v) => (v > 0 ? v : 0.5 * (Math.exp(v) - 1)));
    near(new nn.LeakyReLU(0.1), (v) => (v > 0 ? v : 0.1 * v));
    near(new nn.Sigmoid(), (v) => 1 / (1 + Math.exp(-v)));
    const row = (i) => x.data.slice(i - (i % 4), i - (i % 4) + 4).reduce((sum, v) => sum + Math.exp(v), 0);
    near(new nn.Softmax(-1), (v, i) => Math.exp(v) / row(i));
    throws(() => new nn.Softmax(2).forward(x), 'INVALID_OPTION', /out of range/);
    const layers = () => [new nn.ReLU6(), new nn.Hardswish(), new nn.ELU(), new nn.LeakyReLU(), new nn.Sigmoid(), new nn.Softmax(1)];
    for (const layer of layers()) {
      const model = new nn.Sequential(new nn.QuantStub(), layer, new nn.DeQuantStub()).eval();
      model.qconfig = quantization.getDefaultQConfig('onednn');
      const float = model.forward(x).data;
      quantization.prepare(model);
      model.forward(x);
      quantization.convert(model);
      const { name } = layer.constructor;
      assert.ok(model[1] instanceof nn.quantized[name], name);
      if (name === 'Sigmoid' || name === 'Softmax') assert.equal(model[1].scale, 1 / 256);
      // A step of the input may count up to 1.1 steps of the output (hardswish), and both round.
      model.forward(x).data.forEach((value, i) => assert.ok(Math.abs(value - float[i]) < 0.1, `${name}: ${value} ${float[i]}`));
    }
  });

  test('quantizeDynamic: int8 weights, inputs on the grid of their own range', () => {
    const linear = new nn.Linear(4, 2);
    linear.weight.set([1, -0.5, 0.25, 0.125, -1, 1, 0.5, 0]);
    linear.bias.set([0.5, -0.5]);
    const x = tensor([0.3, -0.7, 1.1, 0.2, 2, 0, -1, 0.4], [2, 4]);
    const dynamic = quantization.quantizeDynamic(linear);
    assert.ok(dynamic instanceof nn.quantized.dynamic.Linear);
    // torch's rule, 7 bits: the scale over [min(x, 0), max(x, 0)].
    const scale = 3 / 127;
    const zeroPoint = Math.round(1 / scale);
    const real = (v) => (Math.min(Math.max(Math.round(v / scale) + zeroPoint, 0), 127) - zeroPoint) * scale;
    const w = dynamic.weight.dequantize().data;
    dynamic.forward(x).data.forEach((y, i) => {
      let sum = linear.bias[i % 2];
      for (let k = 0; k < 4; k++) sum += real(x.data[Math.floor(i / 2) * 4 + k]) * w[(i % 2) * 4 + k];
      assert.ok(Math.abs(y - sum) < 1e-5, `${y} ${sum}`);
    });
    const copy = new nn.quantized.dynamic.Linear(dynamic.weight, new Float32Array(2));
    copy.loadStateDict(dynamic.stateDict());
    assert.deepEqual(copy.forward(x).data, dynamic.forward(x).data);
    throws(() => copy.loadStateDict({ weight: tensor([1]) }), 'INVALID_STATE', /quantized weight of shape \[2, 4\] and 2/);
    throws(() => dynamic.forward(tensor([1, Number.NaN, 0, 0], [1, 4])), 'NON_FINITE_SAMPLE', /./);
    const model = new nn.Sequential(conv2d(2, 3, 3, { padding: 1 }), new nn.ReLU(), new nn.Flatten(), new nn.Linear(48, 2)).eval();
    const image = tensor(numbers(32, -1, 1), [1, 2, 4, 4]);
    const float = model[0].forward(image).data;
    quantization.quantizeDynamic(model, [nn.Conv2d]);
    assert.ok(model[0] instanceof nn.quantized.dynamic.Conv2d && model[3] instanceof nn.Linear);
    model[0].forward(image).data.forEach((y, i) => assert.ok(Math.abs(y - float[i]) < 0.15));
    throws(() => quantization.quantizeDynamic(model, [nn.BatchNorm2d]), 'INVALID_OPTION', /BatchNorm2d/);
  });

  test('extremes behave: scales, variances, zero points, sizes', () => {
    const grid = { scale: 0.1, zeroPoint: 3 };
    const run = (bn, q, to = grid) => nn.quantized.BatchNorm2d.fromFloat(bn, to).forward(q).intRepr().data;
    const input = (channels, plane = 4, zeroPoint = 100) =>
      quantizePerTensor(tensor(numbers(channels * plane), [1, channels, plane, 1]), 0.05, zeroPoint, 'quint8');
    for (const variance of [0, 1e-38, 1e38]) {
      const bn = batchNorm(3);
      bn.runningVar.fill(variance);
      assert.equal(run(bn, input(3)).length, 12);
    }
    const huge = batchNorm(1);
    huge.weight.fill(1e38);
    assert.ok(
      [...run(huge, input(1))].every((code) => code === 0 || code === 255 || code === 3),
      'saturates',
    );
    for (const scale of [1e-38, 1e38]) {
      const q = quantizePerTensor(tensor([-1, 0, 1, 3e38], [1, 1, 4, 1]), scale, 255, 'quint8');
      assert.equal(q.intRepr().data[1], 255);
      assert.equal(run(batchNorm(1), q, { scale, zeroPoint: 0 }).length, 4);
    }
    for (const zeroPoint of [0, 255]) assert.equal(run(batchNorm(2), input(2, 4, zeroPoint), { scale: 0.1, zeroPoint }).length, 8);
    assert.equal(run(batchNorm(17), input(17, 1)).length, 17); // H * W = 1, no multiple of 16
    const empty = quantizePerTensor(tensor([], [0, 2, 4, 4]), 0.1, 0, 'quint8');
    assert.deepEqual([...nn.quantized.BatchNorm2d.fromFloat(batchNorm(2), grid).forward(empty).shape], [0, 2, 4, 4]);
    for (const scale of [0, Number.NaN, Number.POSITIVE_INFINITY]) {
      throws(() => nn.quantized.BatchNorm2d.fromFloat(batchNorm(1), { scale, zeroPoint: 0 }), 'INVALID_OPTION', /scale/);
    }
    const wide = quantizePerTensor(tensor([-3e5, 7], [1, 1, 2, 1]), 0.1, -5, 'qint32');
    assert.equal(run(batchNorm(1), wide, { scale: 0.01, zeroPoint: 300 }).length, 2);
  });

  test('symmetric schemes are said and checked; affine unless given', () => {
    const x = tensor([-1, 0, 1, 2], [2, 2]);
    const q = quantizePerTensor(x, 0.1, 128, 'quint8', { qscheme: 'per_tensor_symmetric' });
    assert.equal(q.qscheme, 'per_tensor_symmetric');
    assert.match(String(q), /quantization_scheme=torch\.per_tensor_symmetric, scale=0\.1, zero_point=128/);
    assert.deepEqual(q.intRepr().data, quantizePerTensor(x, 0.1, 128, 'quint8').intRepr().data);
    assert.equal(quantizePerTensor(x, 0.1, 128, 'quint8').qscheme, 'per_tensor_affine');
    const rows = quantizePerChannel(x, [0.1, 0.2], [0, 0], 0, 'qint8', { qscheme: 'per_channel_symmetric' });
    assert.equal(rows.qscheme, 'per_channel_symmetric');
    const codes = rows.intRepr();
    const made = api.makePerChannelQuantizedTensor(codes, [0.1, 0.2], [0, 0], 0, { qscheme: 'per_channel_symmetric' });
    assert.deepEqual(made.dequantize().data, rows.dequantize().data);
    const middle = (zero, qscheme) => () => api.makePerTensorQuantizedTensor(codes, 0.1, zero, { qscheme });
    throws(middle(3, 'per_tensor_symmetric'), 'INVALID_OPTION', /zero_point 3 does not fit per_tensor_symmetric/);
    throws(middle(0, 'per_channel_symmetric'), 'INVALID_OPTION', /needs an axis/);
    throws(middle(0, 'symmetric'), 'INVALID_OPTION', /qscheme = 'symmetric' is not known/);
  });

  test('what quantized parameters cost is told where they are given quantized too', () => {
    const bn = batchNorm(3);
    const input = { dtype: 'quint8', scale: 0.05, zeroPoint: 100 };
    const grid = { scale: 0.04, zeroPoint: 120 };
    const coarse = (values) => quantizePerTensor(tensor(values), 0.25, 128, 'quint8');
    const given = { eps: bn.eps };
    for (const key of ['weight', 'bias', 'runningMean', 'runningVar']) given[key] = coarse(bn[key]);
    const quantized = nn.quantized.BatchNorm2d.fromFloat(given, grid);
    const cost = quantized.compareParameters(bn, input);
    assert.equal(cost.codes, 768);
    assert.equal(cost.weight, Math.max(...bn.weight.map((w, c) => Math.abs(w - given.weight.dequantize().data[c]))));
    // Counted by hand: every code of every channel through both modules.
    const codes = Uint8Array.from({ length: 768 }, (_, i) => i & 255);
    const x = api.makePerTensorQuantizedTensor({ data: codes, shape: [1, 3, 16, 16] }, input.scale, input.zeroPoint);
    const plain = nn.quantized.BatchNorm2d.fromFloat(bn, grid).forward(x).intRepr().data;
    const changes = quantized
      .forward(x)
      .intRepr()
      .data.map((code, i) => Math.abs(code - plain[i]));
    assert.equal(cost.codesChanged, changes.filter((change) => change !== 0).length);
    assert.equal(cost.largestChange, Math.max(...changes));
    assert.ok(cost.codesChanged > 0);
    assert.equal(quantized.compareParameters(given, input).codesChanged, 0);
    throws(() => quantized.compareParameters(batchNorm(4), input), 'SHAPE_MISMATCH', /4 channels/);
  });

  test('pools: float modules that stay where they are and work on codes once the model is converted', () => {
    const x = tensor(numbers(2 * 36), [1, 2, 6, 6]);
    for (const pool of [new nn.MaxPool2d(3, { stride: 2, padding: 1 }), new nn.AvgPool2d(2), new nn.AdaptiveAvgPool2d([2, 3])]) {
      const model = new nn.Sequential(new nn.QuantStub(), pool, new nn.ReLU(), new nn.DeQuantStub()).eval();
      const float = model.forward(x);
      model.qconfig = quantization.getDefaultQConfig('onednn');
      quantization.prepare(model);
      model.forward(x);
      quantization.convert(model);
      assert.equal(model[1], pool);
      const int8 = model.forward(x);
      assert.deepEqual(int8.shape, float.shape, String(pool));
      int8.data.forEach((value, i) =>
        assert.ok(Math.abs(value - float.data[i]) <= 1.01 * model[0].scale, `${pool}: ${value} ${float.data[i]}`),
      );
    }
    assert.deepEqual([...new nn.MaxPool2d(2).forward(tensor([1, 2, 3, 4], [1, 1, 2, 2])).data], [4]);
    assert.deepEqual([...new nn.AvgPool2d(2).forward(tensor([1, 2, 3, 4], [1, 1, 2, 2])).data], [2.5]);
    throws(() => new nn.MaxPool2d(2, { padding: 2 }).forward(x), 'INVALID_OPTION', /at most half/);
  });

  test('observers as classes, ranges at the ends of float32, and calibration ranges', () => {
    const { FakeQuantize, MinMaxObserver, HistogramObserver, calibrationRange } = quantization;
    const fake = new FakeQuantize({ observer: MinMaxObserver, quantMin: 0, quantMax: 255 });
    fake.forward(tensor([0, 2.55]));
    assert.ok(Math.abs(fake.scale[0] - 0.01) < 1e-8);
    throws(() => new FakeQuantize({ observer: Map }), 'INVALID_OPTION', /observer = Map is not known/);
    const wide = tensor([-3e38, 3e38]);
    const affine = new MinMaxObserver();
    affine.observe(wide);
    throws(() => affine.calculateQParams(), 'NON_FINITE_SAMPLE', /wider than float32/);
    const symmetric = new MinMaxObserver({ qscheme: 'per_tensor_symmetric' });
    symmetric.observe(wide);
    assert.equal(symmetric.calculateQParams().scale[0], Math.fround(Math.fround(3e38) / 127.5));
    throws(() => new HistogramObserver().observe(wide), 'NON_FINITE_SAMPLE', /too wide for 2048 bins/);
    assert.deepEqual(calibrationRange([tensor([-1, 2]), tensor([-3, 1])], { movingAverage: true }), [-2, 1.5]);
    throws(() => calibrationRange([]), 'NO_SAMPLES', /no values/);
    throws(() => calibrationRange([wide], { method: 'Mean' }), 'INVALID_OPTION', /method = 'Mean' is not known/);
  });

  test('a convert() that throws leaves the model as it was', () => {
    const model = new nn.Sequential(new nn.QuantStub(), batchNorm(2), new nn.DeQuantStub()).eval();
    model.qconfig = quantization.getDefaultQConfig('onednn');
    quantization.prepare(model);
    const x = tensor(numbers(32), [1, 2, 4, 4]);
    const float = model.forward(x).data;
    const variance = model[1].runningVar[1];
    model[1].runningVar[1] = Number.NaN;
    throws(() => quantization.convert(model), 'NON_FINITE_WEIGHT', /channel 1/);
    model[1].runningVar[1] = variance;
    assert.deepEqual(model.forward(x).data, float);
    quantization.convert(model);
    assert.ok(model[0] instanceof nn.quantized.Quantize && model[1] instanceof nn.quantized.BatchNorm2d);
  });

  test('states load all or nothing, by shape and type', () => {
    throws(
      () => new nn.quantized.BatchNorm2d(2).loadStateDict(new nn.quantized.BatchNorm2d(5).stateDict()),
      'SHAPE_MISMATCH',
      /\[5\].*\[2\]/,
    );
    const linear = new nn.Linear(2, 3);
    throws(
      () => linear.loadStateDict(new nn.Linear(3, 2).stateDict()),
      'INVALID_STATE',
      /size mismatch for weight: \[2, 3\] instead of \[3, 2\]/,
    );
    throws(() => linear.loadStateDict({ weight: tensor(new Float32Array(6).fill(1), [3, 2]) }), 'INVALID_STATE', /missing key "bias"/);
    assert.deepEqual(linear.weight, new Float32Array(6));
    const ints = new Tensor('int64', new BigInt64Array(3), [3]);
    throws(() => linear.loadStateDict({ weight: tensor(new Float32Array(6), [3, 2]), bias: ints }), 'INVALID_STATE', /bias is not float32/);
    const two = tensor([1, 2]);
    throws(() => new nn.quantized.QFunctional().loadStateDict({ scale: two, zero_point: two }), 'INVALID_STATE', /scale/);
  });

  test('what is no whole number, no pair, no known word is refused', () => {
    const x = tensor([1, 2], [1, 2, 1, 1]);
    const q = quantizePerTensor(x, 0.1, 0, 'quint8');
    throws(() => quantizePerTensor(x, 0.1, 0.7, 'quint8'), 'INVALID_OPTION', /zeroPoint = 0\.7/);
    throws(() => quantizePerChannel(x, [1, 1], [0, 0], 1.5, 'qint8'), 'INVALID_OPTION', /axis = 1\.5/);
    throws(() => nn.quantized.BatchNorm2d.fromFloat(batchNorm(2), { scale: 1, zeroPoint: 1.7 }), 'INVALID_OPTION', /1\.7/);
    const weight = quantizePerTensor(tensor([1, 1], [1, 2, 1, 1]), 0.1, 0, 'qint8');
    throws(() => new nn.quantized.Conv2d(weight, { scale: 1, zeroPoint: 0, stride: [2] }), 'INVALID_OPTION', /\[2\]/);
    const { functional } = nn.quantized;
    throws(() => functional.maxPool2d(q, { kernelSize: [2] }), 'INVALID_OPTION', /\[2\]/);
    throws(() => functional.maxPool2d(q, {}), 'INVALID_OPTION', /undefined/);
    throws(() => functional.add(q, x, { scale: 1, zeroPoint: 0 }), 'UNSUPPORTED_DTYPE', /float32/);
    throws(() => functional.add(q, q, { scale: 1, zeroPoint: 0.5 }), 'INVALID_OPTION', /0\.5/);
    throws(() => functional.interpolate(q, { size: 2, mode: 'bicubic' }), 'INVALID_OPTION', /bicubic/);
    throws(() => q.contiguous({ memoryFormat: 'channelsLast' }), 'INVALID_OPTION', /channelsLast/);
    throws(() => quantizePerTensor(tensor([1]), 1, 0, 'quint8').contiguous({ memoryFormat: 'channels_last' }), 'INVALID_OPTION', /1 dim/);
    const learnable = new quantization.LearnableFakeQuantize();
    throws(() => learnable.setParameters({ scale: [1, 1], zeroPoint: [0] }), 'SHAPE_MISMATCH', /2 scales and 1 zero points for 1/);
    const axis = (chAxis) => new quantization.PerChannelMinMaxObserver({ chAxis });
    assert.throws(() => axis(0).merge(axis(1)), OctavoError);
    assert.match(String(new quantization.PlaceholderObserver()), /^PlaceholderObserver\(dtype=/);
  });

  test('one output channel stays per channel; floats broadcast as codes do', () => {
    const linear = new nn.Linear(4, 1);
    linear.weight.set([1, -1, 0.5, 0]);
    linear.qconfig = quantization.getDefaultQConfig('x86');
    const { weight } = nn.quantized.Linear.fromFloat(linear, { scale: 1, zeroPoint: 0 });
    assert.equal(weight.qPerChannelScales().length, 1);
    const functional = new nn.FloatFunctional();
    const y = functional.mul(tensor([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 2, 2]), tensor([10, 100], [1, 2, 1, 1]));
    assert.deepEqual([...y.data], [10, 20, 30, 40, 500, 600, 700, 800]);
  });

  test('a tensor of 100 MB', () => {
    const codes = new Uint8Array(100 * 2 ** 20).fill(130);
    const q = api.makePerTensorQuantizedTensor({ data: codes, shape: [1, 100, 1024, 1024] }, 0.05, 128);
    using bn = nn.quantized.BatchNorm2d.fromFloat(new nn.BatchNorm2d(100, { eps: 0 }), { scale: 0.05, zeroPoint: 128 });
    assert.ok(
      bn
        .forward(q)
        .intRepr()
        .data.every((code) => code === 130),
    );
  });

  test('tensors and modules that nobody holds are given back', async () => {
    const bn = batchNorm(64);
    const x = tensor(numbers(64 * 56 * 56), [1, 64, 56, 56]);
    const once = () => {
      using q = nn.quantized.BatchNorm2d.fromFloat(bn, { scale: 0.05, zeroPoint: 128 });
      return q.forward(quantizePerTensor(x, 0.025, 128, 'quint8')).dequantize();
    };
    for (let i = 0; i < 3; i++) once();
    const before = api.memoryBytes();
    for (let i = 0; i < 60; i++) once(); // 60 times 2.4 MB, in one go: no finalizer has had a chance to run
    assert.equal(api.memoryBytes(), before, 'the wasm memory has not grown');
  });
});
