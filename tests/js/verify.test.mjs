// verify: a file beside onnxruntime-node, tensor by tensor; through the API and `octavo verify`, with weights in other files too.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createEngine, Model, quantizeStatic, Tensor } from '../../dist/index.js';
import { exposeCodes, randomFeeds, verify } from '../../dist/verify.js';
import { describeModel } from '../../tools/onnx.mjs';
import { onnx, rejects, root } from './support.mjs';

let engine;
let folder;
before(async () => {
  engine = await createEngine({ worker: false });
  folder = mkdtempSync(join(tmpdir(), 'octavo-verify-'));
});
after(async () => {
  await engine.close();
  rmSync(folder, { recursive: true, force: true });
});

/** x -> Q -> DQ -> Conv of int8 weights -> Q -> DQ -> y; `external` names the file of the weights. */
const quantizedConv = (external) => {
  const codes = Int8Array.from({ length: 3 * 2 * 9 }, (_, i) => ((i * 37) % 255) - 127);
  const scalar = (name, value) => ({ name, shape: [], data: Float32Array.of(value) });
  const zero = (name, value, type = 'uint8') => ({ name, type, shape: [], data: Uint8Array.of(value) });
  const node = (op, inputs, output, attrs = {}) => ({ op, name: `make_${output}`, inputs, outputs: [output], attrs });
  return onnx({
    nodes: [
      node('QuantizeLinear', ['x', 'sx', 'zx'], 'xq'),
      node('DequantizeLinear', ['xq', 'sx', 'zx'], 'xd'),
      node('DequantizeLinear', ['w', 'sw', 'zw'], 'wd'),
      node('Conv', ['xd', 'wd'], 'c', { pads: [1, 1, 1, 1] }),
      node('QuantizeLinear', ['c', 'sc', 'zc'], 'cq'),
      node('DequantizeLinear', ['cq', 'sc', 'zc'], 'y'),
    ],
    inputs: [{ name: 'x', shape: [1, 2, 5, 5] }],
    outputs: [{ name: 'y', shape: [1, 3, 5, 5] }],
    weights: [
      { name: 'w', type: 'int8', shape: [3, 2, 3, 3], data: codes, external, offset: external ? 4 : 0 },
      scalar('sw', 0.01),
      zero('zw', 0, 'int8'),
      scalar('sx', 0.01),
      zero('zx', 128),
      scalar('sc', 0.03),
      zero('zc', 120),
    ],
  });
};
const weightsFile = () => {
  const inside = describeModel(quantizedConv());
  assert.equal(inside.weights[0], 'w');
  return Uint8Array.from({ length: 4 + 54 }, (_, i) => (i < 4 ? 255 : (((i - 4) * 37) % 255) - 127));
};
const feedsOf = async (file, externalData) => {
  const model = await Model.load(file, { engine, ...(externalData ? { externalData } : {}) });
  const feeds = [1, 2].map((seed) => randomFeeds(model, {}, seed));
  await model.close();
  return feeds;
};

test('exposeCodes makes the codes of every quantized tensor an output', () => {
  const { file, names } = exposeCodes(quantizedConv());
  assert.deepEqual(names, ['xq', 'cq']);
  assert.deepEqual(
    describeModel(file).outputs.map(({ name, type }) => [name, type]),
    [
      ['y', 'float32'],
      ['xq', 'uint8'],
      ['cq', 'uint8'],
    ],
  );
  assert.deepEqual(exposeCodes(file).names, []);
});

test('verify counts equal codes and measures the largest difference', async () => {
  const file = quantizedConv();
  const result = await verify(file, await feedsOf(file), engine);
  assert.equal(result.codes, 2 * (50 + 75));
  assert.equal(result.equalCodes, result.codes);
  assert.deepEqual(
    result.tensors.map(({ name, elements, equal, largestDifference }) => [name, elements, equal, largestDifference]),
    [
      ['y', 150, 150, 0],
      ['xq', 100, 100, 0],
      ['cq', 150, 150, 0],
    ],
  );
});

test('verify and toONNX take weights that lie in other files', async () => {
  const file = quantizedConv('w.bin');
  const externalData = { 'w.bin': weightsFile() };
  const inside = quantizedConv();
  const feeds = await feedsOf(file, externalData);
  const result = await verify(file, feeds, engine, { externalData });
  assert.deepEqual(result, await verify(inside, feeds, engine));
  await rejects(verify(file, feeds, engine), 'EXTERNAL_DATA', { what: /w\.bin/ });
  // What is written has its weights inside.
  const exported = await (await Model.load(file, { engine, externalData })).toONNX();
  const again = await verify(exported, feeds, engine);
  assert.ok(again.codes > 0 && again.equalCodes === again.codes);
});

test('octavo verify prints a line a tensor, and finds weights beside the model', () => {
  mkdirSync(join(folder, 'models'));
  const path = join(folder, 'models', 'conv.onnx');
  writeFileSync(path, quantizedConv('w.bin'));
  const cli = (...args) => [join(root, 'dist/cli.js'), 'verify', ...args];
  const missing = spawnSync(process.execPath, cli(path), { cwd: folder, encoding: 'utf8' });
  assert.equal(missing.status, 2);
  assert.match(missing.stderr, /w\.bin/);
  writeFileSync(join(folder, 'models', 'w.bin'), weightsFile());
  const out = execFileSync(process.execPath, cli(path, '--runs', '2'), { cwd: folder, encoding: 'utf8' });
  assert.match(out, /^xq +uint8 +100(\.0+)? ?% +0/m);
  assert.match(out, /250 of 250 codes equal onnxruntime-node's, over 2 random inputs/);
  const json = JSON.parse(execFileSync(process.execPath, cli(path, '--json'), { cwd: folder, encoding: 'utf8' }));
  assert.equal(json.codes, 3 * 125);
});

test('a float model that was quantized with weights in another file verifies', async () => {
  const values = Float32Array.from({ length: 4 * 2 * 9 }, (_, i) => (((i * 29) % 41) - 20) / 40);
  const float = onnx({
    nodes: [
      { op: 'Conv', name: 'conv', inputs: ['x', 'w'], outputs: ['c'], attrs: { pads: [1, 1, 1, 1] } },
      { op: 'Relu', name: 'relu', inputs: ['c'], outputs: ['y'] },
    ],
    inputs: [{ name: 'x', shape: [1, 2, 6, 6] }],
    outputs: [{ name: 'y', shape: [1, 4, 6, 6] }],
    weights: [{ name: 'w', shape: [4, 2, 3, 3], external: 'w.bin' }],
  });
  const model = await Model.load(float, { engine, externalData: { 'w.bin': new Uint8Array(values.buffer) } });
  const sample = {
    x: new Tensor(
      'float32',
      Float32Array.from({ length: 72 }, (_, i) => Math.sin(i)),
      [1, 2, 6, 6],
    ),
  };
  const { model: int8 } = await quantizeStatic(model, [sample], { evaluateSamples: 0 }).result;
  const result = await verify(await int8.toONNX(), [sample], engine);
  assert.ok(result.codes >= 72 + 144 && result.equalCodes === result.codes, `${result.equalCodes} of ${result.codes}`);
});
