// Runs every golden vector of a folder through C++ (natively, and in WebAssembly with SIMD and with relaxed SIMD) and through the JS API.
// Prints a line a group for each; exits with 1 on any mismatch and on anything that is not understood. `npm run golden [-- DIR]`; without
// a folder it runs the project's own, and a second set that it makes (tests/golden/second-set.mjs).

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { writeSecondSet } from '../tests/golden/second-set.mjs';
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

/** Runs one way over the folders; whether all is well. */
async function runWay(way, folders) {
  await way.prepare();
  let passed = true;
  for (const folder of folders) {
    const { code, output } = await run([...way.command(), folder]);
    console.log(`${way.name} ${folder}\n${output.trimEnd().replace(/^/gm, '  ')}`);
    passed = passed && code === 0;
  }
  return passed;
}

async function main() {
  // npm runs scripts in the project's folder and says where it was called.
  const given = process.argv[2] && resolve(process.env.INIT_CWD ?? '.', process.argv[2]);
  if (given && !existsSync(given)) throw new Error(`There is no folder ${given}.`);
  const second = inRoot('build/second-set');
  if (!given) writeSecondSet(second);
  await setup();
  let passed = true;
  for (const way of ways) passed = (await runWay(way, given ? [given] : [inRoot('tests/data/golden'), second])) && passed;
  console.log(passed ? 'golden: everything is equal' : 'golden: FAILED');
  process.exitCode = passed ? 0 : 1;
}

await main().catch(fail);
