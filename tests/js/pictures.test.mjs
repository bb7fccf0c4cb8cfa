// How large pictures may be: told from their headers, before memory is taken for them.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { createEngine, InferenceSession, images, Model, OctavoError, quantizeStatic } from '../../dist/index.js';
import { maxPicturePixels, pictureSize } from '../../dist/picture-size.js';
import { decodePicture } from '../../dist/pictures-node.js';
import { fuzzPictures } from '../../tools/fuzz-pictures.mjs';
import { digitsModel, rejects, root } from './support.mjs';

const chunk = (type, data) => {
  const body = Buffer.concat([Buffer.from(type), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
};
/** A PNG that says what it likes: grey of 8 bits unless told, with `rows` deflated behind the header. */
function png(width, height, rows = Buffer.alloc(0), { interlace = 0, colour = 0, headers = 1 } = {}) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, colour, 0, 0, interlace], 8);
  const data = chunk('IDAT', deflateSync(rows));
  const all = [...Array(headers).fill(chunk('IHDR', header)), data, chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), ...all]);
}
const jpegOf = (width, height) => new Uint8Array(jpeg.encode({ width, height, data: Buffer.alloc(4 * width * height, 90) }, 80).data);
/** A JPEG whose frame header says another size. */
function jpegSaying(width, height) {
  const bytes = jpegOf(8, 8);
  const at = bytes.findIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xc0);
  new DataView(bytes.buffer).setUint16(at + 5, height);
  new DataView(bytes.buffer).setUint16(at + 7, width);
  return bytes;
}
const refuses = (code, what, ...args) =>
  assert.throws(
    () => decodePicture(...args),
    (error) => error instanceof OctavoError && error.code === code && error.where === args[1] && what.test(error.what),
  );

describe('the size of a picture', () => {
  const le = (...numbers) => numbers.flatMap((n) => [n & 255, n >> 8]);
  const ascii = (words) => [...Buffer.from(words)];
  const box = (width, height) => [...ascii('ispe'), 0, 0, 0, 0, 0, 0, width >> 8, width & 255, 0, 0, height >> 8, height & 255];
  const files = {
    PNG: png(300, 200),
    'JPEG behind a preview and filling bytes': Buffer.concat([
      Buffer.from([0xff, 0xd8, 0xff, 0xe1, 0, 10, ...jpegOf(8, 8).subarray(0, 8), 0xff, 0xff]),
      jpegSaying(300, 200).subarray(3),
    ]),
    GIF: Buffer.from([...ascii('GIF89a'), ...le(300, 200)]),
    BMP: Buffer.from([...ascii('BM'), ...Array(16).fill(0), ...le(300, 0), 0x38, 0xff, 0xff, 0xff]), // -200: from the top
    'WebP with loss': Buffer.from([...ascii('RIFF1234WEBPVP8 '), ...Array(10).fill(0), ...le(300, 200)]),
    'WebP without': Buffer.from([...ascii('RIFF1234WEBPVP8L'), 0, 0, 0, 0, 0x2f, 299 & 255, (299 >> 8) | ((199 & 3) << 6), 199 >> 2, 0]),
    'WebP with more': Buffer.from([...ascii('RIFF1234WEBPVP8X'), ...Array(8).fill(0), ...le(299), 0, ...le(199), 0]),
    'AVIF with a thumbnail': Buffer.from([0, 0, 0, 24, ...ascii('ftypavif'), ...box(30, 20), ...box(300, 200), ...box(3, 2)]),
  };
  for (const [name, bytes] of Object.entries(files)) {
    test(name, () => {
      assert.deepEqual(pictureSize(bytes), { width: 300, height: 200 });
      // Cut off anywhere it is a smaller one, or none: nothing is thrown.
      for (let n = 0; n < bytes.length; n++) pictureSize(bytes.subarray(0, n));
      assert.equal(pictureSize(bytes.subarray(0, 9)), undefined);
    });
  }
  test('of nothing that is known', () => {
    for (const bytes of [[], [1], [0xff, 0xd8], ascii('hello, this is no picture')])
      assert.equal(pictureSize(Uint8Array.from(bytes)), undefined);
  });
});

