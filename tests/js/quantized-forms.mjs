// Quantized operators in forms for which there is no integer kernel: three axes, a right side that the network computes, ...

import { random, randomTensor } from '../../tools/conformance.mjs';
import { onnx } from '../../tools/onnx.mjs';

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

const channels = [
  { name: 'cs', shape: [3], data: Float32Array.of(0.01, 0.02, 0.03) },
  { name: 'cz', type: 'int8', shape: [3], data: new Int8Array(3) },
];
const bias = { name: 'b', type: 'int32', shape: [3], data: Int32Array.of(100, -2000, 3000) };
/** Means of windows of 2 x 2 x 2 in a tensor of [1, 2, 4, 4, 4], in steps of y's grid: exact but for f64's last places. */
function meansInSteps({ data }) {
  const means = [];
  const pairs = [0, 1];
  for (let c = 0; c < 2; c++)
    for (let i = 0; i < 27; i++) {
      const [z, y, x] = [Math.floor(i / 9), Math.floor(i / 3) % 3, i % 3];
      let sum = 0;
      for (const a of pairs) for (const b of pairs) for (const d of pairs) sum += data[((4 * c + z + a) * 4 + y + b) * 4 + x + d] - 120;
      means.push((sum * Math.fround(0.05)) / 8 / 0.5);
    }
  return means;
}

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
    // Of 7 bits: what ONNX Runtime computes of 8 saturates on processors without VNNI, and it sees no constant to spell otherwise.
    free: { name: 'w', type: 'int8', shape: [3, 2, 3, 3], largest: 63 },
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
    exact: meansInSteps,
  },
};

/** [name, { model, inputs, exact }] of each form: a file of one node, what it is fed and, where ties are to be expected, results in steps of the grid. */
export const quantizedForms = Object.entries(forms).map(([name, { op, domain, attrs, shape, weight, free, inputs, more = [], exact }]) => {
  const fed = [{ name: 'x', type: 'uint8', shape }, ...(free ? [free] : [])];
  const model = onnx({
    nodes: [{ op, name: 'node', ...(domain ? { domain } : {}), inputs, outputs: ['y'], ...(attrs ? { attrs } : {}) }],
    inputs: fed,
    outputs: [{ name: 'y', type: 'uint8' }],
    weights: [...grids, ...more, ...(weight ? [weight] : [])].filter((one) => inputs.includes(one.name)),
    domains: domain ? { [domain]: 1 } : {},
  });
  const tensors = fed.map((one) => randomTensor(one, next));
  for (const [i, { largest }] of fed.entries())
    if (largest) tensors[i].data = tensors[i].data.map((code) => Math.max(-largest, Math.min(largest, code)));
  return [name, { model, inputs: tensors, exact }];
});
