// Operators on codes in forms for which there is no integer kernel (three axes, a right side that the network computes) run too, between
// DequantizeLinear and QuantizeLinear; half floats are read as floats. All beside onnxruntime-node.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as ort from 'onnxruntime-node';
import { createEngine } from '../../dist/index.js';
import { random, randomTensor, runOctavo, runReference } from '../../tools/conformance.mjs';
import { onnx } from './support.mjs';

let engine;
before(async () => {
  engine = await createEngine({ worker: false });
});
after(() => engine.close());

const next = random(3);
const scale = (name, value) => ({ name, shape: [], data: Float32Array.of(value) });
const codes = (name, type, shape) => ({ ...randomTensor({ name, type, shape }, next) });
const grids = [
  scale('xs', 0.05),
  { name: 'xz', type: 'uint8', shape: [], data: Uint8Array.of(120) },
  scale('ws', 0.02),
  { name: 'wz', type: 'int8', shape: [], data: Int8Array.of(0) },
  scale('ys', 0.5),
  { name: 'yz', type: 'uint8', shape: [], data: Uint8Array.of(128) },
];
const [x, w, y] = ['xs xz', 'ws wz', 'ys yz'].map((names) => names.split(' '));
const microsoft = { domain: 'com.microsoft' };

describe('operators on codes', () => {
  const channels = [
    { name: 'cs', shape: [3], data: Float32Array.of(0.01, 0.02, 0.03) },
    { name: 'cz', type: 'int8', shape: [3], data: new Int8Array(3) },
  ];
  const bias = { name: 'b', type: 'int32', shape: [3], data: Int32Array.of(100, -2000, 3000) };
  const forms = {
    'QLinearConv in three axes': {
      op: 'QLinearConv',
      shape: [1, 2, 4, 5, 4],
      weight: codes('w', 'int8', [3, 2, 2, 3, 2]),
      inputs: ['x', ...x, 'w', ...w, ...y],
    },
    'the same with a bias and scales per channel': {
      op: 'QLinearConv',
      shape: [1, 2, 4, 5, 4],
      weight: codes('w', 'int8', [3, 2, 2, 3, 2]),
      inputs: ['x', ...x, 'w', 'cs', 'cz', ...y, 'b'],
      more: [...channels, bias],
    },
    'QLinearConv with a computed weight': {
      op: 'QLinearConv',
      shape: [1, 2, 6, 6],
      free: { name: 'w', type: 'int8', shape: [3, 2, 3, 3] },
      inputs: ['x', ...x, 'w', ...w, ...y],
    },
    'QLinearConv with a computed bias': {
      op: 'QLinearConv',
      shape: [1, 2, 6, 6],
      weight: codes('w', 'int8', [3, 2, 3, 3]),
      free: { name: 'b', type: 'int32', shape: [3] },
      inputs: ['x', ...x, 'w', ...w, ...y, 'b'],
    },
    'QLinearMatMul of batches': {
      op: 'QLinearMatMul',
      shape: [2, 3, 4],
      weight: codes('w', 'int8', [2, 4, 5]),
      inputs: ['x', ...x, 'w', ...w, ...y],
    },
    'QLinearMatMul of two activations': {
      op: 'QLinearMatMul',
      shape: [2, 3, 4],
      free: { name: 'w', type: 'uint8', shape: [2, 4, 5] },
      inputs: ['x', ...x, 'w', 'ws', 'xz', ...y],
    },
    'QLinearMatMul by a vector': {
      op: 'QLinearMatMul',
      shape: [2, 3, 4],
      weight: codes('w', 'int8', [4]),
      inputs: ['x', ...x, 'w', ...w, ...y],
    },
    'QGemm of a transposed left side': {
      op: 'QGemm',
      ...microsoft,
      attrs: { transA: 1 },
      shape: [4, 3],
      weight: codes('w', 'int8', [4, 5]),
      inputs: ['x', ...x, 'w', ...w, '', ...y],
    },
    'QGemm with a computed right side': {
      op: 'QGemm',
      ...microsoft,
      shape: [3, 4],
      free: { name: 'w', type: 'int8', shape: [4, 5] },
      inputs: ['x', ...x, 'w', ...w, '', ...y],
    },
    'QGemm with a factor': {
      op: 'QGemm',
      ...microsoft,
      attrs: { alpha: 0.5 },
      shape: [3, 4],
      weight: codes('w', 'int8', [4, 3]),
      inputs: ['x', ...x, 'w', ...w, 'b', ...y],
      more: [bias],
    },
    'QLinearAveragePool in three axes': {
      op: 'QLinearAveragePool',
      ...microsoft,
      attrs: { kernel_shape: [2, 2, 2] },
      shape: [1, 2, 4, 4, 4],
      inputs: ['x', ...x, ...y],
    },
  };
  for (const [name, { op, domain, attrs, shape, weight, free, inputs, more = [] }] of Object.entries(forms)) {
    test(name, async () => {
      const fed = [{ name: 'x', type: 'uint8', shape }, ...(free ? [free] : [])];
      const model = onnx({
        nodes: [{ op, name: 'node', ...(domain ? { domain } : {}), inputs, outputs: ['y'], ...(attrs ? { attrs } : {}) }],
        inputs: fed,
        outputs: [{ name: 'y', type: 'uint8' }],
        weights: [...grids, ...more, ...(weight ? [weight] : [])].filter((one) => inputs.includes(one.name)),
        domains: domain ? { [domain]: 1 } : {},
      });
      const feeds = fed.map((one) => randomTensor(one, next));
      const [expected] = await runReference(ort, model, feeds);
      const actual = (await runOctavo(engine, model, feeds)).y;
      assert.deepEqual(actual.shape, expected.shape);
      const off = expected.data.map((code, i) => Math.abs(code - actual.data[i]));
      assert.ok(Math.max(...off) <= 1 && off.filter(Boolean).length <= 0.02 * off.length, `${off}`);
      assert.ok(new Set(expected.data).size > 4);
    });
  }
});

