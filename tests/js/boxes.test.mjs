// Boxes: decoding of the detectors that are known, suppression, matching by IoU.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { feeds, modelBytes, networks } from '../../bench/networks.mjs';
import { BoxMatcher, detectorOf, iou } from '../../dist/boxes.js';
import { compare, createEngine, Model, quantizeStatic, Tensor } from '../../dist/index.js';
import { dataFolder, digitsModel, skipWithoutData } from './support.mjs';

const float = (shape, numbers) => new Tensor('float32', Float32Array.from(numbers), shape);
const decode = (outputs, input) => detectorOf(Object.entries(outputs).map(([name, { shape }]) => ({ name, shape })))(outputs, input);

test('the intersection over the union of boxes', () => {
  assert.equal(iou([0, 0, 2, 2], [0, 0, 2, 2]), 1);
  assert.equal(iou([0, 0, 2, 2], [1, 0, 3, 2]), 2 / 6);
  assert.equal(iou([0, 0, 1, 1], [2, 2, 3, 3]), 0);
  assert.equal(iou([0, 0, 0, 0], [0, 0, 0, 0]), 0);
});

test('corners with class scores: the first class is the background', () => {
  const outputs = {
    scores: float([1, 3, 3], [0.1, 0.9, 0, 0.9, 0.1, 0, 0.2, 0.1, 0.7]),
    boxes: float([1, 3, 4], [0, 0, 0.5, 0.5, 0, 0, 1, 1, 0.25, 0.5, 0.75, 1]),
  };
  const found = decode(outputs, [1, 3, 240, 320]).map(({ box, kind }) => [kind, ...box]);
  assert.deepEqual(found, [
    [1, 0, 0, 0.5, 0.5],
    [2, 0.25, 0.5, 0.75, 1],
  ]);
});

test("YuNet's grids: a centre in its cell, a size by its logarithm", () => {
  const outputs = {};
  for (const stride of [8, 16, 32]) {
    const cells = (32 / stride) * (64 / stride);
    for (const [name, width] of Object.entries({ cls: 1, obj: 1, bbox: 4, kps: 10 }))
      outputs[`${name}_${stride}`] = float([1, cells, width], new Float32Array(cells * width));
  }
  // Row 1, column 3 of the grid of stride 16, which is 4 cells wide.
  outputs.cls_16.data[7] = 0.81;
  outputs.obj_16.data[7] = 1;
  outputs.bbox_16.data.set([0.5, 0.25, Math.log(2), 0], 28);
  const [{ box, score }, ...more] = decode(outputs, [1, 3, 32, 64]);
  assert.equal(more.length, 0);
  assert.ok(Math.abs(score - 0.9) < 1e-6);
  box.forEach((value, i) => assert.ok(Math.abs(value - [40, 12, 72, 28][i]) < 1e-4, `${box}`));
});

test('partners are of one kind and overlap by half; what overlaps a better box is suppressed', () => {
  const matcher = new BoxMatcher();
  const one = (left, score, kind = 1) => ({ box: [left, 0, left + 10, 10], score, kind });
  matcher.add([one(0, 0.9), one(1, 0.8), one(50, 0.7)], [one(0, 0.9), one(50, 0.7, 2), one(80, 0.6)]);
  matcher.add([], []);
  assert.deepEqual(matcher.result(), { agreement: 2 / 5, meanIoU: 1, boxes: { a: 2, b: 3 } });
  assert.deepEqual(new BoxMatcher().result(), { agreement: null, meanIoU: null, boxes: { a: 0, b: 0 } });
});

test('a classifier has no boxes; a function of its own may find some', async () => {
  await using engine = await createEngine({ worker: false });
  const model = await Model.load(digitsModel(), { engine });
  const samples = [new Float32Array(784), new Float32Array(784).fill(1)];
  assert.equal((await compare(model, model, samples)).boxes, null);
  const detect = ({ logits }, input) => [{ box: [0, 0, input[2], input[3]], score: Math.max(...logits.data), kind: 0 }];
  assert.deepEqual((await compare(model, model, samples, { detect })).boxes, { agreement: 1, meanIoU: 1, boxes: { a: 2, b: 2 } });
});

describe('on detectors', { skip: skipWithoutData }, () => {
  for (const name of ['rfb320', 'yunet']) {
    test(name, { skip: !existsSync(join(dataFolder, networks[name].file)) && 'this model is not here' }, async () => {
      await using engine = await createEngine({ worker: false });
      const model = await Model.load(modelBytes(networks[name]), { engine });
      const input = model.inputs[0].name;
      const pictures = [...feeds(networks[name], input, 'test', 2)];
      const { model: int8 } = await quantizeStatic(model, feeds(networks[name], input, 'calib', 8)).result;
      const { boxes } = await compare(model, int8, pictures, { layers: false });
      console.log(`${name}: ${boxes.boxes.a} / ${boxes.boxes.b} boxes, agreement ${boxes.agreement}, mean IoU ${boxes.meanIoU}`);
      assert.ok(boxes.boxes.a >= 5, 'there are several faces in one of the pictures');
      assert.ok(boxes.agreement >= 0.9 && boxes.meanIoU >= 0.85);
      assert.equal((await compare(model, model, pictures, { layers: false })).boxes.agreement, 1);
      assert.equal((await compare(model, int8, pictures, { layers: false, detect: null })).boxes, null);
    });
  }
});
