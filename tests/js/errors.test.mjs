// Bad input: each case gets its own code, what, where and what would work, and everything else stays usable.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { compare, createEngine, InferenceSession, images, Model, OctavoError, quantizeStatic, Tensor } from '../../dist/index.js';
import { verify } from '../../dist/verify.js';
import { convModel, digitFeeds, digitsModel, onnx, rejects } from './support.mjs';

describe('bad input', () => {
  let engine;
  let model;
  before(async () => {
    engine = await createEngine();
    model = await Model.load(digitsModel(), { engine });
  });
  after(async () => {
    // Whatever happened above, the engine and the first model still work.
    await using session = await InferenceSession.create(model);
    assert.equal((await session.run({ image: digitFeeds('test', 1)[0] })).logits.data.length, 10);
    await engine.close();
  });
  const load = (bytes) => Model.load(bytes, { engine });

  test('files that are not ONNX are called what they are', async () => {
    const text = (s) => new TextEncoder().encode(s);
    await rejects(load(new Uint8Array()), 'INVALID_MODEL', { what: /empty/ });
    await rejects(load(text('PK\x03\x04 and so on')), 'INVALID_MODEL', { what: /zip/, hint: /torch\.onnx\.export/ });
    await rejects(load(text('<!doctype html><p>404')), 'INVALID_MODEL', { what: /web page/ });
    await rejects(load(text('....TFL3......')), 'INVALID_MODEL', { what: /TensorFlow Lite/ });
    await rejects(load(new Uint8Array([0x89, 0x50, 0x4e, 0x47])), 'INVALID_MODEL', { what: /PNG/ });
    await rejects(load(crypto.getRandomValues(new Uint8Array(64)).fill(0xff, 0, 8)), 'INVALID_MODEL');
  });

  test('a model cut off anywhere is an error or, where only the tail of the file is gone, a model', async () => {
    const bytes = digitsModel();
    let truncated = 0;
    for (let length = 1; length < bytes.length; length += 1997) {
      try {
        await (await load(bytes.slice(0, length))).close();
      } catch (error) {
        assert.ok(error instanceof OctavoError, String(error));
        assert.ok(['TRUNCATED_MODEL', 'INVALID_MODEL', 'MISSING_INITIALIZER'].includes(error.code), error.message);
        truncated += error.code === 'TRUNCATED_MODEL' ? 1 : 0;
      }
    }
    assert.ok(truncated > 50, `${truncated}`);
  });

  test('unsupported operators are listed all at once, with what is supported', async () => {
    const nodes = [
      { op: 'Foo', name: 'first', inputs: ['x'], outputs: ['a'] },
      { op: 'Relu', name: 'fine', inputs: ['a'], outputs: ['b'] },
      { op: 'Loop', name: 'second', inputs: ['b'], outputs: ['c'] },
      { op: 'Bar', name: 'third', inputs: ['c'], outputs: ['y'], domain: 'my.ops' },
    ];
    const error = await rejects(load(onnx({ nodes })), 'UNSUPPORTED_OP', { what: /Foo/, where: /'first'/, hint: /Conv/ });
    assert.deepEqual(
      error.all.map(({ where }) => where.match(/'(\w+)'/)[1]),
      ['first', 'second', 'third'],
    );
    assert.match(error.all[2].what, /my\.ops/);
  });

  test('unsupported attributes are named', async () => {
    const nodes = [{ op: 'Relu', name: 'relu', inputs: ['x'], outputs: ['y'], attrs: { speed: 3 } }];
    await rejects(load(onnx({ nodes })), 'UNSUPPORTED_ATTRIBUTE', { what: /speed/, where: /'relu'/ });
  });

  test('opsets outside 7 to 22', async () => {
    const nodes = [{ op: 'Relu', name: 'relu', inputs: ['x'], outputs: ['y'] }];
    for (const opset of [6, 23, 0]) await rejects(load(onnx({ nodes, opset })), 'UNSUPPORTED_OPSET', { hint: /7 to 22/ });
    for (const opset of [7, 13, 22]) {
      await using loaded = await load(onnx({ nodes, opset }));
      assert.equal((await loaded.summary()).opset, opset);
    }
  });

  test('inputs of types that nothing works on', async () => {
    const nodes = [{ op: 'Relu', name: 'relu', inputs: ['x'], outputs: ['y'] }];
    for (const type of ['uint16', 'float64', 'string', 'int4'])
      await rejects(load(onnx({ nodes, inputs: [{ name: 'x', shape: [1, 2], type }] })), 'UNSUPPORTED_DTYPE', { where: /'x'/ });
  });

  test('weights that are missing, elsewhere, or not finite', async () => {
    const nodes = [{ op: 'Conv', name: 'conv', inputs: ['x', 'w'], outputs: ['y'] }];
    await rejects(load(onnx({ nodes })), 'MISSING_INITIALIZER', { what: /'w'/, where: /conv/ });
    const shape = [2, 2, 1, 1];
    await rejects(load(onnx({ nodes, weights: [{ name: 'w', shape, external: 'w.bin' }] })), 'EXTERNAL_DATA', {
      what: /w\.bin/,
      where: /'w'/,
    });
    await rejects(load(convModel({ weights: Float32Array.of(1, Number.NaN, 1, 1) })), 'NON_FINITE_WEIGHT', { what: /NaN/, where: /'w'/ });
    await rejects(load(convModel({ weights: Float32Array.of(1, 1, Number.POSITIVE_INFINITY, 1) })), 'NON_FINITE_WEIGHT', {
      what: /infinite/,
    });
    await rejects(load(onnx({ nodes, weights: [{ name: 'w', shape: [4, 4, 4, 4], data: new Float32Array(4) }] })), 'INVALID_MODEL', {
      what: /256 elements/,
    });
  });

  test('shapes that do not fit, with the node', async () => {
    await rejects(load(convModel({ shape: [1, 3, 4, 4] })), 'SHAPE_MISMATCH', { where: /'conv'/, hint: /./ }).catch((error) => {
      // The hint may be empty where the message itself says all.
      if (!/no hint/.test(error.message)) throw error;
    });
    const nodes = [{ op: 'Add', name: 'add', inputs: ['x', 'w'], outputs: ['y'] }];
    await rejects(load(onnx({ nodes, weights: [{ name: 'w', shape: [3], data: new Float32Array(3) }] })), 'SHAPE_MISMATCH', {
      where: /'add'/,
    });
    await rejects(InferenceSession.create(model, { inputShapes: { image: [1, 3, 28, 28] } }), 'SHAPE_MISMATCH', { where: /'image'/ });
  });

  test('open dimensions', async () => {
    const loaded = await load(convModel({ shape: ['N', 2, 'height', 'width'] }));
    await rejects(InferenceSession.create(loaded, { fixedShapes: true }), 'DYNAMIC_DIMENSION', { where: /'x'/, hint: /inputShapes/ });
    await using session = await InferenceSession.create(loaded, { inputShapes: { x: [1, 2, 5, 3] } });
    assert.deepEqual((await session.run({ x: { data: new Float32Array(30), shape: [1, 2, 5, 3] } })).y.shape, [1, 2, 5, 3]);
    await rejects(quantizeStatic(loaded, [new Float32Array(30)]).result, 'SAMPLE_SHAPE', { where: /sample 0/, hint: /inputShapes/ });
    // A summary is given all the same; counts that need a size are null where it is too small at 1.
    const conv = { op: 'Conv', name: 'conv', inputs: ['x', 'w'], outputs: ['y'], attrs: { kernel_shape: [3, 3] } };
    const weights = [{ name: 'w', shape: [2, 2, 3, 3], data: new Float32Array(36) }];
    await using wide = await load(onnx({ nodes: [conv], weights, inputs: [{ name: 'x', shape: ['N', 2, 'h', 'w'] }] }));
    const { macs, nodes } = await wide.summary();
    assert.deepEqual([macs, nodes[0].macs, nodes[0].shape.length], [null, null, 4]);
  });

  test('feeds of the wrong name, size, type or count', async () => {
    await using session = await InferenceSession.create(model);
    await rejects(session.run({}), 'SAMPLE_MISSING', { what: /'image'/ });
    await rejects(session.run({ picture: new Float32Array(784) }), 'SAMPLE_MISSING', { what: /'picture'/, hint: /'image'/ });
    await rejects(session.run({ image: new Float32Array(783) }), 'SAMPLE_SHAPE', { what: /783/, where: /'image'/ });
    await rejects(session.run({ image: { data: new Float32Array(784), shape: [1, 28, 28, 1] } }), 'SAMPLE_SHAPE', { what: /1, 28, 28, 1/ });
    await rejects(session.run({ image: new Uint8Array(784) }), 'SAMPLE_DTYPE', { what: /uint8/, hint: /Float32Array/ });
    await rejects(session.run({ image: 'digit.png' }), 'SAMPLE_DTYPE');
    await rejects(session.run({ image: Array(784).fill('1') }), 'SAMPLE_DTYPE', { what: /string/ });
    assert.throws(() => new Tensor('float32', new Float32Array(3), [2, 2]), { code: 'SAMPLE_SHAPE' });
  });

  test('calibration samples: none, wrong ones with their index, not finite, no iterable', async () => {
    const good = digitFeeds('train', 2);
    await rejects(quantizeStatic(model, []).result, 'NO_SAMPLES');
    await rejects(compare(model, model, []), 'NO_SAMPLES');
    await rejects(quantizeStatic(model, [good[0], new Float32Array(3)]).result, 'SAMPLE_SHAPE', { where: /sample 1/ });
    await rejects(quantizeStatic(model, [good[0], good[1], new Int8Array(784)]).result, 'SAMPLE_DTYPE', { where: /sample 2/ });
    await rejects(quantizeStatic(model, [{ wrong: good[0] }]).result, 'SAMPLE_MISSING', { where: /sample 0/ });
    await rejects(quantizeStatic(model, [new Float32Array(784).fill(Number.NaN)]).result, 'NON_FINITE_SAMPLE');
    await rejects(quantizeStatic(model, 42).result, 'INVALID_OPTION', { what: /iterable/ });
    await rejects(compare(model, model, good, { labels: [1] }), 'INVALID_OPTION', { what: /sample 1/ });
    await rejects(compare(model, model, good, { labels: [1, 2, 3] }), 'INVALID_OPTION', { what: /3 labels for 2/ });
    await rejects(compare(model, model, good, { labels: [1, -2] }), 'INVALID_OPTION', { what: /-2/ });
    assert.equal((await compare(model, model, good, { labels: [1, 2] })).labelled, 2);
  });

  test('options that do not exist or hold something else', async () => {
    const quantize = (options) => quantizeStatic(model, digitFeeds('train', 1), options).result;
    await rejects(quantize({ activations: {} }), 'INVALID_OPTION', { where: /activations/, hint: /activation/ });
    await rejects(quantize({ activation: { observer: 'best' } }), 'INVALID_OPTION', { what: /best/, hint: /minmax/ });
    await rejects(quantize({ batchNorm: 7 }), 'INVALID_OPTION');
    await rejects(quantize({ evaluateSamples: 5n }), 'INVALID_OPTION', { what: /plain data/ });
    await (await InferenceSession.create(model, { inputShapes: null })).close();
    await rejects(quantize({ exclude: [{ op: 'Conv' }] }), 'INVALID_OPTION');
    await rejects(quantize({ exclude: ['/stem/Konv'] }), 'INVALID_OPTION', { what: /Konv/, hint: /\/stem\/Conv/ });
    await rejects(quantize({ exclude: [{ opType: 'Konv' }] }), 'INVALID_OPTION', { what: /Konv/, hint: /'Conv'/ });
    await rejects(model.toONNX({ opset: 9 }), 'INVALID_OPTION', { what: /9/ });
    await rejects(createEngine({ isa: 'avx' }), 'INVALID_OPTION', { what: /avx/ });
    await rejects(Model.load(5, { engine }), 'INVALID_OPTION');
  });

  test('pictures that cannot be decoded, by name', async () => {
    const take = (...args) => Array.fromAsync(images(...args));
    await rejects(take([{ name: 'a.png', width: 4, height: 4, data: new Uint8Array(5) }]), 'BAD_IMAGE', { where: /a\.png/ });
    await rejects(take([{ name: 'b.png', width: 0, height: 0, data: new Uint8Array(0) }], { size: [4, 4] }), 'BAD_IMAGE', {
      where: /b\.png/,
    });
    await rejects(take([new Blob(['no picture'])]), 'BAD_IMAGE');
    await rejects(take(['a.png']), 'BAD_IMAGE');
    await rejects(take([], { std: [0] }), 'INVALID_OPTION');
    await rejects(take([], { size: [0, 4] }), 'INVALID_OPTION');
  });

  test('memory: a limit of the caller, and an input larger than memory', async () => {
    await rejects(InferenceSession.create(model, { memoryLimit: 1000 }), 'LIMIT_EXCEEDED', { what: /\d/ });
    await rejects(quantizeStatic(model, digitFeeds('train', 1), { memoryLimit: 1000 }).result, 'LIMIT_EXCEEDED', {
      what: /memoryLimit = 1000/,
    });
    await rejects(quantizeStatic(model, digitFeeds('train', 1), { memoryLimit: -1 }).result, 'INVALID_OPTION', { where: /memoryLimit/ });
    for (const memoryLimit of [-1, 0.5, Number.NaN]) await rejects(InferenceSession.create(model, { memoryLimit }), 'INVALID_OPTION');
    for (const shape of ['1x1x28x28', [1.5, 1, 28, 28], [-1, 1, 28, 28]])
      await rejects(InferenceSession.create(model, { inputShapes: { image: shape } }), 'INVALID_OPTION', { what: /image/ });
    // Five tensors of a gigabyte that are alive together: more than 32 bits address.
    const ops = ['Exp', 'Neg', 'Abs', 'Sqrt', 'Sin'];
    const large = await load(
      onnx({
        nodes: ops.map((op) => ({ op, name: op, inputs: ['x'], outputs: [op] })),
        inputs: [{ name: 'x', shape: ['n'] }],
        outputs: ops.map((name) => ({ name, shape: ['n'] })),
      }),
    );
    await rejects(InferenceSession.create(large, { inputShapes: { x: [2 ** 28] } }), 'OUT_OF_MEMORY');
    await rejects(InferenceSession.create(large, { inputShapes: { x: [2 ** 28 + 1] } }), 'INVALID_OPTION');
    await rejects(InferenceSession.create(large, { inputShapes: { x: [2 ** 40] } }), 'INVALID_OPTION');
  });

  test('an engine whose files are not where they should be', async () => {
    for (const worker of [true, false]) {
      await rejects(createEngine({ worker, wasmUrl: 'file:///no/such/octavo.wasm' }), 'ENGINE_FAILED', { where: /wasm/, hint: /wasmUrl/ });
      await rejects(createEngine({ worker, wasmBinary: new Uint8Array([1, 2, 3]) }), 'ENGINE_FAILED');
    }
  });

  test('calls after close', async () => {
    const loaded = await load(convModel());
    const session = await InferenceSession.create(loaded);
    await session.close();
    await loaded.close();
    await rejects(session.run({ x: new Float32Array(32) }), 'CLOSED');
    await rejects(loaded.summary(), 'CLOSED');
    const own = await createEngine({ worker: false });
    const other = await Model.load(convModel(), { engine: own });
    await own.close();
    await rejects(other.summary(), 'CLOSED');
    await rejects(Model.load(convModel(), { engine: own }), 'CLOSED');
    await rejects(compare(model, other, []), 'INVALID_OPTION');
  });

  test('what the samples themselves throw comes through, and their iterator is closed', async () => {
    let closed = false;
    async function* samples() {
      try {
        yield digitFeeds('train', 1)[0];
        throw new RangeError('the camera is gone');
      } finally {
        closed = true;
      }
    }
    await assert.rejects(quantizeStatic(model, samples()).result, { name: 'RangeError', message: 'the camera is gone' });
    assert.ok(closed);
    closed = false;
    function* wrong() {
      try {
        yield new Float32Array(1);
        yield new Float32Array(1);
      } finally {
        closed = true;
      }
    }
    await rejects(quantizeStatic(model, wrong()).result, 'SAMPLE_SHAPE');
    assert.ok(closed);
  });
});

