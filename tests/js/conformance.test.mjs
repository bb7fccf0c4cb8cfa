// Other people's cases: ONNX's node tests and light models, ONNX Runtime Web's operator tests, small quantized and fused models.
// `npm run conformance -- DIR` runs any folder of such cases.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createEngine } from '../../dist/index.js';
import { extended, message, text } from '../../dist/wire.js';
import { difference, runAll } from '../../tools/conformance.mjs';
import { writeTensor } from '../../tools/onnx.mjs';
import { countOthers, readOthers } from '../../tools/operators.mjs';
import { dataFolder, onnx, root, skipWithoutData } from './support.mjs';

test('a difference is seen: values beyond the tolerance, types, shapes, NaN', () => {
  const tensor = (data, shape = [2], type = 'float32') => ({ type, shape, data });
  const one = tensor(Float32Array.of(1, Number.NaN));
  assert.equal(difference(one, tensor(Float32Array.of(1.0009, Number.NaN))), undefined);
  assert.match(difference(one, tensor(Float32Array.of(1.0011, Number.NaN))), /1 of 2 elements, first at 0/);
  assert.match(difference(one, tensor(Float32Array.of(1, 2))), /first at 1: NaN, not 2/);
  assert.match(difference(one, tensor(Float32Array.of(1, 2), [1, 2])), /shape/);
  assert.match(difference(tensor(Int32Array.of(1, 2), [2], 'int32'), tensor(Int32Array.of(1, 3), [2], 'int32')), /first at 1/);
  assert.match(difference(tensor(Int32Array.of(1, 2), [2], 'int32'), one), /is int32/);
});

test('a damaged case is told by its name, and the others run', async () => {
  const top = mkdtempSync(join(tmpdir(), 'octavo-damaged-'));
  const model = onnx({
    nodes: [{ op: 'Relu', name: 'relu', inputs: ['x'], outputs: ['y'] }],
    inputs: [{ name: 'x', shape: [2] }],
    outputs: [{ name: 'y' }],
  });
  const tensor = (name, ...values) => writeTensor({ name, shape: [values.length], data: Float32Array.from(values) });
  const [input, output] = [tensor('x', -1, 2), tensor('y', 0, 2)];
  const short = writeTensor({ name: 'x', shape: [3], data: Float32Array.of(1, 2) });
  const good = { 'model.onnx': model, 'test_data_set_0/input_0.pb': input, 'test_data_set_0/output_0.pb': output };
  const files = (changes) => ({ ...good, ...changes });
  const sequence = extended(model, [message(11, text(1, 's'), message(2, message(4, message(1))))]);
  const cases = {
    'a text for a model': [files({ 'model.onnx': 'no model' }), /^It is no model: /],
    'backwards model': [
      files({ 'model.onnx': Uint8Array.of(8, 8, 0x3a, 0xfe, ...new Uint8Array(8).fill(255), 1) }),
      /^It is no model: Field 7 /,
    ],
    'cut model': [files({ 'model.onnx': model.slice(0, 50) }), /^It is no model: /],
    'cut tensor': [files({ 'test_data_set_0/input_0.pb': input.slice(0, -1) }), /^input_0\.pb is no tensor: /],
    'empty model': [files({ 'model.onnx': '' }), /^It is no model: /],
    'empty tensor': [files({ 'test_data_set_0/output_0.pb': '' }), /^output_0\.pb is no tensor: /],
    'extra input': [files({ 'test_data_set_0/input_1.pb': input }), /^It has 2 inputs, the model 1/],
    'extra output': [files({ 'test_data_set_0/output_1.pb': output }), /^It has 2 outputs, the model 1/],
    good: [good],
    'no input': [files({ 'test_data_set_0/input_0.pb': undefined }), /^It has 0 inputs, the model 1/],
    'no output': [files({ 'test_data_set_0/output_0.pb': undefined }), /^It has no outputs/],
    'no set': [{ 'model.onnx': model }, /^It has no folder test_data_set_0/],
    'no tests': [{ 'tests.jsonc': '{}' }, /^It is no list of tests/],
    'odd json': [{ 'tests.jsonc': '[{' }, /JSON/],
    'other length': [files({ 'test_data_set_0/input_0.pb': short }), /^input_0\.pb is no tensor: \[3\] has 2 elements/],
    'a sequence': [files({ 'model.onnx': sequence }), /^'s' is no tensor/],
  };
  try {
    for (const [name, [parts]] of Object.entries(cases)) {
      for (const [path, data] of Object.entries(parts)) {
        if (data === undefined) continue;
        mkdirSync(join(top, name, path, '..'), { recursive: true });
        writeFileSync(join(top, name, path), data);
      }
    }
    symlinkSync(top, join(top, 'loop'));
    symlinkSync(join(top, 'gone'), join(top, 'nothing'));
    const results = Object.fromEntries((await runAll([top])).map(({ name, ...rest }) => [name.split('/')[1], rest]));
    assert.deepEqual(Object.keys(results).sort(), Object.keys(cases).sort());
    for (const [name, [, why]] of Object.entries(cases)) {
      const wanted = { good: 'passed', 'a sequence': 'unsupported' }[name] ?? 'unreadable';
      assert.equal(results[name].status, wanted, `${name}: ${results[name].why}`);
      if (why) assert.match(results[name].why, why, name);
    }
    const run = (...paths) => spawnSync(process.execPath, [join(root, 'tools/conformance.mjs'), ...paths], { encoding: 'utf8' });
    const damaged = run(join(top, 'no set'), join(top, 'good'));
    assert.match(damaged.stdout, /^unreadable {2}no set \(.*\)\npassed {6}good\n2 cases: 1 passed, .* 1 unreadable\n$/);
    assert.equal(damaged.status, 1);
    assert.equal(run(join(top, 'good')).status, 0);
    assert.equal(run(join(top, 'gone')).stderr, `${join(top, 'gone')}: there is no such file or folder.\n`);
  } finally {
    rmSync(top, { recursive: true });
  }
});

