// A session of a model with open sizes runs at any of them; what it gives is what a session made for that shape gives.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEngine, InferenceSession, Model, quantizeStatic } from '../../dist/index.js';
import { convModel, onnx, rejects } from './support.mjs';

const noise = (n, seed) => {
  let state = seed;
  return Float32Array.from({ length: n }, () => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return state / 2 ** 30 - 1;
  });
};
const constant = (name, shape, data) => ({ name, shape, data });
const elements = (shape) => shape.reduce((a, b) => a * b, 1);
const feed = (shape, seed) => ({ data: noise(elements(shape), seed), shape });

/** Two convolutions, then each pixel's channels through a matrix, by shape arithmetic on what comes in. */
const openModel = () =>
  onnx({
    nodes: [
      { op: 'Conv', name: 'first', inputs: ['x', 'w1'], outputs: ['a'], attrs: { kernel_shape: [3, 3], pads: [1, 1, 1, 1] } },
      { op: 'Relu', name: 'relu', inputs: ['a'], outputs: ['b'] },
      { op: 'Conv', name: 'second', inputs: ['b', 'w2'], outputs: ['c'], attrs: { kernel_shape: [3, 3], pads: [1, 1, 1, 1] } },
      { op: 'Shape', name: 'shape', inputs: ['c'], outputs: ['sizes'] },
      { op: 'Gather', name: 'batch', inputs: ['sizes', 'zero'], outputs: ['n'], attrs: { axis: 0 } },
      { op: 'Concat', name: 'flat', inputs: ['n', 'rest'], outputs: ['to'], attrs: { axis: 0 } },
      { op: 'Reshape', name: 'reshape', inputs: ['c', 'to'], outputs: ['d'] },
      { op: 'Transpose', name: 'transpose', inputs: ['d'], outputs: ['e'], attrs: { perm: [0, 2, 1] } },
      { op: 'MatMul', name: 'matmul', inputs: ['e', 'm'], outputs: ['y'] },
    ],
    inputs: [{ name: 'x', shape: ['N', 3, 'H', 'W'] }],
    outputs: [{ name: 'y' }],
    weights: [
      constant('w1', [16, 3, 3, 3], noise(16 * 27, 1)),
      constant('w2', [16, 16, 3, 3], noise(16 * 144, 2)),
      constant('m', [16, 8], noise(128, 3)),
      constant('zero', [1], BigInt64Array.of(0n)),
      constant('rest', [2], BigInt64Array.of(16n, -1n)),
    ],
  });
const first = [1, 3, 16, 16];
const shapes = [[1, 3, 16, 16], [3, 3, 16, 16], [1, 3, 9, 40], [2, 3, 1, 1], [1, 3, 5, 5], [3, 3, 16, 16], first];

async function quantized(model) {
  const samples = [4, 5, 6].map((seed) => feed(first, seed));
  return quantizeStatic(model, samples, { inputShapes: { x: first } }).result;
}

for (const threads of [1, 2]) {
  test(`another batch, height or width is planned for, float and int8, ${threads} threads`, async () => {
    await using engine = await createEngine({ threads });
    const float = await Model.load(openModel(), { engine });
    const { model: int8 } = await quantized(float);
    for (const model of [float, int8]) {
      const session = await InferenceSession.create(model, { inputShapes: { x: first } });
      assert.deepEqual(session.openInputs[0].shape, ['N', 3, 'H', 'W']);
      for (const [i, shape] of shapes.entries()) {
        const fresh = await InferenceSession.create(model, { inputShapes: { x: shape }, fixedShapes: true });
        const expected = await fresh.run(feed(shape, 20 + i));
        const { y } = await session.run(feed(shape, 20 + i));
        assert.deepEqual(y.shape, [shape[0], shape[2] * shape[3], 8]);
        assert.deepEqual(y, expected.y);
        assert.ok(y.data.some((value) => value !== 0));
        await fresh.close();
      }
      const { steps } = await session.profile(feed(shapes[1], 1));
      assert.ok(steps.length > 0);
      await session.close();
    }
  });
}

test('a file of QDQ nodes, read back, runs at any shape too', async () => {
  await using engine = await createEngine();
  const { model } = await quantized(await Model.load(openModel(), { engine }));
  const again = await Model.load(await model.toONNX(), { engine });
  const session = await InferenceSession.create(again, { inputShapes: { x: first } });
  const own = await InferenceSession.create(model, { inputShapes: { x: first } });
  for (const shape of shapes) assert.deepEqual(await session.run(feed(shape, 7)), await own.run(feed(shape, 7)));
});

