// What goes wrong in the middle of work: the worker dies, memory runs out, things are closed under way. Afterwards all goes on.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import threads from 'node:worker_threads';
import { compare, createEngine, InferenceSession, Model, quantizeStatic } from '../../dist/index.js';
import { convModel, digitFeeds, digitsModel, onnx, rejects, root, withMostPages } from './support.mjs';

// Every worker that an engine starts, so that a test can end one as the system would.
const workers = [];
let silent = 0; // workers to come that never start their threads
threads.Worker = class extends threads.Worker {
  #silent = silent > 0;
  constructor(...args) {
    super(...args);
    workers.push(this);
    if (this.#silent) silent--;
  }
  postMessage(message, ...rest) {
    if (!(this.#silent && message.path?.includes('startThreads'))) super.postMessage(message, ...rest);
  }
};
syncBuiltinESMExports();

const batch = { data: new Float32Array(1024 * 784), shape: [1024, 1, 28, 28] }; // several slices of a run
const [digit] = digitFeeds('test', 1);

/** The engine does a whole piece of work, and nothing else lives in it. */
async function works(engine) {
  const model = await Model.load(digitsModel(), { engine });
  const { model: int8 } = await quantizeStatic(model, digitFeeds('train', 2)).result;
  const session = await InferenceSession.create(int8);
  assert.equal((await session.run({ image: digit })).logits.data.length, 10);
  for (const thing of [session, int8, model]) await thing.close();
  assert.equal(await engine.call('liveObjects', []), 0);
}

test('a worker that is killed in the middle of work: an error at once, and the next model starts another', {
  timeout: 180_000,
}, async () => {
  await using engine = await createEngine();
  const kill = () => workers.at(-1).terminate();
  const phases = {
    load: () => Model.load(convModel({ inChannels: 1024, channels: 1024, shape: [1, 1024, 4, 4] }), { engine }),
    run: async (model) => {
      const session = await InferenceSession.create(model, { inputShapes: { image: batch.shape } });
      const running = session.run({ image: batch });
      setTimeout(kill, 5);
      return running;
    },
    quantize: (model) => quantizeStatic(model, digitFeeds('train', 50)).result,
    compare: (model) => compare(model, model, digitFeeds('train', 50)),
  };
  for (const [phase, start] of Object.entries(phases)) {
    const model = await Model.load(digitsModel(), { engine });
    const before = engine.generation;
    const work = start(model);
    if (phase !== 'run') setTimeout(kill, 2);
    await rejects(work, 'ENGINE_FAILED', { what: /worker ended/, hint: /Load the model again/ });
    assert.equal(engine.generation, before + 1, phase);
    await rejects(model.summary(), 'ENGINE_FAILED', { what: /replaced/ });
    await model.close();
    await works(engine);
  }
});

test('a worker that never starts its threads is given up for another; after four, for one thread or an error', async () => {
  const before = workers.length;
  silent = 1;
  await using second = await createEngine({ threads: 2 });
  assert.equal(second.features.threadCount, 2);
  assert.equal(workers.length - before, 2);
  await works(second);
  silent = Number.POSITIVE_INFINITY;
  try {
    const refused = rejects(createEngine({ threads: 2 }), 'ENGINE_FAILED', { what: /did not start 2 threads/, hint: /auto/ });
    await using alone = await createEngine({ threads: 'auto' });
    assert.equal(alone.features.threadCount, 1);
    await works(alone);
    await refused;
  } finally {
    silent = 0;
  }
});

test('a defect of ours ends that start of the engine, and the next model starts another', async () => {
  for (const worker of [true, false]) {
    await using engine = await createEngine({ worker });
    const model = await Model.load(digitsModel(), { engine });
    // No call of the API gets there: the host itself is given what it does not expect.
    await rejects(engine.call('loadModel', [undefined]), 'INTERNAL', { what: /engine stopped/, where: /engine/, hint: /report/ });
    await rejects(model.summary(), 'ENGINE_FAILED', { what: /replaced/ });
    await works(engine);
  }
});

describe('memory that runs out', () => {
  const module = readFileSync(join(root, 'dist/octavo.simd.wasm'));
  const start = async (pages = 320) => createEngine({ worker: false, isa: 'simd', wasmBinary: withMostPages(module, pages) }); // 20 MiB
  const open = onnx({
    nodes: [
      { op: 'Conv', name: 'conv', inputs: ['x', 'w'], outputs: ['c'] },
      { op: 'Relu', name: 'relu', inputs: ['c'], outputs: ['y'] },
    ],
    inputs: [{ name: 'x', shape: ['n', 2, 8, 8] }],
    outputs: [{ name: 'y', shape: ['n', 2, 8, 8] }],
    weights: [{ name: 'w', shape: [2, 2, 1, 1], data: new Float32Array(4).fill(0.5) }],
  });
  const large = { x: [60_000, 2, 8, 8] }; // 30 MB
  // A row of 20 kB for each number that is not 0.
  const sized = onnx({
    nodes: [
      { op: 'NonZero', name: 'places', inputs: ['x'], outputs: ['p'] },
      { op: 'Transpose', name: 'rows', inputs: ['p'], outputs: ['r'] },
      { op: 'Cast', name: 'floats', inputs: ['r'], outputs: ['f'], attrs: { to: 1 } },
      { op: 'MatMul', name: 'product', inputs: ['f', 'w'], outputs: ['y'] },
    ],
    inputs: [{ name: 'x', shape: [2000] }],
    outputs: [{ name: 'y' }],
    weights: [{ name: 'w', shape: [1, 5000], data: new Float32Array(5000) }],
  });
  const feed = { x: { data: new Float32Array(60_000 * 128), shape: large.x } };
  const weights = (channels) => convModel({ inChannels: channels, channels, shape: [1, channels, 1, 1] });

  const phases = {
    'loading a model': (engine, load) => load(weights(2600), { engine }),
    'making a session': async (engine, load) => InferenceSession.create(await load(open, { engine }), { inputShapes: large }),
    quantizing: async (engine, load) => quantizeStatic(await load(open, { engine }), [feed], { inputShapes: large }).result,
    comparing: async (engine, load) => {
      const model = await load(open, { engine });
      return compare(model, model, [feed], { inputShapes: large });
    },
    exporting: async (engine, load) => (await load(weights(1300), { engine })).toONNX(),
    'planning, in a run, what its data give a size to': async (engine, load) => {
      await using session = await InferenceSession.create(await load(sized, { engine }));
      return await session.run({ x: new Float32Array(2000).fill(1) });
    },
  };
  for (const [phase, work] of Object.entries(phases)) {
    test(`while ${phase}: an error, and the same engine goes on`, async () => {
      await using engine = await start();
      await works(engine);
      const fail = async () => {
        const models = [];
        const load = async (...args) => {
          const model = await Model.load(...args);
          models.push(model);
          return model;
        };
        await rejects(work(engine, load), 'OUT_OF_MEMORY');
        for (const model of models) await model.close();
        assert.equal(engine.generation, 0);
        await works(engine);
        return (await engine.call('heap', [])).used;
      };
      // Nothing of what failed is left: the second time not a byte more than the first.
      const used = await fail();
      assert.equal(await fail(), used);
    });
  }

  test('in memories from what hardly holds the engine to what holds all of a job: an error that says so, or a result', async () => {
    const file = convModel({ inChannels: 256, channels: 256, shape: [1, 256, 16, 16] });
    const samples = Array.from({ length: 4 }, (_, i) => ({ x: new Float32Array(65536).fill(i / 4) }));
    let failures = 0;
    for (let pages = 33; ; pages += 3) {
      assert.ok(pages < 320);
      await using engine = await start(pages);
      const models = [];
      try {
        models.push(await Model.load(file, { engine }));
        const { model } = await quantizeStatic(models[0], samples).result;
        models.push(model);
        await (await InferenceSession.create(model)).close();
        break;
      } catch (error) {
        assert.equal(error.code, 'OUT_OF_MEMORY', `${pages} pages: ${error}`);
        failures++;
      }
      assert.equal(engine.generation, 0);
      for (const model of models) await model.close();
      assert.equal(await engine.call('liveObjects', []), 0);
    }
    assert.ok(failures > 10, `only ${failures} memories were too small`);
  });
});

test('a run keeps its session to itself', async () => {
  await using engine = await createEngine();
  const model = await Model.load(digitsModel(), { engine });
  // Many times what a slice of a run takes, so that the other calls come while it is under way.
  const large = { data: new Float32Array(2048 * 784), shape: [2048, 1, 28, 28] };
  const session = await InferenceSession.create(model, { inputShapes: { image: large.shape } });
  const alone = (await session.run({ image: large })).logits.data;
  const other = { data: new Float32Array(large.data.length).fill(1), shape: large.shape };
  const running = session.run({ image: large });
  await Promise.all([
    rejects(session.profile({ image: other }), 'INVALID_STATE', { hint: /second session/ }),
    rejects(session.run({ image: other }), 'INVALID_STATE', { hint: /second session/ }),
  ]);
  assert.deepEqual((await running).logits.data, alone);
  assert.ok((await session.profile({ image: other })).steps.length > 0);
});

test('sessions, a job and a comparison at once give what each gives alone', async () => {
  await using engine = await createEngine();
  const model = await Model.load(digitsModel(), { engine });
  const feeds = digitFeeds('test', 4);
  const quantized = async () => {
    const { model: int8 } = await quantizeStatic(model, digitFeeds('train', 8)).result;
    return int8.toONNX();
  };
  const logits = async () => {
    await using session = await InferenceSession.create(model);
    const outputs = [];
    for (const image of feeds) outputs.push((await session.run({ image })).logits.data);
    return outputs;
  };
  const compared = async () => ({ ...(await compare(model, model, feeds)), milliseconds: undefined });
  const work = [quantized, logits, logits, compared];
  const alone = [];
  for (const one of work) alone.push(await one());
  assert.deepEqual(await Promise.all(work.map((one) => one())), alone);
});

test('an engine closed under way ends everything with CLOSED', async () => {
  for (const worker of [true, false]) {
    const engine = await createEngine({ worker });
    const model = await Model.load(digitsModel(), { engine });
    const session = await InferenceSession.create(model, { inputShapes: { image: batch.shape } });
    const work = [session.run({ image: batch }), quantizeStatic(model, digitFeeds('train', 50)).result];
    const ended = work.map((one) => rejects(one, 'CLOSED'));
    setTimeout(() => engine.close(), 5);
    await Promise.all(ended);
    await session.close();
    await model.close();
  }
});

test('a model closed under way: its job and its sessions have what they need', async () => {
  await using engine = await createEngine();
  const model = await Model.load(digitsModel(), { engine });
  const session = await InferenceSession.create(model);
  const job = quantizeStatic(model, digitFeeds('train', 4));
  for await (const progress of job) if (progress.done > 0) break; // leaving the loop aborts nothing by itself
  await model.close();
  assert.equal((await session.run({ image: digit })).logits.data.length, 10);
});

test('iterators of samples that fail in each of their methods', async () => {
  await using engine = await createEngine({ worker: false });
  const model = await Model.load(digitsModel(), { engine });
  const good = { value: digit, done: false };
  const fail = () => {
    throw new RangeError('the disk is gone');
  };
  const iterators = {
    'no iterator': fail,
    'next, at once': () => ({ next: fail }),
    'next, later': () => ({ next: async () => fail() }),
    'the second next': () => {
      let count = 0;
      return { next: () => (count++ === 0 ? good : fail()) };
    },
  };
  for (const [name, make] of Object.entries(iterators)) {
    for (const key of [Symbol.iterator, Symbol.asyncIterator]) {
      const work = quantizeStatic(model, { [key]: make }).result;
      await assert.rejects(work, { name: 'RangeError', message: 'the disk is gone' }, name);
    }
  }
  // One that cannot even be closed: the first error is the one that is told.
  const stubborn = { next: () => ({ value: new Float32Array(1), done: false }), return: fail };
  await rejects(quantizeStatic(model, { [Symbol.iterator]: () => stubborn }).result, 'SAMPLE_SHAPE');
  await model.close();
  await works(engine);
});

test('a thousand models and sessions, made and closed: the heap is what it was', async () => {
  await using engine = await createEngine({ worker: false });
  const bytes = convModel();
  const cycle = async () => {
    const model = await Model.load(bytes, { engine });
    const session = await InferenceSession.create(model);
    await session.run({ x: new Float32Array(32) });
    await session.close();
    await model.close();
  };
  const jobs = async () => {
    const model = await Model.load(bytes, { engine });
    await (await quantizeStatic(model, [new Float32Array(32).fill(1)]).result).model.close();
    await model.close();
  };
  await cycle();
  await jobs();
  const before = await engine.call('heap', []);
  for (let i = 0; i < 1000; i++) await (i % 10 === 0 ? jobs : cycle)();
  assert.deepEqual(await engine.call('heap', []), before);
  assert.equal(await engine.call('liveObjects', []), 0);
});

test('engines made and closed again and again leave nothing behind, in this thread or in a worker', { timeout: 180_000 }, () => {
  const cycles = 40;
  for (const place of ['worker', 'here']) {
    const script = join(root, 'tests/js/engine-cycles.mjs');
    const printed = execFileSync(process.execPath, ['--expose-gc', script, place, String(cycles)], { encoding: 'utf8' });
    const { heap, rss } = JSON.parse(printed);
    assert.ok(heap < 1e6, `${place}: ${heap} bytes of JavaScript's more`);
    assert.ok(rss < 1e6 * cycles, `${place}: ${rss} bytes more`); // an engine's memory alone is 2 MB
  }
});
