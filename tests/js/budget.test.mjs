// Mixed precision: the search by itself, and on networks that need it, do not need it, or cannot be helped.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { network } from '../../bench/architectures.mjs';
import { sample } from '../../bench/random.mjs';
import { searchFloatLayers } from '../../dist/budget.js';
import { compare, createEngine, Model, quantizeStatic } from '../../dist/index.js';
import { digitFeeds, digits, digitsModel, onnx, rejects } from './support.mjs';

describe('the search for float layers', () => {
  /** Layers with what each loses in int8; losses add up. */
  const losing = (losses, milliseconds = losses.map(() => 1)) => {
    const tried = [];
    const candidates = losses.map((noise, i) => ({ node: `n${i}`, noise, milliseconds: milliseconds[i] }));
    const drop = (float) => losses.reduce((sum, loss, i) => (float.includes(`n${i}`) ? sum : sum + loss), 0);
    return {
      tried,
      find: (maxDrop) =>
        searchFloatLayers(candidates, { maxDrop, int8Drop: drop([]) }, async (float) => {
          tried.push(float);
          return drop(float);
        }),
      drop,
    };
  };

  test('takes the layers that lose most, no more than are needed', async () => {
    const { find, drop } = losing([1, 0.1, 5, 0.2, 3, 0.1]);
    assert.deepEqual(await find(4.5), ['n2']);
    assert.deepEqual(await find(1.5), ['n2', 'n4']);
    assert.deepEqual(await find(0.5), ['n2', 'n4', 'n0']);
    assert.equal(drop(await find(0)), 0);
  });

  test('leaves out what only seemed to be needed', async () => {
    // By itself n0 loses most, but nothing comes of it behind n1.
    const drop = (float) => (float.includes('n1') ? 0 : 1);
    const candidates = [
      { node: 'n0', noise: 9, milliseconds: 1 },
      { node: 'n1', noise: 5, milliseconds: 1 },
    ];
    assert.deepEqual(await searchFloatLayers(candidates, { maxDrop: 0.5, int8Drop: 1 }, async (float) => drop(float)), ['n1']);
  });

  test('takes the cheaper of two that lose alike', async () => {
    const { find } = losing([1, 1], [10, 1]);
    assert.deepEqual(await find(1.5), ['n1']);
  });

  test('measures few of many layers', async () => {
    const losses = Array.from({ length: 200 }, (_, i) => 1 / (i + 1));
    const { find, tried } = losing(losses);
    const float = await find(3);
    assert.ok(float.length > 5 && float.length < 20, String(float.length));
    assert.ok(tried.length < 25, String(tried.length));
  });

  test('gives what comes nearest where nothing is enough', async () => {
    const { find } = losing([1, 2, 3]);
    assert.deepEqual((await find(-1)).sort(), ['n0', 'n1', 'n2']);
    assert.deepEqual(await searchFloatLayers([], { maxDrop: 0, int8Drop: 1 }, async () => 1), []);
  });
});

