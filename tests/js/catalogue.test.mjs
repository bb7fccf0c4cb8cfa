// docs/reference/errors.md, row by row: every code there is happens here, says what and where, and leaves the engine in working order.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createEngine, hostErrorCodes, InferenceSession, images, Model, OctavoError, quantizeStatic } from '../../dist/index.js';
import { remedies } from '../../tools/docs.mjs';
import { convModel, digitFeeds, digitsModel, onnx, root } from './support.mjs';

const node = (op, more = {}) => ({ op, name: op.toLowerCase(), inputs: ['x'], outputs: ['y'], ...more });
const conv = node('Conv', { inputs: ['x', 'w'] });
const weight = { name: 'w', shape: [2, 2, 1, 1] };
const [digit] = digitFeeds('train', 1);

describe('the catalogue of errors', () => {
  let engine;
  let model;
  before(async () => {
    engine = await createEngine({ worker: false });
    model = await Model.load(digitsModel(), { engine });
  });
  after(() => engine.close());

  const load = (bytes, options) => Model.load(bytes, { engine, ...options });
  const loadNodes = (...nodes) => load(onnx({ nodes }));
  const calibrate = (...samples) => quantizeStatic(model, samples).result;
  const run = async (feeds) => {
    await using session = await InferenceSession.create(model);
    return await session.run(feeds);
  };

  const cases = {
    INVALID_MODEL: () => load(new Uint8Array()),
    TRUNCATED_MODEL: () => load(digitsModel().slice(0, 5000)),
    UNSUPPORTED_OP: () => loadNodes(node('Loop')),
    UNSUPPORTED_ATTRIBUTE: () => loadNodes(node('Relu', { attrs: { speed: 3 } })),
    UNSUPPORTED_OPSET: () => load(onnx({ nodes: [node('Relu')], opset: 6 })),
    UNSUPPORTED_DTYPE: () => load(onnx({ nodes: [node('Relu')], inputs: [{ name: 'x', shape: [1], type: 'uint16' }] })),
    MISSING_INITIALIZER: () => loadNodes(conv),
    EXTERNAL_DATA: () => load(onnx({ nodes: [conv], weights: [{ ...weight, external: 'w.bin' }] })),
    SHAPE_MISMATCH: () => load(convModel({ shape: [1, 3, 4, 4] })),
    NON_FINITE_WEIGHT: () => load(convModel({ weights: Float32Array.of(1, Number.NaN, 1, 1) })),
    DYNAMIC_DIMENSION: async () =>
      InferenceSession.create(await load(convModel({ shape: [1, 2, 'height', 'width'] })), { fixedShapes: true }),
    SAMPLE_SHAPE: () => run({ image: new Float32Array(783) }),
    SAMPLE_DTYPE: () => run({ image: new Uint8Array(784) }),
    SAMPLE_MISSING: () => run({}),
    NO_SAMPLES: () => calibrate(),
    NON_FINITE_SAMPLE: () => calibrate(new Float32Array(784).fill(Number.NaN)),
    INVALID_OPTION: () => model.toONNX({ opset: 9 }),
    INVALID_STATE: async () => quantizeStatic((await quantizeStatic(model, [digit]).result).model, [digit]).result,
    LIMIT_EXCEEDED: () => InferenceSession.create(model, { memoryLimit: 1000 }),
    OUT_OF_MEMORY: async () => {
      // Five tensors of a gigabyte that are alive together.
      const ops = ['Exp', 'Neg', 'Abs', 'Sqrt', 'Sin'];
      const nodes = ops.map((op) => node(op, { outputs: [op] }));
      const outputs = ops.map((name) => ({ name, shape: ['n'] }));
      const large = await load(onnx({ nodes, inputs: [{ name: 'x', shape: ['n'] }], outputs }));
      return InferenceSession.create(large, { inputShapes: { x: [2 ** 28] } });
    },
    INTERNAL: () => engine.call('loadModel', [undefined]), // what no call of the API gives the host
    ABORTED: () => load(digitsModel(), { signal: AbortSignal.abort() }),
    BAD_IMAGE: () => Array.fromAsync(images([{ name: 'a.png', width: 4, height: 4, data: new Uint8Array(5) }])),
    IMAGE_TOO_LARGE: () => Array.fromAsync(images([{ name: 'a.png', width: 4, height: 4, data: new Uint8Array(64) }], { memoryLimit: 63 })),
    CLOSED: async () => {
      const closed = await InferenceSession.create(model);
      await closed.close();
      return closed.run({ image: digit });
    },
    ENGINE_FAILED: () => createEngine({ worker: false, wasmUrl: 'file:///no/such/octavo.wasm' }),
    FETCH_FAILED: () => load('file:///no/such/model.onnx'),
    NO_SIMD: async () => {
      const { validate } = WebAssembly;
      WebAssembly.validate = () => false;
      try {
        return await createEngine({ worker: false });
      } finally {
        WebAssembly.validate = validate;
      }
    },
    RECIPE_MISMATCH: async () => {
      const { recipe } = await quantizeStatic(model, [digit]).result;
      return quantizeStatic(await load(convModel()), [], { recipe }).result;
    },
  };

  test('holds every code of the engine and of JavaScript, each with something to do', async () => {
    const codes = [...(await engine.call('errorCodes', [])).map(({ code }) => code), ...Object.keys(hostErrorCodes)];
    const page = readFileSync(join(root, 'docs/reference/errors.md'), 'utf8');
    const rows = [...page.matchAll(/^\| `(\w+)` \| [^|]+ \| [^|]{10,} \|$/gm)].map(([, code]) => code);
    assert.deepEqual(rows, codes);
    assert.deepEqual(Object.keys(cases).sort(), [...codes].sort());
    assert.deepEqual(Object.keys(remedies).sort(), [...codes].sort());
  });

  for (const [code, work] of Object.entries(cases)) {
    test(code, async () => {
      let error;
      await assert.rejects(work, (thrown) => {
        error = thrown;
        return true;
      });
      assert.ok(error instanceof OctavoError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.what, /^.{10,}\.$/s);
      assert.ok(error.where || error.hint, error.message);
      assert.ok(error.message.includes(error.what));
      if (code === 'INTERNAL') model = await Model.load(digitsModel(), { engine }); // the engine started anew
      assert.equal((await run({ image: digit })).logits.data.length, 10);
    });
  }
});
