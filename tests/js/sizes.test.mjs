// Results whose size the data of a run decide, and what follows them in the graph: beside ONNX Runtime, run after run.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as ort from 'onnxruntime-node';
import { compare, createEngine, InferenceSession, Model, quantizeStatic, Tensor } from '../../dist/index.js';
import { exactCodes, random } from '../../tools/conformance.mjs';
import { onnx, rejects } from './support.mjs';

const int64 = (name, ...values) => ({ name, type: 'int64', shape: [values.length], data: BigInt64Array.from(values, BigInt) });
const float = (name, value) => ({ name, shape: [], data: Float32Array.of(value) });

const boxCount = 24;
/** NonMaxSuppression as the exporters of SSD and YOLO write it: the chosen boxes and scores are gathered, of these the best five. */
const detector = () =>
  onnx({
    nodes: [
      { op: 'NonMaxSuppression', name: 'nms', inputs: ['boxes', 'scores', 'most', 'share', 'least'], outputs: ['selected'] },
      { op: 'Slice', name: 'column', inputs: ['selected', 'two', 'three', 'one'], outputs: ['places2'] },
      { op: 'Squeeze', name: 'places', inputs: ['places2', 'one'], outputs: ['places'] },
      { op: 'Gather', name: 'pick', inputs: ['boxes', 'places'], outputs: ['picked'], attrs: { axis: 1 } },
      { op: 'Squeeze', name: 'flat', inputs: ['picked', 'zero'], outputs: ['chosen'] },
      { op: 'GatherND', name: 'scored', inputs: ['turned', 'pairs'], outputs: ['values'] },
      { op: 'Transpose', name: 'turn', inputs: ['scores'], outputs: ['turned'], attrs: { perm: [0, 2, 1] } },
      { op: 'Gather', name: 'pairs', inputs: ['selected', 'order'], outputs: ['pairs'], attrs: { axis: 1 } },
      { op: 'Shape', name: 'count', inputs: ['values'], outputs: ['count'] },
      { op: 'Concat', name: 'counts', inputs: ['count', 'five'], outputs: ['counts'], attrs: { axis: 0 } },
      { op: 'ReduceMin', name: 'fewest', inputs: ['counts'], outputs: ['fewest'], attrs: { keepdims: 1 } },
      { op: 'TopK', name: 'best', inputs: ['values', 'fewest'], outputs: ['best', 'bestAt'] },
      { op: 'Gather', name: 'bestBoxes', inputs: ['chosen', 'bestAt'], outputs: ['bestBoxes'], attrs: { axis: 0 } },
      { op: 'Cast', name: 'labels', inputs: ['labels64'], outputs: ['labels'], attrs: { to: 6 } },
      { op: 'Gather', name: 'label', inputs: ['selected', 'oneLabel'], outputs: ['labels64'], attrs: { axis: 1 } },
    ],
    inputs: [
      { name: 'boxes', shape: [1, boxCount, 4] },
      { name: 'scores', shape: [1, 2, boxCount] },
    ],
    outputs: [
      { name: 'chosen', shape: ['n', 4] },
      { name: 'best', shape: ['k'] },
      { name: 'bestBoxes', shape: ['k', 4] },
      { name: 'labels', type: 'int32', shape: ['n', 1] },
      { name: 'selected', type: 'int64', shape: ['n', 3] },
    ],
    weights: [
      int64('most', 8),
      float('share', 0.3),
      float('least', 0.6),
      int64('zero', 0),
      int64('one', 1),
      int64('two', 2),
      int64('three', 3),
      int64('five', 5),
      int64('order', 0, 2, 1),
      int64('oneLabel', 1),
    ],
  });

function picture(seed) {
  const next = random(seed);
  const boxes = Float32Array.from({ length: 4 * boxCount }, (_, i) => (i % 4 < 2 ? 8 * next() : 0));
  for (let i = 0; i < boxes.length; i += 4) for (const k of [0, 1]) boxes[i + 2 + k] = boxes[i + k] + 1 + 3 * next();
  const top = seed % 5 === 0 ? 0.5 : 1; // now and then there is nothing
  return { boxes, scores: Float32Array.from({ length: 2 * boxCount }, () => top * next()) };
}

