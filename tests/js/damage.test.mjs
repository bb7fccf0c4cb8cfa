// Networks with a byte changed, from the file to the result, in the modules that pages load: an error with a code, or what the others compute.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createEngine, InferenceSession, Model, OctavoError } from '../../dist/index.js';
import { root } from './support.mjs';

const changes = 400; // of each file
const isas = ['relaxed', 'simd'];

function* random(seed) {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state >>> 8;
  }
}

const feedOf = ({ type, shape }) => {
  const dims = shape.map((dim) => (typeof dim === 'number' ? dim : 1));
  const size = dims.reduce((a, b) => a * b, 1);
  const Data = { float32: Float32Array, int64: BigInt64Array, int32: Int32Array, int8: Int8Array }[type] ?? Uint8Array;
  return {
    data: Data.from({ length: size }, (_, i) => (type === 'int64' ? BigInt(i % 2) : ((i * 37) % 64) / (type === 'float32' ? 32 : 1))),
    shape: dims,
  };
};

/** The outputs, or the code of what was thrown. */
async function outcome(bytes, engine) {
  const model = await Model.load(new Uint8Array(bytes), { engine, memoryLimit: 2 ** 26 }).catch((error) => error);
  if (!(model instanceof Model)) return model;
  try {
    await using session = await InferenceSession.create(model, { memoryLimit: 2 ** 26 });
    const feeds = Object.fromEntries(session.inputs.map((info) => [info.name, feedOf(info)]));
    return await session.run(feeds);
  } catch (error) {
    return error;
  } finally {
    await model.close();
  }
}

const engineOf = async (isa) => {
  const engine = await createEngine({ isa, worker: false }).catch(() => undefined);
  return engine?.features.isa === isa ? engine : undefined;
};

for (const [name, exact] of [
  ['float', false],
  ['qoperator_qint8', true],
]) {
  test(`${name}.onnx with a byte changed gives an error with a code, or one result in all modules`, async (t) => {
    const whole = readFileSync(join(root, `tests/data/golden/onnx/${name}.onnx`));
    const [first, second] = await Promise.all(isas.map(engineOf));
    if (!first || !second) return t.skip('this machine runs one module alone');
    const numbers = random(20);
    const seen = { errors: 0, results: 0 };
    for (let i = 0; i < changes; i++) {
      const damaged = Uint8Array.from(whole);
      const at = numbers.next().value % whole.length;
      damaged[at] ^= 1 + (numbers.next().value % 255);
      const [a, b] = [await outcome(damaged, first), await outcome(damaged, second)];
      const where = `change ${i}, byte ${at}`;
      if (a instanceof Error || b instanceof Error) {
        assert.ok(a instanceof OctavoError && b instanceof OctavoError, `${where}: ${a?.stack ?? 'a result'}, ${b?.stack ?? 'a result'}`);
        assert.equal(a.code, b.code, where);
        assert.ok(!['INTERNAL', 'ENGINE_CRASHED'].includes(a.code), `${where}: ${a.message}`);
        seen.errors++;
        continue;
      }
      // Float sessions may add with one rounding where the machine has it.
      if (exact) assert.deepEqual(a, b, where);
      else
        assert.deepEqual(
          Object.entries(a).map(([key, { shape }]) => [key, shape]),
          Object.entries(b).map(([key, { shape }]) => [key, shape]),
          where,
        );
      seen.results++;
    }
    assert.ok(seen.errors > changes / 20 && seen.results > changes / 20, JSON.stringify(seen));
    for (const engine of [first, second]) {
      assert.equal(await engine.call('liveObjects', []), 0);
      await engine.close();
    }
  });
}
