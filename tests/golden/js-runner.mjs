// Runs the golden vectors of a folder through octavo/nn in Node, with both modules; prints a line a group and exits with 1 on any
// mismatch and on anything that is not understood.  node tests/golden/js-runner.mjs DIR [--isa simd|relaxed]

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { passed, runGroup, toLine } from './groups.mjs';

// Groups of whole ONNX files and of another tool's calibration: the engine's (`octavo`), which tests/js/parity.test.mjs covers.
const ofTheEngine = new Set(['onnx_ops', 'onnx_models', 'ort_calib']);

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

const api = await import('../../dist/nn/index.js');
await api.init({ isa: values.isa });
let good = true;
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.idx'))
  .map((file) => file.slice(0, -4))
  .sort();
if (names.length === 0) throw new Error(`There are no .idx files in ${folder}.`);
for (const name of names) {
  if (ofTheEngine.has(name)) {
    console.log(`  ${name}: the engine's, not of octavo/nn`);
    continue;
  }
  const tally = runGroup(
    api,
    name,
    readFileSync(join(folder, `${name}.idx`), 'utf8'),
    new Uint8Array(readFileSync(join(folder, `${name}.bin`))),
  );
  console.log(`  ${toLine(name, tally)}`);
  good = good && passed(tally);
}
process.exitCode = good ? 0 : 1;