test('half floats, in weights, casts, inputs and outputs, are floats', async () => {
  const weight = { name: 'w', shape: [3, 2, 3, 3], data: Float32Array.from({ length: 54 }, (_, i) => Math.round(32 * Math.sin(i)) / 32) };
  const half = { ...weight, type: 'float16', data: new Float16Array(weight.data) };
  const chain = (inner) => [
    { op: 'Conv', name: 'conv', inputs: [inner, 'w'], outputs: ['c'] },
    { op: 'Relu', name: 'relu', inputs: ['c'], outputs: ['r'] },
  ];
  const sides = { inputs: [{ name: 'x', shape: [1, 2, 6, 6] }], outputs: [{ name: 'y', shape: [1, 3, 4, 4] }] };
  // As converters leave a model whose inputs and outputs stay float32.
  const inside = onnx({
    nodes: [
      { op: 'Cast', name: 'down', inputs: ['x'], outputs: ['h'], attrs: { to: 10 } },
      ...chain('h'),
      { op: 'Cast', name: 'up', inputs: ['r'], outputs: ['y'], attrs: { to: 1 } },
    ],
    ...sides,
    weights: [half],
  });
  const whole = onnx({
    nodes: [...chain('x').slice(0, 1), { op: 'Relu', name: 'relu', inputs: ['c'], outputs: ['y'] }],
    inputs: sides.inputs.map((one) => ({ ...one, type: 'float16' })),
    outputs: sides.outputs.map((one) => ({ ...one, type: 'float16' })),
    weights: [half],
  });
  const input = randomTensor({ name: 'x', type: 'float32', shape: [1, 2, 6, 6] }, next);
  const [expected] = await runReference(ort, inside, [input]);
  for (const model of [inside, whole]) {
    const { y: actual } = await runOctavo(engine, model, [input]);
    assert.equal(actual.type, 'float32');
    expected.data.forEach((value, i) => {
      assert.ok(Math.abs(value - actual.data[i]) < 0.02, `${i}: ${actual.data[i]}, not ${value}`);
    });
  }
});
