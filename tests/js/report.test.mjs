// The report as a page, and what it says of other runtimes.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createEngine, Model, portabilityNotes, quantizeStatic, Report } from '../../dist/index.js';
import { digitFeeds, digitsModel, onnx } from './support.mjs';

describe('a report', () => {
  let engine;
  before(async () => {
    engine = await createEngine({ worker: false });
  });
  after(() => engine.close());
  const quantize = async (bytes, samples, options) => {
    const model = await Model.load(bytes, { engine });
    return (await quantizeStatic(model, samples, options).result).report;
  };

  test('shows the most damaged tensors first, each with float and int8 values', async () => {
    const report = await quantize(digitsModel(), digitFeeds('train', 40), { evaluation: { samples: digitFeeds('test', 10) } });
    for (const { histogram, name } of report.tensors) {
      assert.equal(histogram.int8.length, histogram.counts.length);
      const sum = (list) => list.reduce((a, b) => a + b, 0);
      assert.equal(sum(histogram.int8), sum(histogram.counts), name);
    }
    const html = report.toHTML();
    const shown = [...html.matchAll(/class="num">([\d.]+) dB/g)].map(([, decibels]) => Number(decibels));
    assert.equal(shown.length, report.tensors.filter(({ sqnr }) => sqnr !== null).length);
    assert.deepEqual(
      shown,
      [...shown].sort((a, b) => a - b),
    );
    assert.match(html, /largest error, on sample \d/);
    assert.match(html, /<path d="M[\d.]/);
    assert.ok(!/NaN|undefined/.test(html));
  });

  test('draws the channels of an equalized tensor before and after', async () => {
    const report = await quantize(digitsModel(), digitFeeds('train', 2));
    assert.ok(!report.toHTML().includes('equalization:'));
    const [first, ...others] = report.tensors;
    const channels = { before: [0.5, 8, 2048], after: [1, 2, 4] };
    const html = new Report({ ...report.toJSON(), tensors: [{ ...first, channels }, ...others] }).toHTML();
    assert.match(html, /Channels before equalization: 0\.5 to 2048/);
    assert.match(html, /After: 1 to 4/);
    // log2 of 2048 is 11, the least of all is -1: one below that is the foot.
    const heights = [...html.matchAll(/width="\.8" height="([\d.]+)"/g)].map(([, height]) => Number(height));
    assert.deepEqual(heights, [3.1, 15.4, 40, 6.2, 9.2, 12.3]);
  });

  test("escapes the model's names", async () => {
    const name = '<img src=x onerror="alert(1)">&\'';
    const nodes = [{ op: 'Relu', name, inputs: ['x'], outputs: [name] }];
    const file = onnx({ nodes, inputs: [{ name: 'x', shape: [1, 4] }], outputs: [{ name, shape: [1, 4] }] });
    const html = (await quantize(file, [new Float32Array([-1, 0, 1, 2])], {})).toHTML();
    assert.ok(!html.includes('<img'));
    assert.ok(html.includes('&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;&#39;'));
  });

  test('says what other runtimes do with the file, where that applies', async () => {
    const nodes = [{ op: 'Relu', name: 'relu', inputs: ['x'], outputs: ['y'] }];
    const notes = async (opset, options) =>
      portabilityNotes(
        await quantize(onnx({ nodes, opset, inputs: [{ name: 'x', shape: [1, 4] }] }), [new Float32Array(4).fill(1)], options),
      );
    const all = await notes(9, { activation: { dtype: 'qint8' } });
    for (const [i, pattern] of [/int8: ONNX Runtime/, /AVX2/, /opset 9/, /stay float/].entries()) assert.match(all[i], pattern);
    assert.deepEqual(await notes(13, { weight: { reduceRange: true }, target: 'onnxruntime' }), []);
  });

  test('tells what the target costs in error, time and bytes', async () => {
    const samples = digitFeeds('train', 34);
    const options = { compareTargets: true, evaluation: { samples: digitFeeds('test', 40) } };
    const report = await quantize(digitsModel(), samples, options);
    assert.deepEqual(
      report.targets.map(({ target }) => target),
      ['octavo', 'onnxruntime'],
    );
    const [own, other] = report.targets;
    assert.equal(own.relativeRms, report.evaluation.outputs[0].relativeRms);
    assert.equal(own.top1Agreement, report.evaluation.top1Agreement);
    assert.equal(own.bytes, report.model.int8Bytes);
    // It is what quantizing for the other target gives.
    const theirs = await quantize(digitsModel(), samples, { ...options, compareTargets: false, target: 'onnxruntime' });
    assert.equal(other.relativeRms, theirs.evaluation.outputs[0].relativeRms);
    assert.equal(theirs.targets, null);
    assert.ok(own.relativeRms < other.relativeRms && own.milliseconds > 0 && other.milliseconds > 0);
    assert.match(report.toHTML(), /What the target costs.*octavo.*onnxruntime/s);
    const once = (function* () {
      yield* samples;
    })();
    await assert.rejects(quantize(digitsModel(), once, { compareTargets: true }), { code: 'INVALID_OPTION' });
  });
});
