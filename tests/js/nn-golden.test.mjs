// The golden vectors through the JS API in Node, with both modules; and a runner that cannot pass silently.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { groups } from '../golden/groups.mjs';
import { writeSecondSet } from '../golden/second-set.mjs';
import { root } from './support.mjs';

const run = (folder, ...args) =>
  spawnSync(process.execPath, [join(root, 'tests/golden/js-runner.mjs'), folder, ...args], { encoding: 'utf8' });
const golden = join(root, 'tests/data/golden');

for (const isa of ['simd', 'relaxed']) {
  test(`every golden group has no mismatch (${isa})`, () => {
    const { status, stdout, stderr } = run(golden, '--isa', isa);
    assert.equal(status, 0, stdout + stderr);
    for (const name of Object.keys(groups))
      assert.match(stdout, new RegExp(`${name}: \\d+ cases, [1-9]\\d* codes compared, 0 mismatches\n`));
  });
}

for (const isa of ['simd', 'relaxed']) {
  test(`a second set, of other shapes, ranks and options, has no mismatch (${isa})`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'octavo-golden-'));
    try {
      writeSecondSet(folder);
      const { status, stdout, stderr } = run(folder, '--isa', isa);
      assert.equal(status, 0, stdout + stderr);
      const names = readdirSync(folder).filter((file) => file.endsWith('.idx'));
      assert.ok(names.length > 0);
      for (const name of names)
        assert.match(stdout, new RegExp(`${name.slice(0, -4)}: \\d+ cases, [1-9]\\d* codes compared, 0 mismatches\n`));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

test('every group of the folder is one that it runs', () => {
  const files = readdirSync(golden).filter((file) => file.endsWith('.idx'));
  assert.deepEqual(Object.keys(groups).sort(), files.map((file) => file.slice(0, -4)).sort());
});

test('in every group one changed byte of a result ends it with 1', () => {
  // Of each, a tensor that is compared: its last byte holds a sign and an exponent, or is a code.
  const results = { quantize: 'q', batchnorm: 'y', observers: 'scales', fakequant: 'mask', ops: 'y', e2e: 'y' };
  Object.assign(results, { onnx_ops: 'y', onnx_models: 'y_QDQ_QInt8', ort_calib: 'Entropy_4' });
  const folder = mkdtempSync(join(tmpdir(), 'octavo-golden-'));
  try {
    cpSync(golden, folder, { recursive: true });
    for (const [name, key] of Object.entries(results)) {
      const [, dtype, offset, count] = readFileSync(join(folder, `${name}.idx`), 'utf8').match(
        new RegExp(`^t ${key} (\\w\\d+) (\\d+) (\\d+) `, 'm'),
      );
      const bytes = readFileSync(join(folder, `${name}.bin`));
      bytes[Number(offset) + (Number(count) * Number(dtype.slice(1))) / 8 - 1] ^= 1;
      writeFileSync(join(folder, `${name}.bin`), bytes);
    }
    const { status, stdout } = run(folder, '--isa', 'simd');
    assert.equal(status, 1);
    for (const name of Object.keys(results)) assert.match(stdout, new RegExp(`${name}: .* [1-9]\\d* mismatches, [1-9]\\d* problems`), name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a changed code, an unknown key and an unknown group end it with 1', () => {
  const folder = mkdtempSync(join(tmpdir(), 'octavo-golden-'));
  try {
    const index = readFileSync(join(golden, 'fakequant.idx'), 'utf8');
    const bytes = readFileSync(join(golden, 'fakequant.bin'));
    const [, at] = index.match(/^t mask u8 (\d+)/m);
    const wrong = Buffer.from(bytes);
    wrong[Number(at)] ^= 1;
    const check = (name, indexText, data, pattern) => {
      writeFileSync(join(folder, `${name}.idx`), indexText);
      writeFileSync(join(folder, `${name}.bin`), data);
      const { status, stdout } = run(folder, '--isa', 'simd');
      assert.equal(status, 1, stdout);
      assert.match(stdout, pattern);
      rmSync(join(folder, `${name}.idx`));
    };
    check('fakequant', index, wrong, /mask: 1 of \d+ differ/);
    check('fakequant', index.replace('a quant_min', 'a surprise i 1\na quant_min'), bytes, /surprise is not understood/);
    check('surprises', index, bytes, /group surprises is not understood/);
    check('fakequant', index.replace('kind s per_tensor', 'kind s per_surprise'), bytes, /kind per_surprise is not understood/);
    check('fakequant', index.replace('format qgold1', 'format qgold2'), bytes, /format qgold2 is not understood/);
    check('fakequant', index.replace(/^(t y f32 \d+ (\d+)) 1 /m, '$1 2 1 '), bytes, /y has shape \[1,\d+\], we have \[\d+\]/);
    const observers = readFileSync(join(golden, 'observers.idx'), 'utf8').replace(/^h combos .*$/m, "h combos ['quint8,affine,half']");
    check('observers', observers, readFileSync(join(golden, 'observers.bin')), /combo quint8,affine,half is not understood/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
