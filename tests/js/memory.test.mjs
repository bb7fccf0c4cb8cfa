// What an engine's memory holds: sizes in bytes, which do not depend on the machine.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { network } from '../../bench/architectures.mjs';
import { sample } from '../../bench/random.mjs';
import { createEngine, InferenceSession, Model, quantizeStatic } from '../../dist/index.js';

/** MobileNetV2 for pictures of 224 x 224, quantized on one of them in the quickest way. */
async function mobileNet() {
  await using engine = await createEngine({ threads: 1 });
  const { file, inputShape } = network('mobilenetv2', { size: 224 });
  const options = { target: 'onnxruntime', activation: { observer: 'minmax' }, weight: { rounding: 'nearest' }, biasCorrection: false };
  const model = await Model.load(file, { engine });
  const { model: int8 } = await quantizeStatic(model, [sample(inputShape)], { ...options, evaluateSamples: 0 }).result;
  return { bytes: await int8.toONNX(), inputShape };
}

test('MobileNetV2 in int8 takes 12 MB, and 6 MB in use once its model is closed', async () => {
  const { bytes, inputShape } = await mobileNet();
  for (const isa of ['simd', undefined]) {
    await using engine = await createEngine({ worker: false, threads: 1, isa });
    const heap = () => engine.call('heap', []);
    const empty = await heap();
    assert.ok(empty.bytes < 2.5e6, `${empty.bytes} bytes before anything is loaded`);
    const model = await Model.load(bytes, { engine });
    const session = await InferenceSession.create(model);
    const x = sample(inputShape);
    await session.run(x);
    const { memory } = await session.profile(x);
    const both = await heap();
    assert.ok(both.bytes < 12e6, `${both.bytes} bytes with the model and its session`);
    assert.ok(both.bytes < 1.06 * both.used + empty.bytes, `${both.bytes} bytes, of which ${both.used} are used`);
    await model.close();
    const { used } = await heap();
    const planned = memory.arenaBytes + memory.weightBytes;
    assert.ok(used < planned + 8e5, `${used} bytes for ${planned} planned`);
    assert.ok(used < 6.2e6);
    await session.close();
    assert.ok((await heap()).used < empty.used + 2e4); // tables that are made once
  }
});
