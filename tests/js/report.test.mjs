// The report as a page, and what it says of other runtimes.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createEngine, Model, portabilityNotes, quantizeStatic } from '../../dist/index.js';
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
});
