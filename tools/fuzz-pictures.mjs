// Damaged pictures through the command line's reader: `npm run fuzz -- --target pictures [--minutes N] [--seed N]`
//
// Each seed takes a small PNG or JPEG (of every kind of colour, interlaced or not) and changes bits, bytes, lengths and places of it. It
// has to be read, or refused with BAD_IMAGE or IMAGE_TOO_LARGE, within two seconds and 512 MiB; PNG checksums are set right
// again, or the reader would look no further. The work is done by a thread, so that one that hangs is seen and ended.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { crc32, deflateSync } from 'node:zlib';
import { random } from './conformance.mjs';
import { inRoot } from './project.mjs';

/** Bytes of RGBA pixels that a picture may have here, what more than before the process may take, and milliseconds of its own time. */
const limits = { memoryLimit: 2 ** 24, growth: 2 ** 29, milliseconds: 2000, hang: 20_000 };

/** Milliseconds that the process has worked: a busy machine, or one that stops it, is no finding. */
const worked = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const chunkEnd = (bytes, at) => at + 12 + bytes.readUInt32BE(at);

function chunk(type, data) {
  const made = Buffer.alloc(12 + data.length);
  made.writeUInt32BE(data.length, 0);
  made.write(type, 4, 'latin1');
  data.copy(made, 8);
  made.writeUInt32BE(crc32(made.subarray(4, 8 + data.length)), 8 + data.length);
  return made;
}

function png({ width, height, depth, colour, interlace }, next) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, colour, 0, 0, interlace], 8);
  const samples = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }[colour];
  const rows = Buffer.from(Array.from({ length: 2 * height * (2 + Math.ceil((width * samples * depth) / 8)) }, () => next() * 5));
  const palette = colour === 3 ? [chunk('PLTE', Buffer.alloc(3 * 2 ** depth, 77))] : [];
  const parts = [chunk('IHDR', header), ...palette, chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), ...parts]);
}

const kinds = [
  ...[1, 2, 4, 8, 16].map((depth) => ({ colour: 0, depth })),
  ...[1, 2, 4, 8].map((depth) => ({ colour: 3, depth })),
  ...[2, 4, 6].flatMap((colour) => [8, 16].map((depth) => ({ colour, depth }))),
];

/** A right picture of a seed. */
function picture(next, jpeg) {
  const int = (from, to) => from + Math.floor(next() * (to - from + 1));
  const [width, height] = [int(1, 24), int(1, 24)];
  if (next() < 0.5) return png({ ...kinds[int(0, kinds.length - 1)], width, height, interlace: int(0, 1) }, next);
  const data = Buffer.from(Array.from({ length: 4 * width * height }, () => next() * 256));
  return Buffer.from(jpeg.encode({ width, height, data }, int(1, 100)).data);
}

/** Sets the checksums of a PNG's chunks, as far as its lengths are right. */
function mendChecksums(bytes) {
  if (bytes[1] !== 0x50) return;
  for (let at = 8; at + 12 <= bytes.length && chunkEnd(bytes, at) <= bytes.length; at = chunkEnd(bytes, at)) {
    const end = chunkEnd(bytes, at) - 4;
    bytes.writeUInt32BE(crc32(bytes.subarray(at + 4, end)), end);
  }
}

/** The damaged picture of a seed. */
export function damagedPicture(seed, jpeg) {
  const next = random(seed);
  const int = (from, to) => from + Math.floor(next() * (to - from + 1));
  let bytes = picture(next, jpeg);
  for (let changes = int(0, 4); changes > 0; changes--) {
    // Headers stand at the beginning, and are worth more.
    const at = Math.min(bytes.length - 1, next() < 0.5 ? int(0, 64) : int(0, bytes.length - 1));
    const other = int(0, bytes.length - 1);
    const length = int(1, 16);
    const ways = [
      () => bytes.writeUInt8(bytes[at] ^ (1 << int(0, 7)), at),
      () => bytes.writeUInt8(int(0, 255), at),
      () => bytes.writeUInt8(next() < 0.5 ? 0 : 255, at),
      () => bytes.length >= at + 2 && bytes.writeUInt16BE(int(0, 65535), at),
      () => bytes.length >= at + 4 && bytes.writeUInt32BE(2 ** int(0, 31), at),
      () => {
        bytes = Buffer.from(bytes.subarray(0, Math.max(4, at)));
      },
      () => {
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(other, other + length), bytes.subarray(at)]);
      },
      () => {
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
        if (bytes.length < 4) bytes = Buffer.alloc(4);
      },
      () => bytes.copy(bytes, at, other, other + length),
    ];
    ways[int(0, ways.length - 1)]();
  }
  mendChecksums(bytes);
  return bytes;
}

/** In the thread: seeds from `seed` on, the one at hand and its beginning told in `place`. */
async function work({ seed, count, until, place }) {
  const { default: jpeg } = await import('jpeg-js');
  const { decodePicture } = await import('../dist/pictures-node.js');
  const { OctavoError } = await import('../dist/errors.js');
  const result = { executions: 0, decoded: 0, refused: 0, findings: [] };
  const highest = () => process.resourceUsage().maxRSS * 1024;
  const first = highest();
  for (let at = seed; result.executions < count && Date.now() < until; at++) {
    Atomics.store(place, 0, at);
    const bytes = damagedPicture(at, jpeg);
    const found = (why) => result.findings.push({ seed: at, why });
    const [from, before] = [worked(), highest()];
    try {
      const { width, height, data } = decodePicture(bytes, 'picture', limits.memoryLimit);
      result.decoded++;
      if (!(width * height > 0) || data.length !== 4 * width * height) found(`${data.length} bytes for ${width} x ${height} pixels`);
      else if (data.length > limits.memoryLimit) found(`${width} x ${height} pixels are more than memoryLimit`);
    } catch (error) {
      result.refused++;
      if (!(error instanceof OctavoError && ['BAD_IMAGE', 'IMAGE_TOO_LARGE'].includes(error.code))) found(String(error));
    }
    const milliseconds = worked() - from;
    if (milliseconds > limits.milliseconds) found(`${Math.round(milliseconds)} ms`);
    if (highest() > before && highest() - first > limits.growth) found(`${highest() - first} bytes more than at the beginning`);
    result.executions++;
  }
  parentPort.postMessage(result);
}

/**
 * Reads the damaged pictures of `count` seeds, or as many as `minutes` allow.
 *
 * Returns { executions, decoded, refused, findings: [{ seed, why }] }; what is found is written below build/fuzz/found.
 */
export async function fuzzPictures({ seed = 1, count = Number.POSITIVE_INFINITY, minutes = 60 }) {
  const told = new Int32Array(new SharedArrayBuffer(4));
  const until = Date.now() + 60_000 * minutes;
  const worker = new Worker(new URL(import.meta.url), { workerData: { seed, count, until, place: told } });
  const result = await new Promise((resolve, reject) => {
    let last = { at: -1, since: 0 };
    const watch = setInterval(() => {
      const at = Atomics.load(told, 0);
      if (at !== last.at) last = { at, since: worked() };
      else if (worked() - last.since > limits.hang) {
        worker.terminate();
        resolve({ executions: at - seed, decoded: 0, refused: 0, findings: [{ seed: at, why: `hangs for ${limits.hang} ms` }] });
      }
    }, 1000);
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => clearInterval(watch));
  });
  const { default: jpeg } = await import('jpeg-js');
  for (const { seed: at } of result.findings) {
    const path = inRoot(`build/fuzz/found/picture-${at}`);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, damagedPicture(at, jpeg));
  }
  return result;
}

if (!isMainThread && workerData?.place) await work(workerData);
