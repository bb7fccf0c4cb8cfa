// A recipe made in Node gives the same file in a browser, and the other way round.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEngine, Model, quantizeStatic } from '../../dist/index.js';
import { digitFeeds, digitsModel } from '../js/support.mjs';
import { browserName, openPackage } from './support.mjs';

/** In the page: quantizes the sample network with 40 of its digits; gives { file, recipe }. */
async function work(options) {
  const bytes = async (name) => new Uint8Array(await (await fetch(`/web/public/samples/${name}`)).arrayBuffer());
  const digits = await bytes('digits_train.bin');
  const samples = Array.from({ length: 40 }, (_, i) => Float32Array.from(digits.subarray(785 * i + 1, 785 * i + 785), (x) => x / 255));
  const engine = await window.octavo.createEngine({ worker: false }); // a worker does not see the tab's import map
  const model = await window.octavo.Model.load(await bytes('digits_mobilenet_bn.onnx'), { engine });
  const { model: int8, recipe } = await window.octavo.quantizeStatic(model, samples, options).result;
  return { file: [...(await int8.toONNX())], recipe };
}

test(`Node and ${browserName} follow each other's recipes to the byte`, async () => {
  const { tab, close } = await openPackage();
  await using engine = await createEngine({ worker: false });
  try {
    const model = await Model.load(digitsModel(), { engine });
    const options = { activation: { observer: 'percentile' }, export: { opset: 15 } };
    const { model: int8, recipe } = await quantizeStatic(model, digitFeeds('train', 40), options).result;
    const file = await int8.toONNX();
    const there = await tab.evaluate(work, { recipe });
    assert.ok(Buffer.from(there.file).equals(Buffer.from(file)));
    assert.deepEqual(there.recipe, JSON.parse(JSON.stringify(recipe)));

    const made = await tab.evaluate(work, {});
    const { model: again } = await quantizeStatic(model, digitFeeds('train', 32), { recipe: made.recipe }).result;
    assert.ok(Buffer.from(made.file).equals(Buffer.from(await again.toONNX())));
  } finally {
    await close();
  }
});
