// Runs that are aborted in the middle of one long node.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEngine, InferenceSession, Model } from '../../dist/index.js';
import { convModel, onnx, rejects } from './support.mjs';

/** One Einsum with 2^31 products, which takes many seconds. */
const size = 1290;
const einsum = (n = size) =>
  onnx({
    opset: 17,
    nodes: [{ op: 'Einsum', name: 'products', inputs: ['a', 'b'], outputs: ['y'], attrs: { equation: 'ij,jk->ik' } }],
    inputs: [
      { name: 'a', shape: [n, n] },
      { name: 'b', shape: [n, n] },
    ],
    outputs: [{ name: 'y' }],
  });
const ones = (n = size) => ({ a: new Float32Array(n * n).fill(1), b: new Float32Array(n * n).fill(1) });

for (const options of [{}, { threads: 2 }, { worker: false }]) {
  test(`an abort in the middle of a long node is heard, and the engine goes on: ${JSON.stringify(options)}`, async () => {
    await using engine = await createEngine(options);
    const session = await InferenceSession.create(einsum(), { engine });
    const other = await InferenceSession.create(convModel(), { engine });
    const feeds = { x: new Float32Array(32).fill(1) };
    const expected = await other.run(feeds);
    const controller = new AbortController();
    let ended = false;
    const running = session.run(ones(), { signal: controller.signal }).finally(() => {
      ended = true;
    });
    running.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(ended, false, 'the node was too short to show anything');
    controller.abort();
    await rejects(running, 'ABORTED', { hint: /^/ });
    // The engine has given the node up: it answers others, and the session runs again and is aborted again.
    assert.deepEqual(await other.run(feeds), expected);
    const again = new AbortController();
    const second = session.run(ones(), { signal: again.signal });
    setTimeout(() => again.abort(), 50);
    await rejects(second, 'ABORTED', { hint: /^/ });
    await session.close();
    await other.close();
    assert.equal(await engine.call('liveObjects', []), 0);
  });
}

const zeros = (name, shape) => ({ name, shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) });
const large = { kernel_shape: [700, 700] };
const recurrent = (gates, hidden) => ({
  inputs: { x: [15_000, 1, 4] },
  weights: [zeros('w', [1, gates * hidden, 4]), zeros('r', [1, gates * hidden, hidden])],
  attrs: { hidden_size: hidden },
});
/** A node each whose work takes a second at least, most of them the better part of a minute or several: an engine that did not hear of the abort would not answer in time. */
const long = {
  MaxPool: { inputs: { x: [1, 1, 1400, 1400] }, attrs: large },
  AveragePool: { inputs: { x: [1, 1, 1400, 1400] }, attrs: large },
  'MaxPool of three dimensions': { inputs: { x: [1, 1, 120, 120, 120] }, attrs: { kernel_shape: [60, 60, 60] } },
  LSTM: recurrent(4, 1024),
  GRU: recurrent(3, 1200),
  RNN: recurrent(1, 2048),
  NonMaxSuppression: {
    inputs: { x: [1, 400_000, 4], scores: [1, 1, 400_000] },
    weights: [{ name: 'most', shape: [1], data: BigInt64Array.of(400_000n) }],
  },
  Einsum: { inputs: { x: [130_000], b: [130_000], c: [8] }, attrs: { equation: 'i,j,k->k' } },
  MatMul: { inputs: { x: [3500, 3500], b: [3500, 3500] } },
  MatMulInteger: { inputs: { x: [6000, 6000], b: [6000, 6000] }, type: 'uint8' },
};
for (const [name, { inputs, weights = [], attrs = {}, type = 'float32' }] of Object.entries(long)) {
  test(`an abort is heard inside of ${name}`, { timeout: 30_000 }, async () => {
    await using engine = await createEngine();
    const names = [...Object.keys(inputs), ...weights.map((weight) => weight.name)];
    const bytes = onnx({
      opset: 17,
      nodes: [{ op: name.split(' ')[0], name: 'long', inputs: names, outputs: ['y'], attrs }],
      inputs: Object.entries(inputs).map(([input, shape]) => ({ name: input, shape, type })),
      outputs: [{ name: 'y' }],
      weights,
    });
    const session = await InferenceSession.create(bytes, { engine });
    const other = await InferenceSession.create(convModel(), { engine });
    const Data = type === 'uint8' ? Uint8Array : Float32Array;
    const feeds = Object.fromEntries(Object.entries(inputs).map(([input, shape]) => [input, new Data(shape.reduce((a, b) => a * b, 1))]));
    const controller = new AbortController();
    const running = session.run(feeds, { signal: controller.signal, transfer: true });
    setTimeout(() => controller.abort(), 100);
    await rejects(running, 'ABORTED', { hint: /^/ });
    const { y } = await other.run({ x: new Float32Array(32).fill(1) });
    assert.equal(y.data.length, 32);
    await session.close();
    await other.close();
    assert.equal(await engine.call('liveObjects', []), 0);
  });
}

test('a node that is run in pieces gives what it gives in one', async () => {
  await using engine = await createEngine();
  const n = 150; // 3.4 million products: two pieces
  const session = await InferenceSession.create(einsum(n), { engine });
  const feeds = { a: Float32Array.from({ length: n * n }, (_, i) => i % 7), b: Float32Array.from({ length: n * n }, (_, i) => i % 5) };
  const { y } = await session.run(feeds);
  for (const [i, k] of [
    [0, 0],
    [n - 1, n - 1],
    [70, 3],
    [149, 0],
  ]) {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += feeds.a[i * n + j] * feeds.b[j * n + k];
    assert.equal(y.data[i * n + k], sum);
  }
});

test('constants that would take minutes to fold are left to the run', async () => {
  await using engine = await createEngine();
  const constants = ['a', 'b', 'c', 'd'].map((name) => ({ name, shape: [200], data: new Float32Array(200).fill(1) }));
  const bytes = onnx({
    opset: 17,
    nodes: [
      { op: 'Einsum', name: 'sum', inputs: ['a', 'b', 'c', 'd'], outputs: ['s'], attrs: { equation: 'i,j,k,l->i' } },
      { op: 'Add', name: 'add', inputs: ['x', 's'], outputs: ['y'] },
    ],
    inputs: [{ name: 'x', shape: [200] }],
    outputs: [{ name: 'y' }],
    weights: constants,
  });
  const model = await Model.load(bytes, { engine });
  const session = await InferenceSession.create(model);
  const controller = new AbortController();
  const running = session.run(new Float32Array(200), { signal: controller.signal });
  setTimeout(() => controller.abort(), 50);
  await rejects(running, 'ABORTED', { hint: /^/ });
});
