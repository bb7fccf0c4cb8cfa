// The int8 BatchNorm beside float, a plain copy and other runtimes, in Chromium: `npm run bench:batchnorm`
//
// All of it runs in one page, in interleaved rounds on one thread. Ours: every row of the kernel table, called in WebAssembly. The others
// have no such operator: ONNX Runtime Web computes DequantizeLinear, BatchNormalization, QuantizeLinear; LiteRT.js an int8 MUL and ADD.
// Theirs is the time of one layer inside a chain, (time of 9 layers - time of 1) / 8, so that neither pays for the border.

import { onnx } from '../tests/js/support.mjs';
import { launch } from '../tests/web/support.mjs';
import { ninja } from '../tools/build.mjs';
import { fail, inRoot, isMain } from '../tools/project.mjs';
import { isolationHeaders, serve } from '../tools/serve.mjs';
import { batchNormChain } from './tflite.mjs';

/** `given`: PyTorch's own time in milliseconds, as it was told; nothing here measures it. */
export const shapes = [
  { channels: 64, size: 112, given: 0.18 },
  { channels: 256, size: 56 },
];
const chains = [1, 9];

/** `count` quantized BatchNormalizations one after the other as an ONNX file; uint8 in and out. */
function onnxChain(channels, size, count) {
  const shape = [1, channels, size, size];
  const vector = (name, from) => ({
    name,
    shape: [channels],
    data: Float32Array.from({ length: channels }, (_, c) => from + (c % 9) * 0.05),
  });
  const nodes = [];
  for (let i = 0; i < count; i++) {
    const x = i === 0 ? 'x' : `q${i}`;
    const y = i === count - 1 ? 'y' : `q${i + 1}`;
    nodes.push({ op: 'DequantizeLinear', inputs: [x, 'scale'], outputs: [`d${i}`] });
    nodes.push({ op: 'BatchNormalization', inputs: [`d${i}`, 'weight', 'bias', 'mean', 'var'], outputs: [`b${i}`] });
    nodes.push({ op: 'QuantizeLinear', inputs: [`b${i}`, 'scale'], outputs: [y] });
  }
  return onnx({
    nodes,
    inputs: [{ name: 'x', shape, type: 2 }],
    outputs: [{ name: 'y', shape, type: 2 }],
    weights: [
      { name: 'scale', shape: [], data: Float32Array.of(0.05) },
      vector('weight', 0.6),
      vector('bias', 0.1),
      vector('mean', -0.2),
      vector('var', 0.8),
    ],
  });
}

/** Times every contender for each shape; { shape, rows: [{ name, milliseconds (median), best }] }. */
export async function measure({ rounds = 15 } = {}) {
  await ninja('wasm-relaxed', 'bench_batchnorm');
  const server = await serve({ folder: inRoot(), headers: isolationHeaders }); // the others' glue uses eval
  const { browser, close } = await launch();
  try {
    const page = await browser.newPage();
    const results = [];
    for (const shape of shapes) {
      await page.goto(`${server.url}bench/page.html`);
      const { channels, size } = shape;
      const models = chains.map((count) => ({
        count,
        onnx: [...onnxChain(channels, size, count)],
        tflite: [...batchNormChain(channels, size, count)],
      }));
      const rows = await page.evaluate(async (...args) => (await import('/bench/batchnorm-page.mjs')).race(...args), shape, models, rounds);
      results.push({ shape, rows });
    }
    return results;
  } finally {
    await close();
    await server.close();
  }
}

function print({ shape: { channels, size, given }, rows }) {
  const elements = channels * size * size;
  const rate = (milliseconds) => elements / milliseconds / 1e6;
  const best = (order) =>
    rows.filter(({ name }) => name.startsWith('qbatchnorm/') && name.endsWith(order)).sort((a, b) => a.best - b.best)[0];
  console.log(`(1, ${channels}, ${size}, ${size})`.padEnd(36), 'median ms', ' best ms', ' Gel/s (best)', ' nchw is x times', ' nhwc is');
  const all = given ? [...rows, { name: 'PyTorch, native (given, not measured)', median: given, best: given }] : rows;
  for (const { name, median, best: fastest } of all) {
    const against = ['nchw', 'nhwc'].map((order) => (fastest / best(order).best).toFixed(1).padStart(12));
    console.log(
      name.padEnd(36),
      median.toFixed(4).padStart(9),
      fastest.toFixed(4).padStart(8),
      rate(fastest).toFixed(2).padStart(12),
      ...against,
    );
  }
}

if (isMain(import.meta.url)) {
  try {
    for (const result of await measure()) print(result);
  } catch (error) {
    fail(error);
  }
}
