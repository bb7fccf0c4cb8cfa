// The engine that only runs models: the same bytes as the whole one gives, and an error for everything else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare, createEngine, InferenceSession, Model, quantizeDynamic, quantizeStatic } from '../../dist/index.js';
import { digitFeeds, digitsModel, rejects } from './support.mjs';

const outputs = async (engine, file, feeds) => {
  await using model = await Model.load(file, { engine });
  await using session = await InferenceSession.create(model);
  const all = [];
  for (const feed of feeds) all.push(...Object.values(await session.run(feed)).map(({ data }) => Array.from(data)));
  return all;
};

for (const isa of ['simd', 'relaxed']) {
  for (const threads of [1, 2]) {
    test(`an engine without the quantizer runs float and int8 models as the whole one, ${isa}, threads: ${threads}`, async () => {
      const feeds = digitFeeds('test', 3);
      await using whole = await createEngine({ isa, threads });
      await using model = await Model.load(digitsModel(), { engine: whole });
      const { model: int8 } = await quantizeStatic(model, digitFeeds('train', 8)).result;
      const file = await int8.toONNX();
      await using small = await createEngine({ isa, threads, quantizer: false });
      assert.equal(small.features.threadCount, threads);
      assert.equal(small.features.engineClass, whole.features.engineClass);
      const floats = await outputs(whole, digitsModel(), feeds);
      const codes = await outputs(whole, file, feeds);
      assert.notDeepEqual(floats, codes);
      assert.deepEqual(await outputs(small, digitsModel(), feeds), floats);
      assert.deepEqual(await outputs(small, file, feeds), codes);
    });
  }
}

test('what an engine without the quantizer has not says so, and the engine goes on', async () => {
  await using engine = await createEngine({ quantizer: false });
  await using model = await Model.load(digitsModel(), { engine });
  const expected = { what: /quantizer: false/, hint: /without that option/ };
  await rejects(() => quantizeStatic(model, digitFeeds('train', 2)).result, 'INVALID_OPTION', expected);
  await rejects(() => quantizeDynamic(model), 'INVALID_OPTION', expected);
  await rejects(() => model.summary(), 'INVALID_OPTION', expected);
  await rejects(() => model.toONNX(), 'INVALID_OPTION', expected);
  await rejects(() => compare(model, model, digitFeeds('test', 1)), 'INVALID_OPTION', expected);
  await rejects(() => Model.load(Uint8Array.of(1, 2, 3), { engine }), 'INVALID_MODEL');
  assert.equal((await outputs(engine, digitsModel(), digitFeeds('test', 1))).length, 1);
});

test('`quantizer` is true or false', async () => {
  await rejects(createEngine({ quantizer: 'no' }), 'INVALID_OPTION', { what: /quantizer = / });
});
