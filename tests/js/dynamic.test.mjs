// Quantization without samples, beside ONNX Runtime on the file that it writes.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as ort from 'onnxruntime-node';
import { createEngine, InferenceSession, Model, quantizeDynamic } from '../../dist/index.js';
import { exactCodes } from '../../tools/conformance.mjs';
import { digitFeeds, digitsModel, onnx, rejects } from './support.mjs';

const wave = (count, step) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * step) / 3);

/** Every kind of layer that has weights: a convolution with a bias, one in groups, a Gemm and a MatMul. */
const products = () =>
  onnx({
    nodes: [
      { op: 'Conv', name: 'conv', inputs: ['x', 'w1', 'b1'], outputs: ['a'], attrs: { kernel_shape: [3, 3], pads: [1, 1, 1, 1] } },
      { op: 'Relu', name: 'relu', inputs: ['a'], outputs: ['b'] },
      { op: 'Conv', name: 'grouped', inputs: ['b', 'w2'], outputs: ['c'], attrs: { kernel_shape: [1, 1], group: 2 } },
      { op: 'GlobalAveragePool', name: 'pool', inputs: ['c'], outputs: ['d'] },
      { op: 'Flatten', name: 'flatten', inputs: ['d'], outputs: ['e'] },
      { op: 'Gemm', name: 'gemm', inputs: ['e', 'w3', 'b3'], outputs: ['f'], attrs: { transB: 1 } },
      { op: 'MatMul', name: 'matmul', inputs: ['f', 'w4'], outputs: ['y'] },
    ],
    inputs: [{ name: 'x', shape: [1, 3, 9, 9] }],
    weights: [
      { name: 'w1', shape: [8, 3, 3, 3], data: wave(216, 1.3) },
      { name: 'b1', shape: [8], data: wave(8, 2.1) },
      { name: 'w2', shape: [6, 4, 1, 1], data: wave(24, 0.7) },
      { name: 'w3', shape: [10, 6], data: wave(60, 1.9) },
      { name: 'b3', shape: [10], data: wave(10, 0.3) },
      { name: 'w4', shape: [10, 4], data: wave(40, 2.7) },
    ],
  });

const relative = (a, b) => {
  const [error, size] = [(i) => (a[i] - b[i]) ** 2, (i) => b[i] ** 2].map((of) => a.reduce((sum, _, i) => sum + of(i), 0));
  return Math.sqrt(error / size);
};
const ops = async (model) => (await model.summary()).nodes.map(({ op }) => op);

describe('quantizeDynamic', () => {
  let engine;
  before(async () => {
    engine = await createEngine({ worker: false });
  });
  after(() => engine.close());

  /** Outputs of the model here and of its file in ONNX Runtime, on the same inputs. */
  async function bothRun(model, feeds, level = 'all') {
    const input = model.inputs[0].name;
    const here = await InferenceSession.create(model, { engine });
    const there = await ort.InferenceSession.create(Buffer.from(await model.toONNX()), { graphOptimizationLevel: level, ...exactCodes });
    const all = { here: [], there: [] };
    for (const { data, shape } of feeds) {
      const [a] = Object.values(await here.run({ [input]: { data, shape } }));
      const [b] = Object.values(await there.run({ [input]: new ort.Tensor('float32', data, shape) }));
      all.here.push(...a.data);
      all.there.push(...b.data);
    }
    await here.close();
    await there.release();
    return all;
  }

  for (const [name, bytes, feeds] of [
    ['a small network of all kinds', products(), [1, 2, 3].map((i) => ({ data: wave(243, i), shape: [1, 3, 9, 9] }))],
    ['the digits network', digitsModel(), digitFeeds('test', 20)],
  ]) {
    test(`of ${name} gives ONNX Runtime's numbers, and nearly the float network's`, async () => {
      const model = await Model.load(bytes, { engine });
      const float = await bothRun(model, feeds);
      for (const options of [{}, { weightOnly: true }, { weight: { scheme: 'per_tensor_symmetric', scale: 'mse' } }]) {
        const int8 = await quantizeDynamic(model, options);
        assert.ok(int8.quantized);
        // Above 'basic' it makes MatMulNBits of int8 weights, which quantizes the activations that the file has in float.
        const { here, there } = await bothRun(int8, feeds, options.weightOnly ? 'basic' : 'all');
        // What DynamicQuantizeLinear rounds to the other side of a half may differ by a code.
        assert.ok(relative(here, there) < 1e-3, `${JSON.stringify(options)}: ${relative(here, there)} from ONNX Runtime`);
        const lost = relative(here, float.here);
        assert.ok(lost > 0 && lost < 0.1, `${JSON.stringify(options)}: ${lost} from float`);
      }
    });
  }

  test('quantizes the kinds that are named, and a quarter of the bytes is left', async () => {
    const model = await Model.load(digitsModel(), { engine });
    const all = await ops(await quantizeDynamic(model));
    assert.ok(all.includes('ConvInteger') && all.includes('MatMulInteger') && !all.includes('Conv'));
    const gemm = await ops(await quantizeDynamic(model, { opTypes: ['Gemm'] }));
    assert.ok(gemm.includes('MatMulInteger') && gemm.includes('Conv') && !gemm.includes('ConvInteger'));
    const smaller = await quantizeDynamic(model, { weightOnly: true });
    assert.ok(!(await ops(smaller)).includes('DynamicQuantizeLinear'));
    assert.ok((await smaller.toONNX()).length < 0.5 * digitsModel().length);
    const first = (await model.summary()).nodes.find(({ op }) => op === 'Conv').name;
    assert.ok((await ops(await quantizeDynamic(model, { exclude: [first] }))).includes('Conv'));
  });

  test('says what is wrong with its options', async () => {
    const model = await Model.load(digitsModel(), { engine });
    await rejects(quantizeDynamic(model, { opTypes: ['LSTM'] }), 'INVALID_OPTION', { what: /LSTM/, hint: /Gemm, MatMul, Conv/ });
    await rejects(quantizeDynamic(model, { opTypes: 'Gemm' }), 'INVALID_OPTION', { where: /opTypes/ });
    await rejects(quantizeDynamic(model, { exclude: ['nothing'] }), 'INVALID_OPTION', { what: /nothing/ });
    await rejects(quantizeDynamic(model, { target: 'octavo' }), 'INVALID_OPTION');
    await rejects(quantizeDynamic(await quantizeDynamic(model)), 'INVALID_STATE', { what: /quantized already/ });
    await rejects(quantizeDynamic(model, { signal: AbortSignal.abort() }), 'ABORTED', { hint: /^/ });
  });
});
