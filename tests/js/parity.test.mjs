// The same integers everywhere: simd and relaxed modules, and ONNX Runtime on the exported file.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import * as ort from 'onnxruntime-node';
import { feeds, modelBytes, networks } from '../../bench/networks.mjs';
import * as octavo from '../../dist/index.js';
import { exposeCodes } from '../../dist/verify.js';
import { exactCodes } from '../../tools/conformance.mjs';
import { parityWork, parseParity } from './parity-work.mjs';
import { dataFolder, digitsModel, root, skipWithoutData } from './support.mjs';

const { createEngine, InferenceSession, Model, quantizeStatic } = octavo;
const ortOptions = { logSeverityLevel: 3, ...exactCodes };

test('both modules make the file and the logits that tests/data/parity.txt names', async () => {
  const wanted = parseParity(readFileSync(join(root, 'tests/data/parity.txt'), 'utf8'));
  for (const isa of ['simd', 'relaxed']) assert.deepEqual(await parityWork(octavo, digitsModel(), isa), wanted, isa);
});

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

      const { model: int8 } = await quantizeStatic(model, feeds(network, input, 'calib', 8), { inputShapes, evaluateSamples: 1 }).result;
      const file = await int8.toONNX();
      // Every int8 tensor of the network, not only its outputs.
      const { file: open, names } = exposeCodes(file);
      const exported = await ort.InferenceSession.create(open, ortOptions);
      const again = await InferenceSession.create(await Model.load(open, { engine }), { inputShapes });
      let [codes, equal, worst] = [0, 0, 0];
      for (const feed of [first, second]) {
        const expected = await exported.run(ortFeed(feed));
        const actual = await again.run(feed);
        for (const code of names) {
          const [a, b] = [expected[code].data, actual[code].data];
          assert.equal(a.length, b.length, code);
          codes += a.length;
          for (let i = 0; i < a.length; i++) {
            equal += a[i] === b[i] ? 1 : 0;
            worst = Math.max(worst, Math.abs(a[i] - b[i]));
          }
        }
      }
      console.log(
        `${name}: ${names.length} int8 tensors, ${((100 * equal) / codes).toFixed(4)} % of ${codes} codes equal, largest difference ${worst}`,
      );
      assert.ok(equal >= 0.999 * codes && worst <= 1, `${equal} of ${codes} codes are equal, the largest difference is ${worst}`);
      await int8.close();
    });
  }
});
