// Recipes: a quantization done again to the byte, and what is said where that cannot be.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { createEngine, Model, quantizeStatic } from '../../dist/index.js';
import { convModel, digitFeeds, digitsModel, rejects } from './support.mjs';

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const unfitted = { weight: { rounding: 'nearest' }, biasCorrection: false, equalize: false };

describe('a recipe', () => {
  let engine;
  let model;
  before(async () => {
    engine = await createEngine({ worker: false });
    model = await Model.load(digitsModel(), { engine });
  });
  after(() => engine.close());

  /** Quantizes; the recipe goes through JSON, as it does on a disk. */
  async function make(options = {}, count = 40) {
    const { model: int8, recipe, report } = await quantizeStatic(model, digitFeeds('train', count), options).result;
    return { file: Buffer.from(await int8.toONNX()), recipe: JSON.parse(JSON.stringify(recipe)), report };
  }
  const again = (recipe, samples, more = {}) => quantizeStatic(model, samples, { recipe, ...more }).result;

  test('names what it was made of, and what came out', async () => {
    const { file, recipe, report } = await make();
    assert.equal(recipe.model.sha256, sha256(digitsModel()));
    assert.equal(recipe.file.sha256, sha256(file));
    assert.equal(recipe.file.bytes, file.length);
    assert.equal(recipe.samples.count, 40);
    assert.deepEqual(
      recipe.samples.fitted,
      digitFeeds('train', 32).map(({ data }) => sha256(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))),
    );
    assert.deepEqual(
      recipe.tensors.map(({ name }) => name),
      report.tensors.map(({ name }) => name),
    );
    assert.deepEqual(
      recipe.float.map(({ node }) => node),
      report.nodes.filter(({ fate }) => fate === 'float').map(({ name }) => name),
    );
    assert.ok(recipe.weights.every(({ codes }) => /^[0-9a-f]{16}$/.test(codes)));
  });

  test('makes the same file again of the samples that were fitted to, or of none', async () => {
    for (const [options, count, needed] of [
      [{}, 40, 32],
      [{ activation: { observer: 'percentile' }, exclude: ['/stem/*'], export: { opset: 13, batchNorm: 'muladd' } }, 60, 32],
      [unfitted, 40, 0],
      [{}, 20, 0], // too few to fit to
    ]) {
      const { file, recipe } = await make(options, count);
      assert.equal(recipe.samples.fitted.length, needed);
      for (const given of new Set([needed, count])) {
        const { model: int8, recipe: same } = await again(recipe, digitFeeds('train', given));
        assert.ok(file.equals(await int8.toONNX()), `${JSON.stringify(options)} of ${given} samples`);
        assert.deepEqual(same, recipe);
      }
    }
  });

  test('takes evaluation samples beside it', async () => {
    const { recipe } = await make(unfitted, 8);
    const evaluation = { samples: digitFeeds('test', 5) };
    const { report } = await again(recipe, [], { evaluation });
    assert.equal(report.evaluation.samples, 5);
    assert.equal(report.evaluatedSamples, 0);
  });

  test('keeps how pictures become tensors', async () => {
    const pictures = digitFeeds('train', 4).map(({ data }) => ({
      width: 28,
      height: 28,
      data: Uint8Array.from({ length: 28 * 28 * 4 }, (_, i) => (i % 4 === 3 ? 255 : Math.round(data[i >> 2] * 255))),
    }));
    const image = { range: [-1, 1] };
    const { model: int8, recipe } = await quantizeStatic(model, pictures, { image }).result;
    assert.deepEqual(recipe.image, image);
    const { model: same, report } = await again(recipe, pictures);
    assert.deepEqual(await same.toONNX(), await int8.toONNX());
    assert.equal(report.tensors[0].observedMin, -1);
  });

  test('is refused for another model, other samples, or too few of them', async () => {
    const { recipe } = await make();
    const other = await Model.load(convModel({ inChannels: 1, shape: [1, 1, 28, 28] }), { engine });
    await rejects(quantizeStatic(other, digitFeeds('train', 32), { recipe }).result, 'RECIPE_MISMATCH', {
      what: new RegExp(`another model.*${recipe.model.sha256}`),
      where: /recipe/,
    });
    await rejects(again(recipe, digitFeeds('train', 10)), 'RECIPE_MISMATCH', { what: /first 32 samples; there are 10/ });
    await rejects(again(recipe, []), 'NO_SAMPLES', { what: /first 32 samples; there are 0/ });
    const samples = digitFeeds('train', 32);
    samples[3] = digitFeeds('test', 1)[0];
    await rejects(again(recipe, samples), 'RECIPE_MISMATCH', { what: /Sample 3 / });
  });

  test('that was changed by hand does not pass for the old one', async () => {
    const { recipe } = await make(unfitted, 8);
    recipe.tensors[4].range[1] *= 2;
    const error = await rejects(again(recipe, []), 'RECIPE_MISMATCH', {
      what: /came out otherwise.*first difference is in the weights of '/,
    });
    assert.match(error.what, new RegExp(recipe.file.sha256));
  });

  test('that is none is told apart, part by part', async () => {
    const { recipe } = await make(unfitted, 2);
    for (const [wrong, what] of [
      [7, /not an object/],
      [{ ...recipe, version: 2 }, /version 2.*reads version 1/],
      [{ ...recipe, model: undefined }, /'model'/],
      [{ ...recipe, tensors: {} }, /'tensors'/],
      [{ ...recipe, samples: { count: 2 } }, /'samples\.fitted'/],
    ]) {
      await rejects(again(wrong, []), 'INVALID_OPTION', { what, where: /recipe/ });
    }
    await rejects(again(recipe, [], { equalize: true }), 'INVALID_OPTION', { where: /'equalize'/, hint: /evaluation/ });
  });

  test('ranges make a change of one decision the same as a whole new quantization', async () => {
    const { report } = await make();
    const ranges = Object.fromEntries(report.tensors.map(({ name, range }) => [name, range]));
    const exclude = ['/stem/Conv'];
    const whole = await make({ exclude });
    const quick = await make({ exclude, ranges });
    assert.equal(quick.report.samples, 32, 'what is known is not calibrated again');
    assert.ok(whole.file.equals(quick.file));
    const { name } = report.tensors[5];
    const observerOverrides = { [name]: 'minmax' };
    delete ranges[name];
    const changed = await make({ observerOverrides, ranges });
    assert.ok(changed.file.equals((await make({ observerOverrides })).file));
    assert.equal(changed.report.tensors[5].observer, 'minmax');
  });
});
