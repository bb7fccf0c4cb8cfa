// Sessions that take pictures as bytes: the same results as of images(), in fewer steps.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { network } from '../../bench/architectures.mjs';
import { createEngine, InferenceSession, imagePresets, images, Model, quantizeStatic, Tensor } from '../../dist/index.js';
import { convModel, digitFeeds, digitsModel, onnx, rejects } from './support.mjs';

/** Pixels of a size whose bytes take all values. */
const picture = (width, height, seed = 1) => {
  const data = new Uint8ClampedArray(width * height * 4);
  for (let i = 0; i < data.length; i++) data[i] = (i * 2654435761 * seed) >>> 11;
  return { data, width, height };
};
const tensorsOf = async (pictures, options) => Array.fromAsync(images(pictures, options));

for (const isa of ['simd', 'relaxed'])
  test(`pictures as bytes give what images() gives, ${isa}`, async (t) => {
    await using engine = await createEngine({ worker: false, isa });
    const cases = [
      { name: 'RGB', file: network('mobilenetv2', { size: 32 }).file, size: 32, options: imagePresets.imagenet },
      {
        name: 'BGR',
        file: network('mobilenetv2', { size: 32 }).file,
        size: 32,
        options: { channels: 'BGR', range: [0, 255], mean: [127.5] },
      },
      { name: 'grey', file: digitsModel(), size: 28, options: { channels: 'GRAY' } },
    ];
    for (const { name, file, size, options } of cases) {
      await t.test(name, async () => {
        const float = await Model.load(file, { engine });
        const pictures = [1, 2, 3].map((seed) => picture(size, size, seed));
        const tensors = await tensorsOf(pictures, options);
        const { model: int8 } = await quantizeStatic(float, tensors, { evaluateSamples: 1 }).result;
        for (const model of [float, int8]) {
          const ofTensors = await InferenceSession.create(model);
          const ofPixels = await InferenceSession.create(model, { pixels: options });
          assert.deepEqual(ofPixels.inputs, [{ name: model.inputs[0].name, type: 'uint8', shape: [1, size, size, 4] }]);
          for (const [i, one] of pictures.entries()) {
            const expected = Object.values(await ofTensors.run(tensors[i]))[0].data;
            assert.deepEqual(Object.values(await ofPixels.run(one))[0].data, expected);
            const bytes = new Tensor('uint8', new Uint8Array(one.data), [1, size, size, 4]);
            assert.deepEqual(Object.values(await ofPixels.run(bytes))[0].data, expected);
          }
          const { steps } = await ofPixels.profile(pictures[0]);
          assert.equal(steps[0].op, 'Pixels');
          const others = steps.filter(({ op }) => ['QuantizeLinear', 'ToChannelsLast'].includes(op));
          assert.deepEqual(others, [], 'it writes what the first convolution reads');
        }
      });
    }
  });

test('channels last, several pictures at once, and in a worker', async () => {
  await using engine = await createEngine();
  const file = onnx({
    nodes: [{ op: 'Relu', name: 'relu', inputs: ['x'], outputs: ['y'] }],
    inputs: [{ name: 'x', shape: ['N', 5, 7, 3] }],
    outputs: [{ name: 'y', shape: ['N', 5, 7, 3] }],
  });
  const model = await Model.load(file, { engine });
  const session = await InferenceSession.create(model, { pixels: {}, inputShapes: { x: [2, 5, 7, 3] } });
  const pictures = [picture(7, 5, 1), picture(7, 5, 2)];
  const both = new Uint8Array(2 * 5 * 7 * 4);
  pictures.forEach(({ data }, i) => void both.set(data, i * data.length));
  const { y } = await session.run(new Tensor('uint8', both, [2, 5, 7, 4]));
  const expected = (await tensorsOf(pictures, { layout: 'NHWC' })).flatMap(({ data }) => [...data]);
  assert.deepEqual([...y.data], expected);
  assert.equal(pictures[0].data.length, 140, "the caller's memory stays the caller's");
});

test('a picture of another size is resized and rounded', async () => {
  await using engine = await createEngine({ worker: false });
  const model = await Model.load(convModel({ inChannels: 3, shape: [1, 3, 4, 4] }), { engine });
  const session = await InferenceSession.create(model, { pixels: {} });
  const large = picture(9, 6);
  const [tensor] = await tensorsOf([large], { size: [4, 4] });
  const rounded = new Tensor(
    'float32',
    Float32Array.from(tensor.data, (x) => Math.fround(Math.round(x * 255) / 255)),
    tensor.shape,
  );
  const ofTensors = await InferenceSession.create(model);
  const [a, b] = [await session.run(large), await ofTensors.run(rounded)].map(({ y }) => y.data);
  for (let i = 0; i < a.length; i++) assert.ok(Math.abs(a[i] - b[i]) < 1e-6, `${a[i]} is ${b[i]}`);
});

let engine;
before(async () => {
  engine = await createEngine({ worker: false });
});
after(() => engine.close());

test('what cannot take pixels, and pixels that do not fit, are refused', async () => {
  const open = async (bytes, pixels = {}) => InferenceSession.create(await Model.load(bytes, { engine }), { pixels });
  await rejects(open(convModel()), 'SHAPE_MISMATCH', { what: /no picture of 3 channels/, where: /input 'x'/ });
  await rejects(open(digitsModel()), 'SHAPE_MISMATCH', { hint: /tensors/ });
  const add = onnx({
    nodes: [{ op: 'Add', name: 'add', inputs: ['a', 'b'], outputs: ['y'] }],
    inputs: ['a', 'b'].map((name) => ({ name, shape: [1, 3, 4, 4] })),
    outputs: [{ name: 'y', shape: [1, 3, 4, 4] }],
  });
  await rejects(open(add), 'SHAPE_MISMATCH', { what: /2 inputs/ });
  await rejects(open(digitsModel(), { channels: 'CMYK' }), 'INVALID_OPTION', { what: /CMYK/ });
  await rejects(open(digitsModel(), { channels: 'GRAY', std: [0] }), 'INVALID_OPTION', { what: /std/ });
  const session = await open(digitsModel(), { channels: 'GRAY' });
  await rejects(session.run(digitFeeds('test', 1)[0]), 'SAMPLE_DTYPE');
  await rejects(session.run(new Tensor('uint8', new Uint8Array(28 * 28 * 3), [1, 28, 28, 3])), 'SAMPLE_SHAPE');
  await rejects(session.run({ data: new Uint8Array(5), width: 1, height: 1 }), 'BAD_IMAGE');
});
