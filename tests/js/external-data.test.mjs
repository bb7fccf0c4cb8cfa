// Weights in files beside the model: through the API, and found by the command line, which reads nothing outside the model's folder.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createEngine, InferenceSession, Model, Tensor } from '../../dist/index.js';
import { onnx, rejects, root } from './support.mjs';

const nodes = [
  { op: 'Mul', name: 'mul', inputs: ['x', 'a'], outputs: ['ax'] },
  { op: 'Add', name: 'add', inputs: ['ax', 'b'], outputs: ['y'] },
];
test('the API takes further files by the names that the model gives them', async () => {
  // A tensor without a length takes the rest of the file: a and b lie in files of their own.
  const bytes = onnx({
    nodes,
    inputs: [{ name: 'x', shape: [2] }],
    outputs: [{ name: 'y' }],
    weights: [
      { name: 'a', shape: [2], external: 'a.bin', offset: 4 },
      { name: 'b', shape: [1], external: 'sub/b.bin' },
    ],
  });
  const externalData = {
    'a.bin': new Uint8Array(Float32Array.of(9, 2, 3).buffer),
    'sub/b.bin': new Uint8Array(Float32Array.of(10).buffer),
  };
  for (const worker of [false, true]) {
    await using engine = await createEngine({ worker });
    const loaded = await Model.load(bytes, { engine, externalData });
    const session = await InferenceSession.create(loaded, { engine });
    const { y } = await session.run({ x: new Tensor('float32', Float32Array.of(1, 1), [2]) });
    assert.deepEqual([...y.data], [12, 13]);
    assert.equal(externalData['a.bin'].length, 12); // still the caller's
    await rejects(Model.load(bytes, { engine, externalData: { 'a.bin': externalData['a.bin'] } }), 'EXTERNAL_DATA', {
      what: /sub\/b\.bin/,
      where: /'b'/,
      hint: /externalData/,
    });
  }
});

test('the command line finds the files beside the model and goes nowhere else', () => {
  const folder = mkdtempSync(join(tmpdir(), 'octavo-external-'));
  try {
    mkdirSync(join(folder, 'models'));
    const inspect = (file, bytes) => {
      writeFileSync(join(folder, 'models', file), bytes);
      return spawnSync(process.execPath, [join(root, 'dist/cli.js'), 'inspect', join(folder, 'models', file)], { encoding: 'utf8' });
    };
    const one = (external) =>
      onnx({
        nodes: [nodes[0]],
        inputs: [{ name: 'x', shape: [2] }],
        outputs: [{ name: 'ax' }],
        weights: [{ name: 'a', shape: [2], external }],
      });
    const data = new Uint8Array(Float32Array.of(2, 3).buffer);
    writeFileSync(join(folder, 'models', 'a.bin'), data);
    writeFileSync(join(folder, 'outside.bin'), data);
    const found = inspect('in.onnx', one('a.bin'));
    assert.equal(found.status, 0, found.stderr);
    assert.match(found.stdout, /parameters 2/);
    for (const name of ['../outside.bin', join(folder, 'outside.bin'), 'x/../../outside.bin']) {
      const refused = inspect('out.onnx', one(name));
      assert.equal(refused.status, 2);
      assert.match(refused.stderr, /EXTERNAL_DATA.*outside its folder/);
    }
    assert.match(inspect('missing.onnx', one('b.bin')).stderr, /EXTERNAL_DATA.*'b\.bin', which was not given/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