test('a shape that the model or the network cannot have, or that takes too much: an error, and the session goes on', async () => {
  await using engine = await createEngine();
  const model = await Model.load(openModel(), { engine });
  const session = await InferenceSession.create(model, { inputShapes: { x: first }, memoryLimit: 4 << 20 });
  const before = await session.run(feed(first, 1));
  await rejects(session.run(feed([1, 4, 16, 16], 1)), 'SAMPLE_SHAPE', { what: /N, 3, H, W/, where: /'x'/ });
  await rejects(session.run(feed([1, 3, 2000, 200], 1)), 'LIMIT_EXCEEDED', { what: /4194304/ });
  assert.deepEqual(await session.run(feed(first, 1)), before);
  // Without a shape of its own, data are of the shape that the session was made for.
  await session.run(feed([2, 3, 16, 16], 1));
  assert.deepEqual(await session.run(feed(first, 1).data), before);
  await rejects(session.run(noise(12, 1)), 'SAMPLE_SHAPE', { hint: /shape of its own/ });

  const gemm = await Model.load(
    onnx({
      nodes: [
        { op: 'Flatten', name: 'flatten', inputs: ['x'], outputs: ['f'] },
        { op: 'Gemm', name: 'head', inputs: ['f', 'w'], outputs: ['y'] },
      ],
      inputs: [{ name: 'x', shape: ['N', 2, 'H', 4] }],
      outputs: [{ name: 'y' }],
      weights: [constant('w', [32, 3], noise(96, 1))],
    }),
    { engine },
  );
  const headed = await InferenceSession.create(gemm, { inputShapes: { x: [1, 2, 4, 4] } });
  await rejects(headed.run(feed([1, 2, 5, 4], 1)), 'SHAPE_MISMATCH', { where: /head/ });
  assert.deepEqual((await headed.run(feed([5, 2, 4, 4], 1))).y.shape, [5, 3]);
});

test('sizes that the file fixes, and sessions that are, say what they take', async () => {
  await using engine = await createEngine();
  const fixed = await InferenceSession.create(convModel(), { engine });
  await rejects(fixed.run({ x: feed([2, 2, 4, 4], 1) }), 'SAMPLE_SHAPE', { what: /1, 2, 4, 4/ });
  const session = await InferenceSession.create(openModel(), { engine, inputShapes: { x: first }, fixedShapes: true });
  assert.deepEqual(session.openInputs, session.inputs);
  await rejects(session.run(feed([2, 3, 16, 16], 1)), 'SAMPLE_SHAPE', { what: /1, 3, 16, 16/ });
});

test('plans for further shapes hold no weights of their own, and close() gives all back', async () => {
  await using engine = await createEngine();
  const wide = onnx({
    nodes: [{ op: 'Gemm', name: 'gemm', inputs: ['x', 'w'], outputs: ['y'] }],
    inputs: [{ name: 'x', shape: ['N', 1000] }],
    outputs: [{ name: 'y' }],
    weights: [constant('w', [1000, 1000], noise(1e6, 1))],
  });
  const used = async () => (await engine.call('heap', [])).used;
  await (await InferenceSession.create(wide, { engine })).close();
  const empty = await used();
  const session = await InferenceSession.create(wide, { engine });
  const one = await used();
  for (const n of [2, 3, 4]) assert.deepEqual((await session.run(feed([n, 1000], n))).y.shape, [n, 1000]);
  assert.ok((await used()) - one < 1e6, `${(await used()) - one} bytes more`);
  await session.close();
  assert.ok((await used()) - empty < 4096);
});

test('a height and width that nobody gives are those of the first feed', async () => {
  await using engine = await createEngine();
  const float = await Model.load(openModel(), { engine });
  const session = await InferenceSession.create(float);
  assert.deepEqual(session.inputs[0].shape, ['N', 3, 'H', 'W']);
  await rejects(session.run(noise(300, 1)), 'SAMPLE_SHAPE', { where: /'x'|session.run/, hint: /shape/ });
  await rejects(session.run(feed([1, 4, 3, 3], 1)), 'SAMPLE_SHAPE', { hint: /3/ });
  for (const shape of [[2, 3, 9, 7], first]) {
    const fresh = await InferenceSession.create(float, { inputShapes: { x: shape }, fixedShapes: true });
    assert.deepEqual(await session.run(feed(shape, 5)), await fresh.run(feed(shape, 5)));
    await fresh.close();
  }
  await session.close();
  const profiled = await InferenceSession.create(float);
  assert.ok((await profiled.profile(feed(first, 1))).steps.length > 0);
  await profiled.close();
  await float.close();
  assert.equal(await engine.call('liveObjects', []), 0);
});

test('a model with open sizes is quantized at the size of the first sample', async () => {
  await using engine = await createEngine();
  const float = await Model.load(openModel(), { engine });
  const samples = [4, 5, 6].map((seed) => feed(first, seed));
  const told = await quantizeStatic(float, samples, { inputShapes: { x: first } }).result;
  const seen = await quantizeStatic(float, samples).result;
  const once = await quantizeStatic(
    float,
    (function* () {
      yield* samples;
    })(),
  ).result;
  const bytes = await told.model.toONNX();
  assert.deepEqual(await seen.model.toONNX(), bytes);
  assert.deepEqual(await once.model.toONNX(), bytes);
});