test('sources of a model that fail while they are read', async () => {
  await using engine = await createEngine({ worker: false });
  const stream = (start) => new ReadableStream({ start });
  const load = (source) => Model.load(source, { engine });
  await rejects(load(stream((c) => c.error(new Error('the net is gone')))), 'FETCH_FAILED', { what: /the net is gone/, where: /stream/ });
  await rejects(load(stream((c) => c.enqueue('text'))), 'INVALID_OPTION', { what: /string/ });
  const locked = new Blob([digitsModel()]).stream();
  locked.getReader();
  await rejects(load(locked), 'FETCH_FAILED', { what: /locked/ });
  await using worker = await createEngine();
  const gone = digitsModel();
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  await rejects(Model.load(gone, { engine: worker }), 'INVALID_STATE', { hint: /transferred/ });
});

test('an engine without WebAssembly SIMD is told what would do', async () => {
  const { validate } = WebAssembly;
  WebAssembly.validate = () => false;
  try {
    await rejects(createEngine({ worker: false }), 'NO_SIMD', { hint: /Firefox/ });
    WebAssembly.validate = (bytes) => bytes.length < 42 && validate(bytes); // SIMD, but no relaxed SIMD
    await rejects(createEngine({ worker: false, isa: 'relaxed' }), 'NO_SIMD', { hint: /simd/ });
    await using engine = await createEngine({ worker: false });
    assert.equal(engine.features.isa, 'simd');
  } finally {
    WebAssembly.validate = validate;
  }
});

