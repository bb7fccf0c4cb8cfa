// How long a page waits for its first result: `npm run bench:startup [-- --runs N --network NAME --size N --threads N --json FILE]`
//
// From the bytes of a quantized MobileNetV2 (224x224) to its first output, in Chromium, in a new page each time, once the engine is up: reading
// the file, making the session (packing weights), the first run. Medians. "again" is the same in the same page, when the browser
// has compiled the code that it ran the first time. Wanted: under 100 ms.

import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import * as octavo from '../dist/index.js';
import { fail } from '../tools/project.mjs';
import { networks } from './architectures.mjs';
import { Browser, networkModels } from './bench.mjs';
import { median } from './bench-report.mjs';

async function main() {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '9' },
      network: { type: 'string', default: 'mobilenetv2' },
      size: { type: 'string', default: '224' },
      threads: { type: 'string', default: '1' },
      json: { type: 'string' },
    },
  });
  if (!networks[values.network]) throw new Error(`There is no network ${values.network}; there are ${Object.keys(networks).join(', ')}.`);
  const [runs, size, threads] = ['runs', 'size', 'threads'].map((name) => Number(values[name]));
  if (![runs, size, threads].every((number) => Number.isInteger(number) && number > 0))
    throw new Error('--runs, --size and --threads are whole numbers from 1 on.');

  const engine = await octavo.createEngine({ threads: 1 });
  const { urls, inputShape } = await networkModels(engine, values.network, { size });
  await engine.close();
  const browser = await Browser.open('chromium');
  const measured = [];
  try {
    for (let i = 0; i < runs; i++) measured.push(await browser.call('startUpParts', [{ threads }, urls['int8.onnx'], inputShape]));
  } finally {
    await browser[Symbol.asyncDispose]();
  }
  const middle = (when) => (key) => median(measured.map((one) => one[when][key]));
  const parts = { 'reading the file': 'load', 'making the session': 'create', 'the first run': 'run', 'bytes to first result': 'first' };
  const cells = (key) => ['cold', 'warm'].map((when) => middle(when)(key).toFixed(1).padStart(9)).join(' ');
  const ready = median(measured.map((one) => one.ready));
  console.log(`${values.network} int8 at ${size}, Chromium, threads: ${threads}, medians of ${runs} pages`);
  console.log(`the engine is up after ${ready.toFixed(0)} ms; its memory at the end ${(middle('cold')('memory') / 1e6).toFixed(1)} MB`);
  console.log(`${'ms'.padEnd(24)} ${'first'.padStart(9)} ${'again'.padStart(9)}`);
  for (const [name, key] of Object.entries(parts)) console.log(`${name.padEnd(24)} ${cells(key)}`);
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ ...values, measured }, null, 2)}\n`);
}

await main().catch(fail);
