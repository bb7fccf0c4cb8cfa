// Models come in as pieces: what that takes of memory, and what is wrong with a source.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { createEngine, Model } from '../../dist/index.js';
import { sha256InPieces } from '../../dist/sha256.js';
import { largeModel } from './large-model.mjs';
import { digitsModel, rejects, root } from './support.mjs';

test('a hash in pieces is the hash of the whole', () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 4099]) {
    const bytes = new Uint8Array(randomBytes(length));
    const whole = createHash('sha256').update(bytes).digest('hex');
    for (const portable of [true, false]) {
      for (const step of [1, 7, 64, 100, 5000]) {
        const hash = sha256InPieces(portable);
        for (let at = 0; at < length; at += step) hash.update(bytes.subarray(at, at + step));
        assert.equal(hash.hex(), whole, `${length} bytes by ${step}`);
      }
    }
  }
});

for (const [kind, more] of [
  ['known', 0.1],
  ['external', 0.1],
  ['unknown', 0.6], // it is read to its end before there is room for it, and given up piece by piece
]) {
  test(`a model of 300 MB whose size is ${kind} takes its size, and little more`, { timeout: 120_000 }, () => {
    const megabytes = 300;
    const out = execFileSync(process.execPath, [join(root, 'tests/js/large-model.mjs'), String(megabytes), kind], { encoding: 'utf8' });
    const { size, heap, peak, before, right } = JSON.parse(out);
    assert.ok(size > megabytes * 2 ** 20 * 0.99);
    assert.ok(right, 'the weights are those of the file');
    assert.ok(heap < 1.03 * size + 4e6, `an engine of ${heap} bytes`);
    // Pieces that are read wait for the garbage collector.
    assert.ok(peak - before < (1 + more) * size + 120e6, `${peak - before} bytes more than before`);
  });
}

test('a large file is hashed and loaded as a small one', async () => {
  await using engine = await createEngine({ worker: false });
  const { pieces, size } = largeModel(20);
  const bytes = Buffer.concat([...pieces()]);
  assert.equal(bytes.length, size);
  const folder = mkdtempSync(join(tmpdir(), 'octavo-loading-'));
  try {
    writeFileSync(join(folder, 'large.onnx'), bytes);
    const hash = createHash('sha256').update(bytes).digest('hex');
    const own = new Uint8Array(bytes);
    const url = pathToFileURL(join(folder, 'large.onnx'));
    for (const source of [own, own.buffer, new Blob([own]), new Response(own), url, ReadableStream.from(pieces())]) {
      const progress = [];
      const model = await Model.load(source, { engine, onProgress: ({ done }) => progress.push(done) });
      assert.equal(await engine.call('modelHash', [model.id]), hash);
      assert.equal(progress.at(-1), size);
      await model.close();
    }
    assert.equal(own.length, size); // still the caller's
    assert.equal(await engine.call('liveObjects', []), 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a source that is too large, too short or broken off is an error, and leaves nothing behind', async () => {
  await using engine = await createEngine({ worker: false });
  const large = largeModel(20);
  const stream = () => ReadableStream.from(large.pieces());
  const limit = { engine, memoryLimit: 10e6 };
  let read = 0;
  const counted = ReadableStream.from(
    (function* () {
      for (const piece of large.pieces()) {
        read += piece.length;
        yield piece;
      }
    })(),
  );
  await rejects(Model.load(counted, limit), 'LIMIT_EXCEEDED', { what: /10000000/, hint: /memoryLimit/ });
  assert.ok(read < 13e6, `${read} bytes were read`);
  await rejects(Model.load(new Blob([...large.pieces()]), limit), 'LIMIT_EXCEEDED', { what: /2\d{7} bytes/ });
  await rejects(Model.load(new Uint8Array(11e6), limit), 'LIMIT_EXCEEDED', { hint: /memoryLimit/ });
  await rejects(Model.load(digitsModel(), { ...limit, externalData: { w: new Uint8Array(10e6) } }), 'LIMIT_EXCEEDED');
  const five = { headers: { 'content-length': String(5e9) } };
  await rejects(Model.load(new Response(stream(), five), { engine, memoryLimit: 1e10 }), 'LIMIT_EXCEEDED', {
    what: /5000000000/,
    hint: /4 GiB/,
  });

  const three = { headers: { 'content-length': String(3e9) } };
  await rejects(Model.load(new Response(stream(), three), { engine }), 'LIMIT_EXCEEDED', { what: /3000000000/, hint: /externalData/ });

  const saying = (size) => new Response(stream(), { headers: { 'content-length': String(size) } });
  await rejects(Model.load(saying(large.size + 1), { engine }), 'FETCH_FAILED', { what: /promised/ });
  await rejects(Model.load(saying(large.size - 1), { engine }), 'FETCH_FAILED', { what: /promised/ });
  const broken = (known) =>
    new Response(
      ReadableStream.from(
        (function* () {
          yield* [...large.pieces()].slice(0, 18);
          throw new Error('the line is dead');
        })(),
      ),
      known ? { headers: { 'content-length': String(large.size) } } : {},
    );
  for (const known of [true, false]) await rejects(Model.load(broken(known), { engine }), 'FETCH_FAILED', { what: /the line is dead/ });

  const abort = new AbortController();
  const aborted = Model.load(saying(large.size), { engine, signal: abort.signal, onProgress: ({ done }) => done > 5e6 && abort.abort() });
  await rejects(aborted, 'ABORTED', { hint: /|/ });
  await rejects(Model.load(new Blob([...large.pieces()].slice(0, -1)), { engine }), 'TRUNCATED_MODEL');
  await rejects(Model.load(digitsModel(), { engine, externalData: { w: 5 } }), 'INVALID_OPTION');
  await new Promise((resolve) => setTimeout(resolve, 50)); // what was given up is released by the way
  assert.equal(await engine.call('liveObjects', []), 0);
  const { used } = await engine.call('heap', []);
  assert.ok(used < 1e6, `${used} bytes are left`);
});