test('aborting ends the work in each phase, and the engine goes on', async () => {
  for (const worker of [true, false]) {
    await using engine = await createEngine({ worker });
    const already = AbortSignal.abort();
    await rejects(Model.load(digitsModel(), { engine, signal: already }), 'ABORTED', { hint: /^$/ });
    const controller = new AbortController();
    const endless = new ReadableStream({
      pull: (c) => {
        c.enqueue(new Uint8Array(10));
      },
    });
    const loading = Model.load(endless, { engine, signal: controller.signal, onProgress: ({ done }) => done > 500 && controller.abort() });
    await rejects(loading, 'ABORTED', { hint: /^$/ });

    const model = await Model.load(digitsModel(), { engine });
    for (const phase of ['calibrate', 'quantize', 'evaluate']) {
      const abort = new AbortController();
      const job = quantizeStatic(model, digitFeeds('train', 60), { signal: abort.signal, evaluateSamples: 60 });
      const watch = (async () => {
        for await (const progress of job) if (progress.stage === phase && progress.done >= 1) abort.abort();
      })().catch(() => {});
      await rejects(job.result, 'ABORTED', { hint: /^$/ });
      await watch;
    }
    // A source of samples that never answers does not hold the abort back, not even a generator, which closes only after that.
    async function* silent() {
      yield digitFeeds('train', 1)[0];
      await new Promise(() => {});
    }
    for (const samples of [{ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }, silent()]) {
      const stuck = quantizeStatic(model, samples);
      setTimeout(() => stuck.abort(), 20);
      await rejects(stuck.result, 'ABORTED', { hint: /^$/ });
    }
    const quiet = new AbortController();
    const waiting = compare(model, model, silent(), { signal: quiet.signal, onProgress: () => setTimeout(() => quiet.abort(), 20) });
    await rejects(waiting, 'ABORTED', { hint: /^$/ });

    const comparing = new AbortController();
    await rejects(
      compare(model, model, digitFeeds('test', 50), { signal: comparing.signal, onProgress: () => comparing.abort() }),
      'ABORTED',
      { hint: /^$/ },
    );
    const planning = new AbortController();
    const planned = InferenceSession.create(model, { signal: planning.signal });
    planning.abort();
    await rejects(planned, 'ABORTED', { hint: /^$/ });
    const session = await InferenceSession.create(model);
    await rejects(session.run({ image: digitFeeds('test', 1)[0] }, { signal: already }), 'ABORTED', { hint: /^$/ });
    await session.close();
    await model.close();
    assert.equal(await engine.call('liveObjects', []), 0);
  }
});

