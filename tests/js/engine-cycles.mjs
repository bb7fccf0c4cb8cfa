// Engines made and closed again and again, in a process of their own (with --expose-gc): prints, as JSON, what memory they left behind.

import { setTimeout as sleep } from 'node:timers/promises';
import { createEngine, InferenceSession, Model } from '../../dist/index.js';
import { convModel } from './support.mjs';

const [worker, cycles] = [process.argv[2] === 'worker', Number(process.argv[3])];
const file = convModel();

async function cycle() {
  await using engine = await createEngine({ worker });
  for (let i = 0; i < 5; i++) {
    await using model = await Model.load(file, { engine });
    await using session = await InferenceSession.create(model);
    await session.run({ x: new Float32Array(32) });
  }
}

/** Bytes in use when all that can be collected is. */
async function memory() {
  for (let i = 0; i < 5; i++) {
    globalThis.gc();
    await sleep(20);
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heap: heapUsed + external, rss };
}

for (let i = 0; i < 10; i++) await cycle(); // code is compiled, caches are filled
const before = await memory();
for (let i = 0; i < cycles; i++) await cycle();
const after = await memory();
console.log(JSON.stringify({ cycles, heap: after.heap - before.heap, rss: after.rss - before.rss }));
