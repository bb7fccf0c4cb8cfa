// The same integers everywhere: simd and relaxed modules, and ONNX Runtime on the exported file.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import * as ort from 'onnxruntime-node';
import { feeds, modelBytes, networks } from '../../bench/networks.mjs';
import * as octavo from '../../dist/index.js';
import { parityWork, parseParity } from './parity-work.mjs';
import { dataFolder, digitsModel, root, skipWithoutData } from './support.mjs';

const { createEngine, InferenceSession, Model, quantizeStatic } = octavo;
const ortOptions = { logSeverityLevel: 3 };

test('both modules make the file and the logits that tests/data/parity.txt names', async () => {
  const wanted = parseParity(readFileSync(join(root, 'tests/data/parity.txt'), 'utf8'));
  for (const isa of ['simd', 'relaxed']) assert.deepEqual(await parityWork(octavo, digitsModel(), isa), wanted, isa);
});

/** { share of equal codes, largest difference in codes } of a float output on a grid of `scale`. */
function codeDifference(expected, actual, scale) {
  let equal = 0;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(Math.round((expected[i] - actual[i]) / scale));
    equal += difference === 0 ? 1 : 0;
    worst = Math.max(worst, difference);
  }
  return { share: equal / expected.length, worst };
}

describe('against ONNX Runtime', { skip: skipWithoutData }, () => {
  for (const [name, network] of Object.entries(networks)) {
    test(name, { skip: !existsSync(join(dataFolder, network.file)) && 'this model is not here' }, async () => {
      await using engine = await createEngine({ worker: false });
      const bytes = modelBytes(network);
      const model = await Model.load(bytes, { engine });
      const input = model.inputs[0].name;
      const [first, second] = feeds(network, input, 'test', 2);
      const inputShapes = { [input]: first[input].shape };
      const ortFeed = (feed) => ({ [input]: new ort.Tensor('float32', feed[input].data, feed[input].shape) });

      const float = await InferenceSession.create(model, { inputShapes });
      const reference = await ort.InferenceSession.create(bytes, ortOptions);
      // The range of an output is that over both pictures: on a picture without faces a detector's scores hardly vary,
      // and ONNX Runtime itself differs by more between its optimization levels.
      const errors = new Map(float.outputNames.map((output) => [output, { low: 0, high: 0, worst: 0 }]));
      for (const feed of [first, second]) {
        const expected = await reference.run(ortFeed(feed));
        const actual = await float.run(feed);
        for (const [output, error] of errors) {
          expected[output].data.forEach((value, i) => {
            error.low = Math.min(error.low, value);
            error.high = Math.max(error.high, value);
            error.worst = Math.max(error.worst, Math.abs(value - actual[output].data[i]));
          });
        }
      }
      for (const [output, { low, high, worst }] of errors) {
        assert.ok(worst <= 1e-4 * (high - low), `float output ${output}: largest error ${worst}, range ${low} to ${high}`);
      }

      const { model: int8, report } = await quantizeStatic(model, feeds(network, input, 'calib', 8), { inputShapes, evaluateSamples: 1 })
        .result;
      const file = await int8.toONNX();
      const exported = await ort.InferenceSession.create(file, ortOptions);
      const unfused = await ort.InferenceSession.create(file, { ...ortOptions, graphOptimizationLevel: 'disabled' });
      const again = await InferenceSession.create(await Model.load(file, { engine }), { inputShapes });
      const lines = [];
      for (const feed of [first, second]) {
        const expected = await exported.run(ortFeed(feed));
        const actual = await again.run(feed);
        for (const output of again.outputNames) {
          const tensor = report.tensors.find((t) => t.name === output);
          if (!tensor) {
            // A float output, of a Softmax say, has no codes of its own. One code that differs before it may show; ONNX
            // Runtime's own distance between integer kernels and plain float Q/DQ is the measure of what that means.
            const distance = (other) => expected[output].data.reduce((most, value, i) => Math.max(most, Math.abs(value - other[i])), 0);
            const range = Math.max(...expected[output].data) - Math.min(...expected[output].data);
            const worst = distance(actual[output].data);
            const own = distance((await unfused.run(ortFeed(feed)))[output].data);
            assert.ok(
              worst <= Math.max(1e-4 * range, own),
              `float output ${output} of the int8 model: ${worst}, ONNX Runtime's own ${own}`,
            );
            continue;
          }
          const { share, worst } = codeDifference(expected[output].data, actual[output].data, tensor.scale);
          lines.push(`${output}: ${(100 * share).toFixed(3)} % equal, largest difference ${worst}`);
        }
      }
      console.log(`${name}: ${lines.join('; ') || 'no int8 output'}`);
      for (const line of lines) assert.match(line, /^(.*): (100\.000|99\.9\d\d) % equal, largest difference [01]$/, line);
      await int8.close();
    });
  }
});
