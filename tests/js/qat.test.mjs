// Networks trained with fake quantization, as PyTorch exports them, run their layers on codes and give the codes that ONNX Runtime gives.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as ort from 'onnxruntime-node';
import { createEngine, InferenceSession, Tensor } from '../../dist/index.js';
import { runReference } from '../../tools/conformance.mjs';
import { negativeFactor, qatNetworks } from './qat-networks.mjs';

let engine;
before(async () => {
  engine = await createEngine({ worker: false });
});
after(() => engine.close());

/** Its output, that of ONNX Runtime, both in steps of its grid, and the kernels of its layers. */
async function run({ model, x, scale }) {
  const [expected] = await runReference(ort, model, [x]);
  const session = await InferenceSession.create(model, { engine });
  const feed = new Tensor('float32', x.data, x.shape);
  const [actual] = Object.values(await session.run(feed));
  const { steps } = await session.profile(feed);
  await session.close();
  assert.deepEqual(actual.shape, expected.shape);
  const codes = ({ data }) => Array.from(data, (value) => Math.round(value / scale));
  const layers = steps.filter(({ op }) => ['Conv', 'Gemm', 'MatMul'].includes(op));
  return { actual: codes(actual), expected: codes(expected), layers, steps };
}

/**
 * What ONNX Runtime computes in float, a convolution with BatchNormalization behind it, has its shift unrounded there; here it is an int32 in
 * steps of input scale * weight scale, as the bias of every convolution on codes, half of which is up to a thousandth of an output's step in these
 * networks: so many codes of a layer may fall to the other side, three layers deep.
 */
const shareOfRounding = 0.005;

function assertSameCodes(actual, expected, normalizes = false) {
  const off = expected.map((code, i) => Math.abs(code - actual[i]));
  const different = off.filter(Boolean).length;
  assert.ok(Math.max(...off) <= 1, `a code is off by ${Math.max(...off)}`);
  assert.ok(different <= (normalizes ? shareOfRounding : 0.001) * off.length, `${different} of ${off.length} codes differ`);
  assert.ok(new Set(expected).size > 30, 'the network says nothing');
}

describe('networks trained with fake quantization', () => {
  for (const [name, network] of qatNetworks) {
    test(name, async () => {
      const { actual, expected, layers, steps } = await run(network);
      assertSameCodes(actual, expected, network.normalizes);
      assert.ok(layers.length >= 2);
      for (const { op, node, kernel } of layers) assert.match(kernel, /^q(conv|dwconv|winograd)\//, `${op} '${node}' runs as ${kernel}`);
      const between = steps.filter(({ op }) => op === 'DequantizeLinear' || op === 'QuantizeLinear');
      // A mean behind which a Flatten stands before its codes are made is float, as in ONNX Runtime.
      const means = steps.filter(({ op }) => op === 'GlobalAveragePool').length;
      assert.ok(between.length <= 2 + 2 * means, `codes become floats and back: ${between.map(({ node }) => node)}`);
    });
  }

  test('a negative factor stays behind its layer, which is float, and is right', async () => {
    const { actual, expected, layers } = await run(negativeFactor);
    assertSameCodes(actual, expected, true);
    assert.match(layers[0].kernel, /^f/);
    assert.match(layers[1].kernel, /^q/);
  });
});
