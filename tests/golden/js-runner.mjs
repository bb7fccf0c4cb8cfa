// Runs the golden vectors of a folder through the JS API in Node (octavo/nn, and octavo for what are ONNX files and operators), with both
// modules; prints a line a group and exits with 1 on any mismatch and on anything that is not understood.
//
//     node tests/golden/js-runner.mjs DIR [--isa simd|relaxed]

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { passed, runGroup, toLine } from './groups.mjs';

const { values, positionals } = parseArgs({ options: { isa: { type: 'string' } }, allowPositionals: true });
const [folder] = positionals;
if (!folder) {
  console.error('usage: js-runner.mjs DIR [--isa simd|relaxed]');
  process.exit(2);
}

if (!values.isa) {
  // One process a module: octavo/nn has one for the whole page.
  const codes = ['simd', 'relaxed'].map((isa) => {
    console.log(isa);
    return spawnSync(process.execPath, [fileURLToPath(import.meta.url), folder, '--isa', isa], { stdio: 'inherit' }).status;
  });
  process.exit(codes.every((code) => code === 0) ? 0 : 1);
}

const nn = await import('../../dist/nn/index.js');
const octavo = await import('../../dist/index.js');
await nn.init({ isa: values.isa });
await using engine = await octavo.createEngine({ isa: values.isa, worker: false });
const read = (name) => new Uint8Array(readFileSync(join(folder, name)));
let good = true;
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.idx'))
  .map((file) => file.slice(0, -4))
  .sort();
if (names.length === 0) throw new Error(`There are no .idx files in ${folder}.`);
for (const name of names) {
  const tally = await runGroup({ nn, octavo, engine }, name, read);
  console.log(`  ${toLine(name, tally)}`);
  good = good && passed(tally);
}
process.exitCode = good ? 0 : 1;
