// Calibrations that are saved, gone on with and merged.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { calibrate, createEngine, Model, quantizeStatic } from '../../dist/index.js';
import { convModel, digitFeeds, digitsModel, rejects } from './support.mjs';

const unfitted = { weight: { rounding: 'nearest' }, biasCorrection: false, equalize: false };

describe('a saved calibration', () => {
  let engine;
  let other;
  let model;
  let twin;
  const samples = digitFeeds('train', 70);
  before(async () => {
    engine = await createEngine({ worker: false });
    other = await createEngine();
    model = await Model.load(digitsModel(), { engine });
    twin = await Model.load(digitsModel(), { engine: other });
  });
  after(async () => {
    await engine.close();
    await other.close();
  });

  /** The file, and who says how it was made. */
  async function quantize(given, options) {
    const { model: int8, recipe, report } = await quantizeStatic(model, given, options).result;
    return { file: Buffer.from(await int8.toONNX()), recipe, report };
  }

  test('stands for its samples, to the byte and in the recipe', async () => {
    for (const options of [{}, unfitted, { activation: { observer: 'minmax' } }]) {
      const whole = await quantize(samples, options);
      const { state } = await calibrate(model, samples, options).result;
      const made = await quantize([], { ...options, calibration: [state] });
      assert.ok(whole.file.equals(made.file), JSON.stringify(options));
      assert.deepEqual(made.recipe, whole.recipe);
      assert.equal(made.report.samples, 70);
    }
  });

  test('is gone on with in another engine', async () => {
    const whole = await quantize(samples, {});
    for (const first of [10, 40]) {
      const { state } = await calibrate(model, samples.slice(0, first)).result;
      const { state: later } = await calibrate(twin, samples.slice(first), { calibration: [state] }).result;
      assert.ok(whole.file.equals((await quantize([], { calibration: [later] })).file));
      assert.ok(whole.file.equals((await quantize(samples.slice(first), { calibration: [state] })).file));
    }
  });

  test('of one engine merges with that of another to what one would have found', async () => {
    for (const options of [{}, { activation: { observer: 'minmax' } }, { activation: { observer: 'auto' }, target: 'onnxruntime' }]) {
      const whole = await quantize(samples, options);
      const first = await calibrate(model, samples.slice(0, 40), options).result;
      const second = await calibrate(twin, samples.slice(40), { ...options, calibration: [first.basis] }).result;
      const merged = await quantize([], { ...options, calibration: [first.state, second.state] });
      assert.ok(whole.file.equals(merged.file), JSON.stringify(options));
      assert.deepEqual(merged.recipe, whole.recipe);
      // Alone neither is the whole.
      assert.ok(!whole.file.equals((await quantize([], { ...options, calibration: [first.state] })).file));
    }
  });

  test('needs no basis where nothing is fitted, and has none of too few samples where something is', async () => {
    const options = { ...unfitted, activation: { observer: 'minmax' } };
    const whole = await quantize(samples.slice(0, 20), options);
    const first = await calibrate(model, samples.slice(0, 8), options).result;
    const second = await calibrate(twin, samples.slice(8, 20), options).result;
    assert.ok(whole.file.equals((await quantize([], { ...options, calibration: [first.state, second.state] })).file));
    assert.equal((await calibrate(model, samples.slice(0, 8)).result).basis, null);
  });

  test('is refused where it is none, of another model, or of other options', async () => {
    const { state } = await calibrate(model, samples.slice(0, 4), unfitted).result;
    const load = (bytes, options = unfitted, of = model) => quantizeStatic(of, [], { ...options, calibration: [bytes] }).result;
    await rejects(load(state.slice(0, 100)), 'INVALID_STATE', { what: /not a saved calibration/ });
    await rejects(load(new Uint8Array()), 'INVALID_STATE');
    await rejects(load(state, { ...unfitted, activation: { observer: 'percentile' } }), 'INVALID_STATE');
    const conv = await Model.load(convModel({ inChannels: 1, shape: [1, 1, 28, 28] }), { engine });
    await rejects(load(state, unfitted, conv), 'INVALID_STATE', { what: /another network/ });
    for (const calibration of [state, [1]])
      await rejects(quantizeStatic(model, [], { calibration }).result, 'INVALID_OPTION', { where: /calibration/ });
    const { recipe } = await quantize(samples.slice(0, 4), unfitted);
    await rejects(quantizeStatic(model, [], { recipe, calibration: [state] }).result, 'INVALID_OPTION', { what: /'calibration'/ });
  });

  test('has no samples for another observer; other layers in float need none', async () => {
    const { state } = await calibrate(model, samples, {}).result;
    const result = await quantizeStatic(model, [], { calibration: [state], keep: true }).result;
    const tensor = result.report.tensors[1].name;
    const without = await result.change({ exclude: ['/stem/*'] }).result;
    const whole = await quantize(samples, { exclude: ['/stem/*'] });
    assert.ok(whole.file.equals(Buffer.from(await without.model.toONNX())));
    await rejects(without.change({ observerOverrides: { [tensor]: 'minmax' } }).result, 'INVALID_OPTION', { what: /saved calibration/ });
  });

  test('can be aborted, and leaves nothing behind', async () => {
    const alive = await engine.call('liveObjects', []);
    const job = calibrate(model, samples);
    for await (const _ of job) {
      job.abort();
      break;
    }
    await rejects(job.result, 'ABORTED', { hint: /^/ });
    await calibrate(model, samples.slice(0, 2)).result;
    assert.equal(await engine.call('liveObjects', []), alive);
  });
});
