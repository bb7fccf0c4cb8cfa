// A model of any size that is never whole: its bytes as a stream. `node tests/js/large-model.mjs MEGABYTES known|unknown|external` loads
// it in a worker and prints what that took, as JSON.

import { fileURLToPath } from 'node:url';
import { createEngine, InferenceSession, Model, Tensor } from '../../dist/index.js';

const columns = 1024;
const rowsOfPiece = 256; // a megabyte
const mostRows = 2 ** 18 - rowsOfPiece; // of a tensor, whose elements are limited

const varint = (value) => {
  const bytes = [];
  for (let n = BigInt(value); ; n >>= 7n) {
    if (n < 128n) return Uint8Array.of(...bytes, Number(n));
    bytes.push(Number((n & 127n) | 128n));
  }
};
const join = (...parts) => new Uint8Array(Buffer.concat(parts));
const head = (tag, length) => join(varint((tag << 3) | 2), varint(length));
const message = (tag, ...parts) => {
  const body = join(...parts);
  return join(head(tag, body.length), body);
};
const number = (tag, value) => join(varint(tag << 3), varint(value));
const string = (tag, value) => message(tag, Buffer.from(value));
const tensorOf = (tag, name, type, dims) =>
  message(tag, string(1, name), message(2, message(1, number(1, type), message(2, ...dims.map((dim) => message(1, number(1, dim)))))));

function* rows(count) {
  for (let row = 0; row < count; row += rowsOfPiece) {
    const piece = new Float32Array(rowsOfPiece * columns);
    for (let i = 0; i < rowsOfPiece; i++) piece.fill(row + i, i * columns, (i + 1) * columns);
    yield new Uint8Array(piece.buffer);
  }
}

/** Rows of each tensor. */
function sizes(megabytes) {
  const tensors = [];
  for (let left = megabytes * rowsOfPiece; left > 0; left -= mostRows) tensors.push(Math.min(left, mostRows));
  return tensors;
}

/** Nodes, inputs and outputs. */
function around(tensors) {
  const nodes = tensors.map((_, i) =>
    message(1, string(1, `w${i}`), string(1, 'i'), string(2, `g${i}`), string(3, `n${i}`), string(4, 'Gather')),
  );
  nodes.push(message(1, ...tensors.map((_, i) => string(1, `g${i}`)), string(2, 'y'), string(3, 'sum'), string(4, 'Sum')));
  return [...nodes, string(2, 'large'), tensorOf(11, 'i', 7, [1]), tensorOf(12, 'y', 1, [1, columns])];
}

/** y = the sum over all tensors of their row i, whose elements are all i. { size, pieces, last: the largest i, tensors }. */
export function largeModel(megabytes) {
  const tensors = sizes(megabytes);
  const heads = tensors.map((count, i) => {
    const before = join(number(1, count), number(1, columns), number(2, 1), string(8, `w${i}`), head(9, 4 * columns * count));
    return join(head(5, before.length + 4 * columns * count), before);
  });
  const rest = join(...around(tensors));
  const graph = heads.reduce((sum, { length }, i) => sum + length + 4 * columns * tensors[i], rest.length);
  const start = join(number(1, 8), message(8, string(1, ''), number(2, 17)), head(7, graph), rest);
  const pieces = function* () {
    yield start.slice();
    for (const [i, count] of tensors.entries()) {
      yield heads[i].slice();
      yield* rows(count);
    }
  };
  return { size: start.length + graph - rest.length, pieces, tensors: tensors.length, last: Math.min(...tensors) - 1 };
}

/** The same network with each tensor in a file of its own: { size, model, files, tensors, last }. */
function externalModel(megabytes) {
  const tensors = sizes(megabytes);
  const weights = tensors.map((count, i) =>
    message(
      5,
      ...[number(1, count), number(1, columns), number(2, 1), string(8, `w${i}`)],
      message(13, string(1, 'location'), string(2, `w${i}.bin`)),
      number(14, 1),
    ),
  );
  const graph = message(7, ...around(tensors), ...weights);
  const files = Object.fromEntries(tensors.map((count, i) => [`w${i}.bin`, { size: 4 * columns * count, pieces: () => rows(count) }]));
  const size = tensors.reduce((sum, count) => sum + 4 * columns * count, 0);
  return {
    size,
    model: join(number(1, 8), message(8, string(1, ''), number(2, 17)), graph),
    files,
    tensors: tensors.length,
    last: Math.min(...tensors) - 1,
  };
}

const response = ({ pieces, size }, known) =>
  new Response(ReadableStream.from(pieces()), known ? { headers: { 'content-length': String(size) } } : {});

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [megabytes, kind] = [Number(process.argv[2]), process.argv[3]];
  const large = kind === 'external' ? externalModel(megabytes) : largeModel(megabytes);
  const engine = await createEngine({ threads: 1 });
  const before = process.memoryUsage().rss;
  const source = kind === 'external' ? large.model : response(large, kind === 'known');
  const files = Object.entries(large.files ?? {}).map(([name, file]) => [name, response(file, true)]);
  const more = kind === 'external' ? { externalData: Object.fromEntries(files) } : {};
  const start = performance.now();
  const model = await Model.load(source, { engine, ...more });
  const seconds = (performance.now() - start) / 1000;
  const { bytes } = await engine.call('heap', []);
  const { tensors, last, size } = large;
  const session = await InferenceSession.create(model);
  const { y } = await session.run({ i: new Tensor('int64', BigInt64Array.of(BigInt(last)), [1]) });
  const right = y.data.every((value) => value === tensors * last);
  console.log(JSON.stringify({ size, heap: bytes, peak: process.resourceUsage().maxRSS * 1024, before, right, seconds }));
  await engine.close();
}
