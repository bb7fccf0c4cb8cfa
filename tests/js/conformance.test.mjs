// Other people's cases: ONNX's node tests and light models, ONNX Runtime Web's operator tests, small quantized and fused models.
// `npm run conformance -- DIR` runs any folder of such cases.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createEngine } from '../../dist/index.js';
import { difference, runAll } from '../../tools/conformance.mjs';
import { dataFolder, skipWithoutData } from './support.mjs';

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

/** Where our result is ONNX Runtime's and the file's is another, with the reason. */
const asOrt = {
  // The file's result wraps around where the operator saturates.
  test_qlinearmatmul_2D_int8_float32: 'onnx117_node_subset',
  // The file divides by 4 * 0.6 - 1 (or 4 * 0.8 - 1), runtimes by the output's whole length - 1.
  test_resize_downsample_scales_linear_align_corners: 'onnx117_node_subset',
  test_resize_downsample_scales_cubic_align_corners: 'onnx117_node_subset',
  // The file divides by the taps inside image and padding before opset 19 too.
  test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True: 'onnx117_node_subset',
  // The last number of each file is that of the input without its sign.
  'quick-gelu.jsonc: QuickGelu test, [2x4]': 'ort_web_ops_jsonc',
  'quick-gelu.jsonc: QuickGelu test, [3x5]': 'ort_web_ops_jsonc',
};
describe('cases of others', { skip: skipWithoutData }, () => {
  let folder;
  let operators;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'octavo-cases-'));
    const engine = await createEngine({ worker: false });
    operators = new Set((await engine.call('operators', [])).map(({ name }) => name));
    await engine.close();
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const [archive, least] of [
    ['conformance/onnx117_node_subset', 261],
    ['conformance/onnx_light_models', 9],
    ['conformance/ort_web_ops_jsonc', 500],
    ['quantized/ort_testdata_q_and_fusion', 60],
  ]) {
    const path = join(dataFolder, `${archive}.tar.gz`);
    test(archive, { skip: !existsSync(path) && 'these cases are not here' }, async () => {
      const to = join(folder, archive.split('/')[1]);
      execFileSync('mkdir', ['-p', to]);
      execFileSync('tar', ['-xzf', path, '-C', to]);
      const results = await runAll([to]);
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
      // An operator is refused by name only where the table of operators does not have it.
      for (const { code, why, name, ops } of those('unsupported')) {
        const refused = why.match(/The operator ([\w.]+) /)?.[1];
        if (refused) assert.ok(!operators.has(refused), `${name}: ${why}`);
        else assert.ok(why.length > 10 && (ops.length > 0 || code), `${name}: ${why}`);
      }
    });
  }
});
