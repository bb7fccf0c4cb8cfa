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
