// What the JS tests share: the sample network with its digits, data folders, small ONNX files.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OctavoError } from '../../dist/index.js';
import { onnx } from '../../tools/onnx.mjs';

export { onnx };

export const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
export const digitsModel = () => new Uint8Array(readFileSync(join(root, 'web/public/samples/digits_mobilenet_bn.onnx')));

/** Digits of the sample ('train' or 'test') as { data, shape }, with their labels. */
export function digits(set, count) {
  const bytes = readFileSync(join(root, `web/public/samples/digits_${set}.bin`));
  const list = [];
  for (let at = 0; at < bytes.length && list.length < count; at += 785) {
    list.push({
      label: bytes[at],
      feed: { data: Float32Array.from(bytes.subarray(at + 1, at + 785), (x) => x / 255), shape: [1, 1, 28, 28] },
    });
  }
  return list;
}
export const digitFeeds = (set, count) => digits(set, count).map(({ feed }) => feed);

export const dataFolder = process.env.OCTAVO_DATA ?? join(root, '../shared/data');
export const haveData = existsSync(join(dataFolder, 'INDEX.md'));
/** For node:test's `skip`: false, or the one line that says why. */
export const skipWithoutData = haveData ? false : 'the folder of sample models is not here (set OCTAVO_DATA)';

/** Awaits a rejection with this code, checks that the message says what, where and (unless told) a hint; returns the error. */
export async function rejects(work, code, { what, where, hint = /./ } = {}) {
  let error;
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (caught) {
    error = caught;
  }
  assert.ok(error, `expected ${code}, nothing was thrown`);
  assert.ok(error instanceof OctavoError, `expected an OctavoError, got ${error?.stack ?? error}`);
  assert.equal(error.code, code, error.message);
  if (what) assert.match(error.what, what);
  if (where) assert.match(error.where, where);
  assert.match(error.hint, hint, `no hint in: ${error.message}`);
  return error;
}

/** One 1x1 convolution from `inChannels` to `channels` channels, and a Relu. */
export const convModel = (options = {}) => {
  const { inChannels = 2, channels = 2, shape = [1, 2, 4, 4] } = options;
  const { weights = new Float32Array(inChannels * channels).fill(0.5) } = options;
  return onnx({
    nodes: [
      { op: 'Conv', name: 'conv', inputs: ['x', 'w'], outputs: ['c'], attrs: { kernel_shape: [1, 1] } },
      { op: 'Relu', name: 'relu', inputs: ['c'], outputs: ['y'] },
    ],
    inputs: [{ name: 'x', shape }],
    weights: [{ name: 'w', shape: [channels, inChannels, 1, 1], data: weights }],
  });
};

/** Layers large enough that several threads share them: convolutions, also depthwise, a sum, a pool. */
export const sharedNetwork = () => {
  const weights = (name, ...shape) => {
    const size = shape.reduce((product, dim) => product * dim);
    return { name, shape, data: Float32Array.from({ length: size }, (_, i) => Math.sin(i * 1.7 + shape.length) / 4) };
  };
  const conv = (name, x, w, y, attrs) => ({ op: 'Conv', name, inputs: [x, w], outputs: [y], attrs });
  const same = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
  return onnx({
    nodes: [
      conv('first', 'x', 'w1', 'a', same),
      { op: 'Relu', name: 'relu', inputs: ['a'], outputs: ['b'] },
      conv('depthwise', 'b', 'w2', 'c', { ...same, group: 16 }),
      conv('pointwise', 'c', 'w3', 'd', { kernel_shape: [1, 1] }),
      { op: 'Add', name: 'sum', inputs: ['b', 'd'], outputs: ['e'] },
      { op: 'MaxPool', name: 'pool', inputs: ['e'], outputs: ['y'], attrs: { kernel_shape: [2, 2], strides: [2, 2] } },
    ],
    inputs: [{ name: 'x', shape: [1, 8, 58, 62] }],
    weights: [weights('w1', 16, 8, 3, 3), weights('w2', 16, 1, 3, 3), weights('w3', 16, 16, 1, 1)],
  });
};

/** A WebAssembly module with at most so many pages of 64 KiB: the number in its memory section, which keeps its length. */
export function withMostPages(module, pages) {
  const bytes = new Uint8Array(module);
  let at = 8;
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const [section, size] = [bytes[at++], number()];
    if (section !== 5) {
      at += size;
      continue;
    }
    assert.equal(number(), 1); // one memory,
    assert.equal(number(), 1); // with a maximum
    assert.ok(number() <= pages);
    const first = at;
    assert.equal(number(), 65536);
    for (let i = first, rest = pages; i < at; i++, rest = Math.floor(rest / 128)) bytes[i] = (rest % 128) | (i < at - 1 ? 128 : 0);
    return bytes;
  }
  throw new Error('The module has no memory of its own.');
}