/** Where our result is ONNX Runtime's and the file's is another, with the reason. */
const asOrt = {
  // The files' results wrap around where the operator saturates.
  test_qlinearmatmul_2D_int8_float32: 'onnx117_node_subset',
  test_qlinearmatmul_3D_int8_float32: 'onnx117_node_subset',
  // The file divides by 4 * 0.6 - 1 (or 4 * 0.8 - 1), runtimes by the output's whole length - 1.
  test_resize_downsample_scales_linear_align_corners: 'onnx117_node_subset',
  test_resize_downsample_scales_cubic_align_corners: 'onnx117_node_subset',
  // The file divides by the taps inside image and padding before opset 19 too.
  test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True: 'onnx117_node_subset',
  // The last number of each file is that of the input without its sign.
  'quick-gelu.jsonc: QuickGelu test, [2x4]': 'ort_web_ops_jsonc',
  'quick-gelu.jsonc: QuickGelu test, [3x5]': 'ort_web_ops_jsonc',
};
/** What is refused, and how many cases each: the code, and the operator or what else the engine says. */
const refused = {
  onnx117_node_subset: {
    "UNSUPPORTED_ATTRIBUTE (BatchNormalization): It normalizes with the batch's own statistics, as in training.": 2,
    "UNSUPPORTED_ATTRIBUTE (DequantizeLinear): Attribute 'block_size' is not supported.": 1,
    "UNSUPPORTED_ATTRIBUTE (QuantizeLinear): Attribute 'block_size' is not supported.": 1,
  },
  onnx_light_models: {},
  ort_web_ops_jsonc: {
    'UNSUPPORTED_OP com.microsoft.Attention': 10,
    'UNSUPPORTED_OP com.ms.internal.nhwc.BatchNormalization': 3,
    'UNSUPPORTED_OP com.microsoft.BiasAdd': 1,
    'UNSUPPORTED_OP com.microsoft.BiasSplitGelu': 1,
    "UNSUPPORTED_DTYPE 'x0' is int4": 4,
    "UNSUPPORTED_DTYPE 'x0' is uint4": 2,
    "UNSUPPORTED_ATTRIBUTE (DequantizeLinear): Attribute 'block_size' is not supported.": 3,
    'UNSUPPORTED_OP DFT': 12,
    'UNSUPPORTED_OP com.microsoft.FastGelu': 9,
    'UNSUPPORTED_OP com.ms.internal.nhwc.Conv': 4,
    'UNSUPPORTED_OP com.microsoft.GroupQueryAttention': 17,
    'UNSUPPORTED_OP ImageScaler': 1,
    'UNSUPPORTED_OP com.microsoft.MatMulNBits': 23,
    'UNSUPPORTED_OP com.microsoft.MultiHeadAttention': 18,
    'UNSUPPORTED_OP com.microsoft.RotaryEmbedding': 12,
    'UNSUPPORTED_OP SimplifiedLayerNormalization': 1,
    'UNSUPPORTED_OP com.microsoft.SkipLayerNormalization': 2,
    'UNSUPPORTED_OP com.microsoft.SkipSimplifiedLayerNormalization': 1,
  },
  ort_testdata_q_and_fusion: {
    'UNSUPPORTED_DTYPE It has data type 22 of ONNX.': 1,
    'UNSUPPORTED_DTYPE (QuantizeLinear): It quantizes to uint16.': 2,
    'UNSUPPORTED_DTYPE (DequantizeLinear): It dequantizes uint16.': 5,
    NO_REFERENCE: 7, // ONNX Runtime's own words, which name folders
  },
};
function refusalOf({ code, why }) {
  if (code === 'NO_REFERENCE') return code;
  return `${code} ${why.match(/The operator ([\w.]+) /)?.[1] ?? why.replace(/^(node|initializer) '[^']*':? /, '')}`;
}

