// Operators on codes in forms for which there is no integer kernel (three axes, a right side that the network computes) run too, between
// DequantizeLinear and QuantizeLinear; half floats are read as floats. All beside onnxruntime-node.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as ort from 'onnxruntime-node';
import { createEngine } from '../../dist/index.js';
import { random, randomTensor, runOctavo, runReference } from '../../tools/conformance.mjs';
import { quantizedForms } from './quantized-forms.mjs';
import { onnx } from './support.mjs';

let engine;
before(async () => {
  engine = await createEngine({ worker: false });
});
after(() => engine.close());

const next = random(3);
describe('operators on codes', () => {
  for (const [name, { model, inputs, exact }] of quantizedForms) {
    test(name, async () => {
      const [expected] = await runReference(ort, model, inputs);
      const actual = (await runOctavo(engine, model, inputs)).y;
      assert.deepEqual(actual.shape, expected.shape);
      const off = expected.data.map((code, i) => Math.abs(code - actual.data[i]));
      // In float between two grids a value that lies half-way between two codes may fall to either: only what is proved to lie there may differ.
      const steps = exact?.(inputs[0]) ?? [];
      const isTie = (i) => Math.abs(steps[i] - Math.floor(steps[i]) - 0.5) < 1e-5;
      const others = off.filter((_, i) => !(steps.length > 0 && isTie(i)));
      assert.ok(Math.max(...off) <= 1 && others.filter(Boolean).length <= 0.001 * others.length, `${off}`);
      assert.ok(others.length > 0.9 * off.length && (steps.length === 0 || steps.length === off.length));
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
