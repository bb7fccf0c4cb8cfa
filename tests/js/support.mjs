// What the JS tests share: the sample network with its digits, data folders, a writer of small ONNX files.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OctavoError } from '../../dist/index.js';

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

// ---- small ONNX files (field numbers: onnx.proto3) ----

const varint = (value) => {
  let n = BigInt.asUintN(64, BigInt(value));
  const out = [];
  do {
    out.push(Number(n & 127n) | (n > 127n ? 128 : 0));
    n >>= 7n;
  } while (n > 0n);
  return out;
};
const int = (field, value) => [...varint(field << 3), ...varint(value)];
const bytes = (field, value) => [...varint((field << 3) | 2), ...varint(value.length), ...value];
const text = (field, value) => bytes(field, [...new TextEncoder().encode(value)]);
const float = (field, value) => [...varint((field << 3) | 5), ...new Uint8Array(Float32Array.of(value).buffer)];

const attribute = ([name, value]) => {
  const body = [...text(1, name)];
  if (Array.isArray(value)) body.push(...value.flatMap((v) => int(8, v)), ...int(20, 7));
  else if (typeof value === 'string') body.push(...text(4, value), ...int(20, 3));
  else if (Number.isInteger(value)) body.push(...int(3, value), ...int(20, 2));
  else body.push(...float(2, value), ...int(20, 1));
  return bytes(5, body);
};
const node = ({ op, name = '', inputs, outputs, attrs = {}, domain = '' }) =>
  bytes(1, [
    ...inputs.flatMap((i) => text(1, i)),
    ...outputs.flatMap((o) => text(2, o)),
    ...text(3, name),
    ...text(4, op),
    ...text(7, domain),
    ...Object.entries(attrs).flatMap(attribute),
  ]);
const valueInfo = (field, { name, shape, type = 1 }) =>
  bytes(field, [
    ...text(1, name),
    ...bytes(
      2,
      bytes(1, [
        ...int(1, type),
        ...bytes(
          2,
          shape.flatMap((d) => bytes(1, typeof d === 'number' ? int(1, d) : text(2, d))),
        ),
      ]),
    ),
  ]);
const tensor = ({ name, shape, data, external }) =>
  bytes(5, [
    ...shape.flatMap((d) => int(1, d)),
    ...int(2, data instanceof BigInt64Array ? 7 : 1),
    ...text(8, name),
    ...(external
      ? [...bytes(13, [...text(1, 'location'), ...text(2, external)]), ...int(14, 1)]
      : bytes(9, [...new Uint8Array(data.buffer)])),
  ]);

/** { nodes, inputs, outputs, weights, opset } as the bytes of an ONNX file. */
export function onnx({
  nodes,
  inputs = [{ name: 'x', shape: [1, 2, 4, 4] }],
  outputs = [{ name: 'y', shape: [1, 2, 4, 4] }],
  weights = [],
  opset = 17,
}) {
  const graph = [
    ...nodes.flatMap(node),
    ...text(2, 'g'),
    ...weights.flatMap(tensor),
    ...inputs.flatMap((v) => valueInfo(11, v)),
    ...outputs.flatMap((v) => valueInfo(12, v)),
  ];
  return new Uint8Array([...int(1, 8), ...text(2, 'test'), ...bytes(7, graph), ...bytes(8, [...text(1, ''), ...int(2, opset)])]);
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
