// Runs every golden vector of a folder through C++ (natively, and in WebAssembly with SIMD and with relaxed SIMD) and through the JS API.
// Prints a line a group for each; exits with 1 on any mismatch and on anything that is not understood. `npm run golden [-- DIR]`

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { build, ninja } from './build.mjs';
import { fail, inRoot, node24, run } from './project.mjs';
import { setup } from './setup.mjs';

/** Each way of running: what has to be built, and the command that takes the folder. */
const ways = [
  { name: 'native', prepare: () => ninja('native', 'golden'), command: () => [inRoot('build/native/golden')] },
  ...['wasm-simd', 'wasm-relaxed'].map((preset) => ({
    name: preset,
    prepare: () => ninja(preset, 'golden'),
    command: () => [node24(), inRoot(`build/${preset}/golden.js`)],
  })),
  {
    name: 'js',
    prepare: () => build({ page: false, say: () => {} }),
    command: () => [node24(), inRoot('tests/golden/js-runner.mjs')],
  },
];

/** Runs one way over `folder`; whether all is well. */
async function runWay(way, folder) {
  await way.prepare();
  const { code, output } = await run([...way.command(), folder]);
  console.log(`${way.name}\n${output.trimEnd().replace(/^/gm, '  ')}`);
  return code === 0;
}

async function main() {
  const folder = resolve(process.argv[2] ?? inRoot('tests/data/golden'));
  if (!existsSync(folder)) throw new Error(`There is no folder ${folder}.`);
  await setup();
  let passed = true;
  for (const way of ways) passed = (await runWay(way, folder)) && passed;
  console.log(passed ? 'golden: everything is equal' : 'golden: FAILED');
  process.exitCode = passed ? 0 : 1;
}

await main().catch(fail);
