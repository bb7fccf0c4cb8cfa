// What layers would gain from pieces of images that stay in a cache: `npm run bench:strips [-- --network NAME --rounds N]`
//
// A network's layers on pictures of 224 x 224, and on strips of them with 64 and 32 rows, in Node on one thread: the best time of each
// layer, a strip's as if it had the picture's products. What strips take less is all that computing several layers strip by strip
// could gain; what they take more is their own border and beginning.

import { parseArgs } from 'node:util';
import * as octavo from '../dist/index.js';
import { fail } from '../tools/project.mjs';
import { network, networks } from './architectures.mjs';
import { quantize } from './bench.mjs';
import { sample } from './random.mjs';

const heights = [224, 64, 32];

async function main() {
  const { values } = parseArgs({
    options: { network: { type: 'string', default: 'mobilenetv2' }, rounds: { type: 'string', default: '100' } },
  });
  if (!networks[values.network]) throw new Error(`There is no network ${values.network}; there are ${Object.keys(networks).join(', ')}.`);
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds is a whole number from 1 on.');
  const engine = await octavo.createEngine({ worker: false, threads: 1 });
  const runs = [];
  for (const rows of heights) {
    const { file, inputShape } = network(values.network, { rows });
    const model = await quantize(engine, file, inputShape);
    const session = await octavo.InferenceSession.create(model, { engine });
    runs.push({ session, x: sample(inputShape), best: [], macs: [] });
  }
  let layers = [];
  for (let i = 0; i < rounds; i++) {
    for (const { session, x, best, macs } of runs) {
      const { steps } = await session.profile(x);
      steps.forEach((step, at) => {
        best[at] = Math.min(best[at] ?? Infinity, step.milliseconds);
        macs[at] = step.macs;
      });
      layers = steps;
    }
  }
  await engine.close();
  const cells = (times) => times.map((time) => time.toFixed(3).padStart(8)).join(' ');
  const sums = heights.map(() => 0);
  console.log(`${values.network}, ms of ${heights.join(', ')} rows`);
  layers.forEach(({ node, kernel }, at) => {
    const products = runs[0].macs[at];
    if (products === 0) return;
    const times = runs.map(({ best, macs }) => (best[at] * products) / macs[at]);
    times.forEach((time, i) => {
      sums[i] += Math.min(time, times[0]);
    });
    console.log(`${node.padEnd(12)} ${kernel.padEnd(30)} ${cells(times)}`);
  });
  console.log(`${'the faster of it and the whole picture'.padEnd(43)} ${cells(sums)}`);
}

await main().catch(fail);