test('aborting what the engine does in one piece ends the waiting, and leaves nothing behind', async () => {
  for (const worker of [true, false]) {
    await using engine = await createEngine({ worker });
    const model = await Model.load(digitsModel(), { engine });
    const [image] = digitFeeds('test', 1);
    const session = await InferenceSession.create(model);
    const pieces = {
      'Model.load': (options) => Model.load(digitsModel(), { engine, ...options }),
      'InferenceSession.create': (options) => InferenceSession.create(model, options),
      'InferenceSession.create of bytes': (options) => InferenceSession.create(digitsModel(), { engine, ...options }),
      'model.summary': (options) => model.summary(options),
      'model.toONNX': (options) => model.toONNX({}, options),
      'session.run': (options) => session.run({ image }, options),
      'session.profile': (options) => session.profile({ image }, options),
      compare: (options) => compare(model, model, [image], options),
      quantizeStatic: (options) => quantizeStatic(model, [image], options).result,
      verify: (options) => verify(digitsModel(), [{ image: new Tensor('float32', image.data, image.shape) }], engine, options),
    };
    for (const [name, work] of Object.entries(pieces)) {
      const where = / of |verify/.test(name) ? /./ : new RegExp(name); // these two are made of others
      await rejects(work({ signal: AbortSignal.abort() }), 'ABORTED', { where, hint: /^$/ });
      const controller = new AbortController();
      const working = work({ signal: controller.signal });
      controller.abort();
      await rejects(working, 'ABORTED', { where, hint: /^$/ });
    }
    assert.equal((await session.run({ image })).logits.data.length, 10);
    await session.close();
    await model.close();
    assert.equal(await engine.call('liveObjects', []), 0);
  }
});

test('closing during a run ends it; other sessions go on', async () => {
  await using engine = await createEngine();
  const model = await Model.load(digitsModel(), { engine });
  const shape = [64, 1, 28, 28];
  const session = await InferenceSession.create(model, { inputShapes: { image: shape } });
  const other = await InferenceSession.create(model);
  const running = session.run({ image: { data: new Float32Array(64 * 784), shape } });
  const outcome = running.then(
    () => 'finished',
    (error) => error.code,
  );
  await session.close();
  assert.ok(['finished', 'CLOSED'].includes(await outcome));
  assert.equal((await other.run({ image: digitFeeds('test', 1)[0] })).logits.data.length, 10);
});
