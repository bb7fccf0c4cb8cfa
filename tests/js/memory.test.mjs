// What an engine's memory holds: sizes in bytes, which do not depend on the machine.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
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

/** How many of the values that `each` gives, one call after the other, are still held when all are done with and garbage is collected. */
async function held(count, each) {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc');
  const made = [];
  for (let i = 0; i < count; i++) made.push(new WeakRef(await each(i)));
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve));
    gc();
  }
  return made.filter((one) => one.deref()).length;
}

test('an engine holds no outputs of runs, and a job no samples, that nobody else holds', async () => {
  const { file, inputShape } = network('mobilenetv2', { size: 32 });
  for (const worker of [true, false]) {
    await using engine = await createEngine({ worker, threads: 1 });
    const session = await InferenceSession.create(file, { engine });
    const x = sample(inputShape);
    const outputs = await held(50, async () => Object.values(await session.run(x))[0].data.buffer);
    assert.ok(outputs <= 2, `${outputs} of 50 outputs are held (worker: ${worker})`);
  }
  await using engine = await createEngine({ worker: true, threads: 1 });
  const model = await Model.load(file, { engine });
  const samples = [];
  const options = { activation: { observer: 'minmax' }, weight: { rounding: 'nearest' }, biasCorrection: false, evaluateSamples: 0 };
  const { signal } = new AbortController();
  let asked = 0;
  const source = async function* () {
    for (; asked < 20; asked++) {
      const one = sample(inputShape);
      samples.push(new WeakRef(one));
      yield one;
    }
    const kept = await held(1, async () => ({})); // collects garbage
    assert.equal(kept, 0);
    const count = samples.filter((one) => one.deref()).length;
    assert.ok(count <= 2, `${count} of 20 samples are held`);
  };
  await quantizeStatic(model, source(), { ...options, signal }).result;
  assert.equal(asked, 20);
});