describe('a budget', () => {
  let engine;
  let digitsNetwork;
  before(async () => {
    engine = await createEngine({ worker: false });
    digitsNetwork = await Model.load(digitsModel(), { engine });
  });
  after(() => engine.close());

  /**
   * Three 1x1 convolutions. The first makes a channel of zeros, for which the second has weights a thousand times its others: on their scale the others
   * vanish.
   */
  const oneBadLayer = () => {
    const [channels, area] = [6, 16];
    let state = 7;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 31 - 1;
    };
    const square = (change) => Float32Array.from({ length: channels * channels }, (_, i) => change(random(), i));
    const model = onnx({
      nodes: ['first', 'second', 'third'].map((name, i) => ({
        op: 'Conv',
        name,
        inputs: [i === 0 ? 'x' : `v${i - 1}`, `w${i}`],
        outputs: [i === 2 ? 'y' : `v${i}`],
        attrs: { kernel_shape: [1, 1] },
      })),
      inputs: [{ name: 'x', shape: [1, channels, 4, 4] }],
      outputs: [{ name: 'y', shape: [1, channels, 4, 4] }],
      weights: [
        { name: 'w0', shape: [channels, channels, 1, 1], data: square((value, i) => (i < channels ? 0 : value)) },
        { name: 'w1', shape: [channels, channels, 1, 1], data: square((value, i) => (i % channels === 0 ? 1000 * value : value)) },
        { name: 'w2', shape: [channels, channels, 1, 1], data: square((value) => value) },
      ],
    });
    const samples = Array.from({ length: 40 }, () => Float32Array.from({ length: channels * area }, random));
    return { model, samples };
  };
  const badly = { weight: { scheme: 'per_tensor_symmetric', rounding: 'nearest' }, equalize: false, target: 'onnxruntime' };

  test('keeps the one layer float that was built to lose, and the recipe keeps that', async () => {
    const { model: bytes, samples } = oneBadLayer();
    const model = await Model.load(bytes, { engine });
    const options = { ...badly, observerOverrides: { v1: 'minmax' } };
    const plain = await quantizeStatic(model, samples, options).result;
    const lost = async (int8) => (await compare(model, int8, samples, { layers: false })).outputs[0].relativeRms;
    const allInt8 = await lost(plain.model);
    const {
      model: int8,
      report,
      recipe,
    } = await quantizeStatic(model, samples, { ...options, budget: { metric: 'sqnr', maxDrop: allInt8 / 3 } }).result;
    assert.ok(report.budget.met);
    assert.deepEqual(report.budget.float, ['second']);
    assert.ok(Math.abs(report.budget.int8Drop - allInt8) < 1e-9);
    assert.ok((await lost(int8)) <= allInt8 / 3);
    assert.equal(report.nodes.find(({ name }) => name === 'second').fate, 'float');
    assert.deepEqual(recipe.options.exclude, ['second']);
    const again = await quantizeStatic(model, samples, { recipe }).result;
    assert.deepEqual(await again.model.toONNX(), await int8.toONNX());
  });

  test('leaves all layers int8 where that meets it', async () => {
    const samples = digitFeeds('train', 40);
    const evaluation = { samples: digitFeeds('test', 60), labels: digits('test', 60).map(({ label }) => label) };
    const plain = await quantizeStatic(digitsNetwork, samples, { evaluation }).result;
    for (const metric of ['top1', 'top1Agreement', 'sqnr', ({ comparison }) => 1 - comparison.top1Agreement]) {
      const { model, report } = await quantizeStatic(digitsNetwork, samples, { evaluation, budget: { metric, maxDrop: 0.05 } }).result;
      assert.ok(report.budget.met);
      assert.deepEqual(report.budget.float, []);
      assert.equal(report.budget.tried, 1);
      assert.deepEqual(await model.toONNX(), await plain.model.toONNX());
    }
  });

  test('says so where it cannot be met, with the nearest that was found', async () => {
    const live = await engine.call('liveObjects', []);
    const samples = digitFeeds('train', 8);
    const budget = { metric: ({ comparison }) => 1 + comparison.outputs[0].relativeRms, maxDrop: 0.5 };
    const { model, report } = await quantizeStatic(digitsNetwork, samples, { budget }).result;
    assert.equal(report.budget.met, false);
    assert.ok(report.budget.drop < report.budget.int8Drop);
    assert.ok(report.budget.float.length > 0);
    await model.close();
    assert.equal(await engine.call('liveObjects', []), live); // networks that were tried are freed
  });

  test('is refused where it cannot be measured', async () => {
    const samples = digitFeeds('train', 4);
    const refused = (budget, what, more = {}) =>
      rejects(quantizeStatic(digitsNetwork, more.samples ?? samples, { budget }).result, 'INVALID_OPTION', { what });
    await refused({ metric: 'accuracy', maxDrop: 1 }, /no metric "accuracy"/);
    await refused({ metric: 'sqnr', maxDrop: '1' }, /maxDrop/);
    await refused({ metric: 'top1', maxDrop: 0.1 }, /right answers/);
    await refused({ metric: () => 'much', maxDrop: 0.1 }, /no number/);
    await refused({ metric: 'sqnr', maxDrop: 0.1 }, /read once only/, { samples: digitFeeds('train', 4).values() });
  });
});

describe('a kept quantization', () => {
  let engine;
  let model;
  before(async () => {
    engine = await createEngine({ worker: false });
    model = await Model.load(digitsModel(), { engine });
  });
  after(() => engine.close());
  const samples = digitFeeds('train', 40);

  test('changes to what a new one gives, of less work', async () => {
    const first = await quantizeStatic(model, samples, { keep: true }).result;
    const [tensor] = first.report.tensors.slice(3);
    const layer = first.report.weights.at(-2).node;
    for (const decisions of [{ exclude: [layer] }, { exclude: [], observerOverrides: { [tensor.name]: 'minmax' } }]) {
      const changed = await first.change(decisions).result;
      const anew = await quantizeStatic(model, samples, decisions).result;
      assert.deepEqual(await changed.model.toONNX(), await anew.model.toONNX());
      assert.deepEqual(changed.recipe, anew.recipe);
      const [less, all] = [changed.report.work, anew.report.work];
      assert.ok(less.calibrated <= 1 && less.calibrated < all.calibrated, JSON.stringify(less));
      assert.ok(less.fitted < all.fitted, JSON.stringify([less, all]));
    }
    const { report } = await first.change({ sensitivity: true }).result;
    assert.ok(report.sensitivity.length > 5);
    assert.match(report.toHTML(), /What each layer costs by itself/);
    await first.close();
    await rejects(first.change({}).result, 'INVALID_STATE', { what: /closed/ });
  });

  test('an abort frees it, and what is not kept cannot be changed', async () => {
    const live = await engine.call('liveObjects', []);
    const plain = await quantizeStatic(model, samples.slice(0, 4)).result;
    await rejects(plain.change({ exclude: [] }).result, 'INVALID_STATE', { hint: /keep: true/ });
    await plain.model.close();
    const { file, inputShape } = network('mobilenetv2', { size: 64 }); // so many layers that it takes a while on any machine
    const many = await Model.load(file, { engine });
    const kept = await quantizeStatic(
      many,
      [1, 2, 3, 4].map((seed) => sample(inputShape, seed)),
      { keep: true },
    ).result;
    const change = kept.change({ sensitivity: true });
    for await (const _ of change) break; // it has begun, and layers are still to be measured
    change.abort();
    await rejects(change.result, 'ABORTED', { hint: /^/ });
    await kept.model.close();
    await many.close();
    assert.equal(await engine.call('liveObjects', []), live);
  });
});