describe('pictures that are too large', () => {
  const { rss } = process.memoryUsage;
  const side = Math.sqrt(maxPicturePixels);

  test('are refused before memory is taken for them', () => {
    const before = rss();
    refuses('IMAGE_TOO_LARGE', /100000 x 100000 pixels; at most 67108864/, png(100_000, 100_000), 'a.png');
    refuses('IMAGE_TOO_LARGE', /8193 x 8192/, png(side + 1, side), 'a.png');
    refuses('IMAGE_TOO_LARGE', /65535 x 65535/, jpegSaying(65535, 65535), 'a.jpg');
    refuses('IMAGE_TOO_LARGE', /12000 x 12000/, png(12_000, 12_000, Buffer.alloc(1000)), 'a.png');
    // As large as is read, but the file cannot hold as much.
    refuses('BAD_IMAGE', /cannot hold 8192 x 8192/, png(side, side), 'a.png');
    refuses('BAD_IMAGE', /cannot hold 8192 x 8192/, jpegSaying(side, side), 'a.jpg');
    assert.ok(rss() - before < 64e6, `${rss() - before} bytes more`);
  });

  test('headers that contradict each other, and rows behind the last, are damage', () => {
    refuses('BAD_IMAGE', /not one header/, png(4, 4, Buffer.alloc(20), { headers: 2 }), 'a.png');
    refuses('BAD_IMAGE', /no pixels/, png(0, 4, Buffer.alloc(20)), 'a.png');
    const before = rss();
    refuses('BAD_IMAGE', /larger than \d+ bytes/i, png(4, 4, Buffer.alloc(3e8), { interlace: 1 }), 'bomb.png');
    assert.ok(rss() - before < 400e6); // 300 MB of them are the test's own
    const whole = png(5, 3, Buffer.alloc(22), { interlace: 1 }); // six passes of 1 to 4 pixels a row
    assert.deepEqual(decodePicture(whole, 'a.png').data, new Uint8Array(PNG.sync.read(whole).data));
  });

  test('a large one that is allowed is read', () => {
    const rows = Buffer.alloc(4001 * 4000);
    const { width, height, data } = decodePicture(png(4000, 4000, rows), 'a.png');
    assert.deepEqual([width, height, data.length], [4000, 4000, 64e6]);
  });

  test('memoryLimit holds for them: of files, of images(), of jobs and of sessions', async () => {
    const pixels = { name: 'cat.png', width: 100, height: 100, data: new Uint8Array(40_000) };
    const what = /100 x 100 pixels take 40000 bytes; memoryLimit = 39999/;
    refuses('IMAGE_TOO_LARGE', what, png(100, 100, Buffer.alloc(10_100)), 'a.png', 39_999);
    assert.equal(decodePicture(png(100, 100, Buffer.alloc(10_100)), 'a.png', 40_000).width, 100);
    await rejects(Array.fromAsync(images([pixels], { memoryLimit: 39_999 })), 'IMAGE_TOO_LARGE', { what, where: /cat\.png/ });
    assert.equal((await Array.fromAsync(images([pixels], { memoryLimit: 40_000 }))).length, 1);
    await using engine = await createEngine({ worker: false });
    const model = await Model.load(digitsModel(), { engine });
    const large = { ...pixels, width: 4000, height: 4000, data: new Uint8Array(64e6) };
    const limit = { memoryLimit: 60_000_000 };
    await rejects(quantizeStatic(model, [large], limit).result, 'IMAGE_TOO_LARGE', { what: /memoryLimit = 60000000/ });
    for (const pixelOptions of [{}, { pixels: { channels: 'GRAY' } }]) {
      await using session = await InferenceSession.create(model, { ...limit, ...pixelOptions });
      await rejects(session.run(large), 'IMAGE_TOO_LARGE', { what: /memoryLimit = 60000000/ });
      assert.equal((await session.run(pixels)).logits.data.length, 10);
    }
  });
});

test('damaged pictures are read or refused, in time and in memory', async () => {
  const { executions, decoded, refused, findings } = await fuzzPictures({ count: 400, seed: 1 });
  assert.deepEqual(findings, []);
  assert.equal(executions, 400);
  assert.ok(decoded > 50 && refused > 50, `${decoded} decoded, ${refused} refused`);
});

test('what fuzzing found stays mended', () => {
  const folder = join(root, 'tests/data/fuzz/pictures');
  const files = readdirSync(folder);
  assert.ok(files.length > 0);
  for (const name of files) {
    try {
      const { width, height, data } = decodePicture(readFileSync(join(folder, name)), name, 2 ** 24);
      assert.equal(data.length, 4 * width * height);
      assert.ok(width * height > 0);
    } catch (error) {
      assert.ok(error instanceof OctavoError, `${name}: ${error}`);
    }
  }
});