describe('cases of others', { skip: skipWithoutData }, () => {
  const archives = [
    ['conformance/onnx117_node_subset', 262],
    ['conformance/onnx_light_models', 9],
    ['conformance/ort_web_ops_jsonc', 520],
    ['quantized/ort_testdata_q_and_fusion', 60],
  ];
  const ran = [];
  let folder;
  let operators;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'octavo-cases-'));
    const engine = await createEngine({ worker: false });
    operators = new Set((await engine.call('operators', [])).map(({ name }) => name));
    await engine.close();
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const [archive, least] of archives) {
    const path = join(dataFolder, `${archive}.tar.gz`);
    test(archive, { skip: !existsSync(path) && 'these cases are not here' }, async () => {
      const to = join(folder, archive.split('/')[1]);
      execFileSync('mkdir', ['-p', to]);
      execFileSync('tar', ['-xzf', path, '-C', to]);
      const results = await runAll([to]);
      ran.push({ archive, results });
      const those = (status) => results.filter((result) => result.status === status);
      const line = ['passed', 'unsupported', 'as ort', 'wrong'].map((status) => `${those(status).length} ${status}`);
      console.log(`${archive}: ${results.length} cases, ${line.join(', ')}`);
      const known = Object.keys(asOrt)
        .filter((name) => archive.endsWith(asOrt[name]))
        .sort();
      const names = (status) =>
        those(status)
          .map(({ name }) => name.split('/').pop())
          .sort();
      assert.deepEqual(those('wrong'), []);
      assert.deepEqual(names('as ort'), known);
      assert.ok(those('passed').length >= least, `only ${those('passed').length} passed`);
      const found = {};
      for (const result of those('unsupported')) {
        const refusal = refusalOf(result);
        found[refusal] = (found[refusal] ?? 0) + 1;
        // An operator is refused by name only where the table of operators does not have it.
        assert.ok(!operators.has(result.why.match(/The operator ([\w.]+) /)?.[1]), `${result.name}: ${result.why}`);
      }
      assert.deepEqual(found, refused[archive.split('/')[1]]);
    });
  }

  test('docs/reference/operators.md counts them as they ran', (t) => {
    if (ran.length < archives.length) return t.skip('not all cases are here');
    const counted = countOthers(ran.flatMap(({ results }) => results));
    const page = readOthers(readFileSync(join(root, 'docs/reference/operators.md'), 'utf8'));
    assert.deepEqual(page.all, counted.all);
    const rows = Object.entries(page.of);
    assert.ok(rows.length > 100);
    for (const [name, said] of rows) assert.deepEqual(said, counted.of[name] ?? [0, 0], name);
    return undefined;
  });
});