describe('sizes that the data decide', () => {
  let engine;
  before(async () => {
    engine = await createEngine({ worker: false });
  });
  after(() => engine.close());

  test('what follows NonMaxSuppression gives what ONNX Runtime gives, and its shapes', async () => {
    const file = detector();
    const reference = await ort.InferenceSession.create(file, { logSeverityLevel: 3 });
    const model = await Model.load(file, { engine });
    const session = await InferenceSession.create(model);
    const sizes = new Set();
    for (let seed = 1; seed <= 20; seed++) {
      const { boxes, scores } = picture(seed);
      const expected = await reference.run({
        boxes: new ort.Tensor('float32', boxes, [1, boxCount, 4]),
        scores: new ort.Tensor('float32', scores, [1, 2, boxCount]),
      });
      const got = await session.run({
        boxes: new Tensor('float32', boxes, [1, boxCount, 4]),
        scores: new Tensor('float32', scores, [1, 2, boxCount]),
      });
      for (const [name, { dims, data }] of Object.entries(expected)) {
        assert.deepEqual(got[name].shape, dims, `${name} of ${seed}`);
        assert.deepEqual([...got[name].data], [...data], `${name} of ${seed}`);
      }
      sizes.add(expected.selected.dims[0]);
    }
    assert.ok(sizes.size > 3 && sizes.has(0), `${[...sizes]}`);
    const { steps, memory } = await session.profile({
      boxes: new Tensor('float32', picture(1).boxes, [1, boxCount, 4]),
      scores: new Tensor('float32', picture(1).scores, [1, 2, boxCount]),
    });
    assert.ok(steps.some(({ node }) => node === 'bestBoxes'));
    assert.ok(memory.arenaBytes > 0);
    await session.close();
    await model.close();
  });

  test('memory stays what it is over a hundred sizes', async () => {
    const model = await Model.load(detector(), { engine });
    const session = await InferenceSession.create(model);
    const run = ({ boxes, scores }) =>
      session.run({ boxes: new Tensor('float32', boxes, [1, boxCount, 4]), scores: new Tensor('float32', scores, [1, 2, boxCount]) });
    for (let seed = 1; seed <= 20; seed++) await run(picture(seed));
    await run(picture(1));
    const { used } = await engine.call('heap', []);
    for (let seed = 1; seed <= 100; seed++) await run(picture(seed));
    await run(picture(1));
    const after = (await engine.call('heap', [])).used;
    assert.ok(after < used + 500, `${after} bytes after ${used}`); // lists have kept room
    await session.close();
    await model.close();
  });

  test('a network with such an end is quantized before it and compared by what goes in there', async () => {
    const next = random(7);
    const file = onnx({
      nodes: [
        { op: 'Conv', name: 'conv', inputs: ['x', 'w'], outputs: ['c'], attrs: { pads: [1, 1, 1, 1] } },
        { op: 'Relu', name: 'relu', inputs: ['c'], outputs: ['r'] },
        { op: 'Conv', name: 'conv2', inputs: ['r', 'w2'], outputs: ['d'], attrs: { pads: [1, 1, 1, 1] } },
        { op: 'Greater', name: 'large', inputs: ['d', 'half'], outputs: ['mask'] },
        { op: 'NonZero', name: 'where', inputs: ['mask'], outputs: ['indices'] },
        { op: 'Transpose', name: 'turn', inputs: ['indices'], outputs: ['places'] },
        { op: 'GatherND', name: 'pick', inputs: ['d', 'places'], outputs: ['y'] },
      ],
      inputs: [{ name: 'x', shape: [1, 3, 8, 8] }],
      outputs: [{ name: 'y', shape: ['n'] }],
      weights: [
        { name: 'w', shape: [8, 3, 3, 3], data: Float32Array.from({ length: 216 }, () => next() - 0.5) },
        { name: 'w2', shape: [4, 8, 3, 3], data: Float32Array.from({ length: 288 }, () => next() - 0.5) },
        float('half', 0.5),
      ],
    });
    const model = await Model.load(file, { engine });
    const samples = Array.from({ length: 4 }, () => Float32Array.from({ length: 192 }, () => next() - 0.5));
    const { nodes } = await model.summary();
    assert.match(nodes.find(({ name }) => name === 'pick').reason, /depends on the data/);
    const { model: int8, report } = await quantizeStatic(model, samples).result;
    assert.deepEqual(
      report.nodes.map(({ name, fate }) => [name, fate]).filter(([name]) => /conv|where|pick/.test(name)),
      [
        ['conv', 'int8'],
        ['conv2', report.nodes.find(({ name }) => name === 'conv2').fate],
        ['where', 'float'],
        ['pick', 'float'],
      ],
    );
    const session = await InferenceSession.create(int8);
    assert.deepEqual(session.outputs[0].shape, ['?']);
    const { y } = await session.run(samples[0]);
    const reference = await ort.InferenceSession.create(await int8.toONNX(), { logSeverityLevel: 3, ...exactCodes });
    const expected = (await reference.run({ x: new ort.Tensor('float32', samples[0], [1, 3, 8, 8]) })).y;
    assert.deepEqual(y.shape, expected.dims);
    const comparison = await compare(model, int8, samples.slice(0, 2));
    assert.ok(comparison.outputs.length > 0);
  });

  test('a shape that the data give may be wrong in one run and right in the next', async () => {
    const model = await Model.load(
      onnx({
        nodes: [{ op: 'Reshape', name: 'reshape', inputs: ['x', 'shape'], outputs: ['y'] }],
        inputs: [
          { name: 'x', shape: [6] },
          { name: 'shape', type: 'int64', shape: [2] },
        ],
        outputs: [{ name: 'y' }],
      }),
      { engine },
    );
    const session = await InferenceSession.create(model);
    const run = (...shape) =>
      session.run({
        x: new Tensor('float32', Float32Array.of(1, 2, 3, 4, 5, 6), [6]),
        shape: new Tensor('int64', BigInt64Array.from(shape, BigInt), [2]),
      });
    assert.deepEqual((await run(2, -1)).y.shape, [2, 3]);
    await rejects(run(4, 2), 'SHAPE_MISMATCH', { where: /reshape/, hint: /^/ });
    assert.deepEqual((await run(6, 1)).y.shape, [6, 1]);
  });
});
