// Engines with several threads in Node: the same bytes, and nothing that stays behind.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as octavo from '../../dist/index.js';
import { rejects, root, sharedNetwork } from './support.mjs';
import { threadsWork } from './threads-work.mjs';

const { createEngine } = octavo;

for (const isa of ['simd', 'relaxed']) {
  test(`1 to 4 threads make the same file and the same outputs, ${isa}`, async () => {
    const { threads, started, ...expected } = await threadsWork(octavo, sharedNetwork(), { isa, threads: 1 });
    assert.deepEqual([threads, started], [1, 1]);
    assert.notEqual(expected.float, expected.int8);
    for (const count of [2, 3, 4])
      assert.deepEqual(await threadsWork(octavo, sharedNetwork(), { isa, threads: count }), {
        threads: count,
        started: count,
        ...expected,
      });
  });
}

test("threads beside the caller's own make the same file and the same outputs", async () => {
  const { threads, started, ...expected } = await threadsWork(octavo, sharedNetwork(), { worker: false });
  assert.deepEqual([threads, started], [1, 1]);
  assert.deepEqual(await threadsWork(octavo, sharedNetwork(), { threads: 3, worker: false }), { threads: 3, started: 3, ...expected });
});

test('an exception that is caught by its type is so with threads too', async () => {
  for (const isa of ['simd', 'relaxed']) {
    await using engine = await createEngine({ isa, threads: 2 });
    await rejects(octavo.Model.load(Uint8Array.of(15, 1, 2, 3, 4, 5, 6, 7), { engine }), 'INVALID_MODEL', { what: /field type/ });
  }
});

test('there are as many threads as suit the machine, or as told; what cannot be is refused', async () => {
  const cores = availableParallelism();
  const suit = Math.min(cores, Math.max(2, Math.ceil(cores / 2)), 4);
  await using auto = await createEngine();
  assert.equal(auto.features.threadCount, suit);
  await using said = await createEngine({ threads: 'auto' });
  assert.equal(said.features.threadCount, suit);
  await using one = await createEngine({ threads: 1 });
  assert.equal(one.features.threadCount, 1);
  await using here = await createEngine({ threads: 'auto', worker: false });
  assert.equal(here.features.threadCount, 1);
  for (const threads of [0, 1.5, -2, 65, '2', null]) await rejects(createEngine({ threads }), 'INVALID_OPTION', { what: /threads = / });
  const wasmBinary = readFileSync(new URL('../../dist/octavo.simd.wasm', import.meta.url));
  await rejects(createEngine({ threads: 2, isa: 'simd', wasmBinary }), 'INVALID_OPTION', { hint: /simd\.threads/ });
  await using plain = await createEngine({ threads: 'auto', isa: 'simd', wasmBinary });
  assert.equal(plain.features.threadCount, 1);
  const threaded = readFileSync(new URL('../../dist/octavo.simd.threads.wasm', import.meta.url));
  await using given = await createEngine({ isa: 'simd', threads: 2, wasmBinary: { 'simd.threads': threaded } });
  assert.equal(given.features.threadCount, 2);
});

/** Runs a program in a process of its own, in the project's folder; gives what it printed. It imports 'octavo'. */
function runApart(program) {
  const folder = mkdtempSync(join(tmpdir(), 'octavo-threads-'));
  try {
    const file = join(folder, 'program.mjs');
    writeFileSync(file, program.replace("from 'octavo'", `from '${new URL('../../dist/index.js', import.meta.url)}'`));
    const child = spawnSync(process.execPath, [file], { cwd: root, encoding: 'utf8', timeout: 120_000 });
    assert.equal(child.status, 0, child.stderr);
    return child.stdout.trim();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const worker of [true, false])
  test(`close() ends the threads, worker: ${worker}`, { skip: process.platform !== 'linux' }, () => {
    const printed = runApart(`import { createEngine } from 'octavo';
    import { readFileSync } from 'node:fs';
    const count = () => Number(readFileSync('/proc/self/status', 'utf8').match(/^Threads:\\s*(\\d+)/m)[1]);
    await (await createEngine({ threads: 1 })).close(); // what Node starts for itself is there from now on
    const until = async (done) => {
      for (const end = performance.now() + 60_000; performance.now() < end && !(await done()); )
        await new Promise((resolve) => setTimeout(resolve, 20));
    };
    let quiet = count();
    await until(() => quiet === (quiet = count()));
    const engine = await createEngine({ threads: 9, worker: ${worker} });
    await until(async () => (await engine.call('startedThreads', [])) === 9);
    const busy = count();
    await engine.close();
    await until(() => count() <= quiet);
    console.log(busy - quiet, count() - quiet);`);
    const [more, left] = printed.split(' ').map(Number);
    assert.ok(more >= (worker ? 8 : 7), `${more} threads more`); // that help the engine's own; one of Node's may have gone meanwhile
    assert.ok(left <= 0, `${left} threads stayed`);
  });

test('engines left open do not keep Node alive', () => {
  const printed = runApart(`import { createEngine, InferenceSession, Model } from 'octavo';
    import { readFileSync } from 'node:fs';
    const engine = await createEngine({ threads: 3 });
    const model = await Model.load(readFileSync('web/public/samples/digits_mobilenet_bn.onnx'), { engine });
    const session = await InferenceSession.create(model);
    await session.run({ data: new Float32Array(784), shape: [1, 1, 28, 28] });
    console.log('ran on', engine.features.threadCount);`);
  assert.equal(printed, 'ran on 3');
});
