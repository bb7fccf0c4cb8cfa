// Exported files: both formats, every form of batch normalization, both code types and all opsets, in ONNX Runtime and read back.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { feeds, modelBytes, networks } from '../../bench/networks.mjs';
import { createEngine, InferenceSession, Model, quantizeStatic, Tensor } from '../../dist/index.js';
import { verify } from '../../dist/verify.js';
import { describeModel } from '../../tools/onnx.mjs';
import { dataFolder, digitFeeds, digitsModel, skipWithoutData } from './support.mjs';

let engine;
before(async () => {
  engine = await createEngine({ worker: false });
});
after(() => engine.close());

const toTensors = (feed) =>
  Object.fromEntries(Object.entries(feed).map(([name, { data, shape }]) => [name, new Tensor('float32', data, shape)]));
const countOps = (file) => describeModel(file).nodes.reduce((counts, { op }) => counts.set(op, (counts.get(op) ?? 0) + 1), new Map());

/** Quantizes, and gives { check } of one way of writing it. */
async function quantized(bytes, samples, options = {}) {
  const model = await Model.load(bytes, { engine });
  const inputShapes = Object.fromEntries(Object.entries(samples[0]).map(([name, { shape }]) => [name, shape]));
  const { model: int8 } = await quantizeStatic(model, samples, { inputShapes, evaluateSamples: 0, ...options }).result;
  const wanted = await (await InferenceSession.create(int8, { engine, inputShapes })).run(toTensors(samples[0]));
  return {
    /** The file; asserts that ONNX Runtime gives our codes, and (where `same`) that read back it gives the same results. */
    async check(form, { same = true, least = 1 } = {}) {
      const file = await int8.toONNX(form);
      const says = JSON.stringify({ ...options, ...form });
      const { codes, equalCodes, tensors } = await verify(file, samples.slice(0, 2).map(toTensors), engine);
      assert.ok(codes > 0 && equalCodes >= least * codes, `${says}: ${equalCodes} of ${codes} codes`);
      for (const { name, type, largestDifference } of tensors)
        assert.ok(type === 'float32' || largestDifference <= 1, `${says}: '${name}' is off by ${largestDifference}`);
      if (same) {
        const again = await InferenceSession.create(await Model.load(file, { engine }), { engine, inputShapes });
        assert.deepEqual(await again.run(toTensors(samples[0])), wanted, says);
      }
      return file;
    },
  };
}

const digitSamples = () => digitFeeds('train', 4).map((feed) => ({ image: feed }));

test('every form of a file, at the first, the default and the last opset, gives ONNX Runtime our codes', async () => {
  for (const dtype of ['quint8', 'qint8']) {
    for (const reduceRange of [false, true]) {
      const { check } = await quantized(digitsModel(), digitSamples(), { activation: { dtype }, weight: { reduceRange } });
      for (const format of ['qdq', 'qoperator']) {
        for (const batchNorm of ['depthwise', 'batchnorm', 'muladd']) {
          const opset = { depthwise: 13, batchnorm: 21, muladd: 17 }[batchNorm];
          // Mul and Add round twice: other integers than ours, but those in both runtimes. BatchNormalization is float there.
          await check({ format, batchNorm, opset }, { same: batchNorm !== 'muladd', least: batchNorm === 'batchnorm' ? 0.999 : 1 });
        }
      }
    }
  }
});

test('opsets 13 to 21', async () => {
  const { check } = await quantized(digitsModel(), digitSamples(), { target: 'onnxruntime' });
  for (let opset = 13; opset <= 21; opset++) {
    for (const format of ['qdq', 'qoperator']) {
      const file = await check({ format, opset });
      const ops = countOps(file);
      assert.equal(ops.has('QLinearConv'), format === 'qoperator');
      assert.equal(ops.has('Conv'), format === 'qdq');
    }
  }
});

test('quantized operators leave Q and DQ only at the edges of what is int8', async () => {
  const { check } = await quantized(digitsModel(), digitSamples(), { target: 'onnxruntime' });
  const ops = countOps(await check({ format: 'qoperator' }));
  assert.deepEqual([ops.get('QuantizeLinear'), ops.get('DequantizeLinear'), ops.get('QGemm')], [1, 1, 1]);
  assert.ok(ops.get('QLinearAdd') > 1 && ops.get('QLinearGlobalAveragePool') === 1);
});

describe('networks as quantized operators', { skip: skipWithoutData }, () => {
  for (const name of ['densenet_tiny', 'resnet20', 'mnist_cntk', 'rfb320', 'squeezenet11', 'ppocr_cls']) {
    const network = networks[name];
    test(name, { skip: !existsSync(join(dataFolder, network.file)) && 'this model is not here' }, async () => {
      const bytes = modelBytes(network);
      const input = (await Model.load(bytes, { engine })).inputs[0].name;
      const samples = [...feeds(network, input, 'calib', 2)];
      const { check } = await quantized(bytes, samples);
      await check({ format: 'qoperator' }, { least: 0.999 });
    });
  }
});
