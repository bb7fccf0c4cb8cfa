// The benchmarks time what they say: networks are the known ones, twins hold the same numbers, and what differs is refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteBuffer } from 'flatbuffers';
import * as ort from 'onnxruntime-node';
import { agreement, compareOutputs } from '../../bench/agreement.mjs';
import { network, networks, operator, operators } from '../../bench/architectures.mjs';
import { interleave, raceOpened } from '../../bench/bench-page.mjs';
import { chart, consoleTable, document, goals } from '../../bench/bench-report.mjs';
import { barChart } from '../../bench/chart.mjs';
import { sample } from '../../bench/random.mjs';
import { commonGrid, tfliteTwin } from '../../bench/twin.mjs';
import { createEngine, Model, quantizeStatic } from '../../dist/index.js';
import { exactCodes } from '../../tools/conformance.mjs';
import { readGraph } from '../../tools/onnx.mjs';
import { onnx } from './support.mjs';

async function runOrt({ file, inputShape }) {
  const session = await ort.InferenceSession.create(file, { logSeverityLevel: 3, ...exactCodes });
  const { y } = await session.run({ x: new ort.Tensor('float32', sample(inputShape).data, inputShape) });
  await session.release();
  return y;
}

// ---- networks ----

test('networks have the products of the published ones', () => {
  const millions = { mobilenetv1: 569, mobilenetv2: 301, mobilenetv3: 217, resnet18: 1814, squeezenet: 349, efficientnetlite0: 385 };
  for (const [name, wanted] of Object.entries(millions)) assert.equal(Math.round(network(name).macs / 1e6), wanted, name);
});

for (const name of ['mobilenetv1', 'mobilenetv2', 'mobilenetv3', 'resnet18', 'squeezenet', 'densenet121', 'efficientnetlite0']) {
  test(`${name}: 1000 different numbers of a sane size`, async () => {
    const { dims, data } = await runOrt(network(name, { size: 64 }));
    assert.deepEqual(dims, [1, 1000]);
    const largest = Math.max(...data.map(Math.abs));
    assert.ok(largest > 0.05 && largest < 50, `largest ${largest}`);
    assert.ok(new Set(data).size > (name === 'squeezenet' ? 300 : 900)); // SqueezeNet ends in a Relu
  });
}

test('a network computes the same with its BatchNormalizations folded and not', async () => {
  const [folded, unfolded] = [false, true].map((given) => network('resnet18', { size: 64, unfolded: given }));
  const count = ({ file }) => readGraph(file).nodes.filter(({ op }) => op === 'BatchNormalization').length;
  assert.deepEqual([count(folded), count(unfolded)], [0, 20]);
  const [a, b] = [await runOrt(folded), await runOrt(unfolded)];
  assert.ok(agreement([...a.data], [...b.data]).decibels > 90);
});

test('operators are so many layers as asked for', async () => {
  for (const name of Object.keys(operators)) {
    const [one, three] = [1, 3].map((copies) => operator(name, copies));
    assert.equal(three.macs, 3 * one.macs, name);
    const outputs = (await runOrt(three)).data;
    assert.ok(
      outputs.every((value) => Number.isFinite(value)),
      name,
    );
  }
});

test('readGraph reads what onnx writes', () => {
  const nodes = [
    { op: 'Conv', name: 'c', inputs: ['x', 'w'], outputs: ['t'], attrs: { group: 2, pads: [0, 1, 0, 1], auto_pad: 'NOTSET' } },
    { op: 'LeakyRelu', name: 'l', inputs: ['t'], outputs: ['y'], attrs: { alpha: 0.25 } },
  ];
  const w = { name: 'w', shape: [2, 1, 1, 1], data: Float32Array.of(1, -2) };
  const graph = readGraph(onnx({ nodes, weights: [w] }));
  assert.deepEqual(
    graph.nodes,
    nodes.map((node) => ({ attrs: {}, ...node })),
  );
  assert.deepEqual([...graph.weights], [['w', { ...w, type: 'float32' }]]);
  assert.deepEqual(graph.inputs, [{ name: 'x', type: 'float32', shape: [1, 2, 4, 4] }]);
});

// ---- twins ----

/** A flatbuffer table as far as the tests look: fields by number. */
class Table {
  constructor(bytes, at) {
    Object.assign(this, { bytes, at });
  }
  static root(file) {
    const bytes = new ByteBuffer(file);
    return new Table(bytes, bytes.readInt32(0));
  }
  #field(number) {
    const offset = this.bytes.__offset(this.at, 4 + 2 * number);
    return offset && this.at + offset;
  }
  int32(number) {
    const at = this.#field(number);
    return at ? this.bytes.readInt32(at) : 0;
  }
  table(number) {
    return new Table(this.bytes, this.bytes.__indirect(this.#field(number)));
  }
  /** A vector's elements by `read`, called with their addresses. */
  list(number, size, read) {
    const at = this.#field(number);
    if (!at) return [];
    const start = this.bytes.__vector(at);
    return Array.from({ length: this.bytes.__vector_len(at) }, (_, i) => read(start + i * size));
  }
  tables = (number) => this.list(number, 4, (at) => new Table(this.bytes, this.bytes.__indirect(at)));
  ints = (number) => this.list(number, 4, (at) => this.bytes.readInt32(at));
  /** Where a vector of bytes begins; 0 where there is none. */
  start(number) {
    const at = this.#field(number);
    return at && this.bytes.__vector(at);
  }
}

/** { layers: [{ code, inputs, output }], tensors: [{ shape, scales, zero, start, element }] } of a .tflite file. */
function readTflite(file) {
  assert.equal(String.fromCharCode(...file.subarray(4, 8)), 'TFL3');
  const model = Table.root(file);
  const codes = model.tables(1).map((one) => one.int32(3));
  const buffers = model.tables(4).map((one) => one.start(0));
  const [graph] = model.tables(2);
  const tensors = graph.tables(0).map((one) => {
    const start = buffers[one.int32(2)];
    const quantized = one.bytes.__offset(one.at, 12) ? one.table(4) : undefined;
    return {
      shape: one.ints(0),
      scales: quantized?.list(2, 4, (at) => one.bytes.readFloat32(at)),
      zero: quantized && Number(quantized.list(3, 8, (at) => one.bytes.readInt64(at))[0]),
      start,
      element: (i) => one.bytes.readInt8(start + i),
    };
  });
  const layers = graph.tables(3).map((one) => ({ code: codes[one.int32(0)], inputs: one.ints(1), output: one.ints(2)[0] }));
  return { layers, tensors };
}
const code = { add: 0, conv: 3, depthwise: 4, dequantize: 6, dense: 9, maxPool: 17, mul: 18, mean: 40, quantize: 114 };

test('an int8 twin holds the codes and scales of the file, channels last, zero points less 128', async () => {
  await using engine = await createEngine({ worker: false });
  const { file, inputShape } = network('mobilenetv2', { size: 32 });
  const model = await Model.load(file, { engine });
  const { model: int8 } = await quantizeStatic(model, [sample(inputShape)], { target: 'onnxruntime', evaluateSamples: 1 }).result;
  const exported = await int8.toONNX();
  const { weights, nodes } = readGraph(exported);
  const { layers, tensors } = readTflite(tfliteTwin(exported));

  const count = (wanted) => layers.filter((layer) => layer.code === wanted).length;
  assert.deepEqual([count(code.conv), count(code.depthwise), count(code.add), count(code.dense)], [35, 17, 10, 1]);
  assert.deepEqual([layers[0].code, layers.at(-1).code], [code.quantize, code.dequantize]);
  assert.deepEqual(tensors[0].shape, [1, 32, 32, 3]);

  const [firstConv, firstDepthwise] = [code.conv, code.depthwise].map((wanted) => layers.find((layer) => layer.code === wanted));
  const at = (name) => weights.get(name).data;
  const conv = tensors[firstConv.inputs[1]];
  assert.deepEqual(conv.shape, [32, 3, 3, 3]);
  const [o, i, row, column] = [5, 2, 1, 0];
  assert.equal(conv.element(((o * 3 + row) * 3 + column) * 3 + i), at('w0_quantized')[((o * 3 + i) * 3 + row) * 3 + column]);
  assert.deepEqual(conv.scales, [...at('w0_scale')]);
  assert.equal(conv.start % 16, 0);
  const depthwise = tensors[firstDepthwise.inputs[1]];
  assert.deepEqual(depthwise.shape, [1, 3, 3, 32]);
  const second = nodes.filter(({ op }) => op === 'Conv')[1].inputs[1].replace('_dequantized', '_quantized');
  assert.equal(depthwise.element((row * 3 + column) * 32 + o), at(second)[o * 9 + row * 3 + column]);

  const output = tensors[firstConv.output];
  const name = nodes.find(({ op }) => op === 'Conv').outputs[0];
  assert.deepEqual([output.scales[0], output.zero], [at(`${name}_scale`)[0], at(`${name}_zero_point`)[0] - 128]);
});

test('a float twin has its activations in the layers before', () => {
  const { layers, tensors } = readTflite(tfliteTwin(network('resnet18', { size: 32 }).file));
  const counts = Map.groupBy(layers, (layer) => layer.code);
  assert.deepEqual(
    [...counts].map(([key, list]) => [key, list.length]).sort((a, b) => a[0] - b[0]),
    [
      [code.add, 8],
      [code.conv, 20],
      [code.dense, 1],
      [code.maxPool, 1],
      [code.mean, 1],
    ],
  );
  assert.ok(tensors.every(({ scales }) => scales === undefined));
});

test('an operator without a twin is named', () => {
  const nodes = [{ op: 'Softplus', inputs: ['x'], outputs: ['y'] }];
  assert.throws(() => tfliteTwin(onnx({ nodes })), /Softplus/);
});

test('the common grid holds all ranges', () => {
  const a = { scale: 0.1, zero: 3 };
  assert.equal(commonGrid([a, { ...a }]), a);
  const { scale, zero } = commonGrid([a, { scale: 0.01, zero: -128 }, { scale: 0.2, zero: 127 }]);
  assert.ok((-128 - zero) * scale <= -51 + scale && (127 - zero) * scale >= 12.4 - scale, `${scale} ${zero}`);
});

// ---- races ----

test('engines that compute something else are named', () => {
  const good = [1, -2, 3, 4];
  const row = (engine, output, type = 'int8') => ({ engine, type, group: type, output });
  const compared = (...rows) => {
    compareOutputs(rows);
    return rows;
  };
  const [, same, near] = compared(row('octavo', good), row('ort', good), row('litert', [1, -2, 3.05, 4]));
  assert.deepEqual([same.agreement.equal, near.agreement.equal, same.error, near.error], [1, 0.75, undefined, undefined]);
  assert.match(compared(row('octavo', good), row('litert', [1, 2, 3, 4]))[1].error, /^computes something else: 2\.7 dB/);
  assert.match(compared(row('octavo', good), row('litert', [1]))[1].error, /^computes something else: 1 numbers/);
  assert.match(compared(row('octavo', good, 'float'), row('ort', [1, -2, 3.05, 4], 'float'))[1].error, /something else/);
});

test('who fails or computes something else is not timed', async () => {
  const contender = (engine, numbers) => {
    const calls = { runs: 0, closed: 0 };
    const run = async () => {
      calls.runs++;
      return numbers;
    };
    return { engine, type: 'int8', group: 'int8', calls, open: async () => ({ run, close: () => calls.closed++ }) };
  };
  const broken = { ...contender('ort'), open: () => Promise.reject(new Error('no such operator')) };
  const contenders = [contender('octavo', [1, 2]), contender('litert', [2, 1]), broken];
  const [ours, wrong, none] = await raceOpened(contenders, { rounds: 2, slice: 0.01, warmUp: 2 });
  assert.equal(ours.times.length, 2);
  assert.deepEqual([wrong.times, contenders[1].calls], [undefined, { runs: 1, closed: 1 }]);
  assert.match(wrong.error, /something else/);
  assert.deepEqual([none.times, none.error], [undefined, 'no such operator']);
});

test('rounds are interleaved and begin with another contender each time', async () => {
  const calls = [];
  const run = (name) => async () => {
    calls.push(name);
    const until = performance.now() + 2;
    while (performance.now() < until);
  };
  const times = await interleave([run('a'), run('b')], { rounds: 4, slice: 1, warmUp: 3 });
  assert.equal(calls.slice(-8).join(''), 'abbaabba');
  assert.deepEqual(
    times.map((list) => list.length),
    [4, 4],
  );
  assert.ok(times.flat().every((time) => time >= 2));
});

test('with a rest each slice begins after it and a call that is not timed', async () => {
  const calls = [];
  const run = async () => {
    calls.push(performance.now());
  };
  await interleave([run, run], { rounds: 2, slice: 0, warmUp: 2, rest: 20 });
  const slices = calls.slice(-8);
  for (const [i, at] of slices.entries()) if (i % 2 === 0 && i > 0) assert.ok(at - slices[i - 1] >= 19, `${at - slices[i - 1]} ms`);
});

// ---- the report ----

const timed = (engine, type, times, more = {}) => ({ engine, type, threads: 1, times, ...more });
const networkResult = (name, environment, setting, rows) => ({ network: name, title: networks[name].title, environment, setting, rows });
const results = {
  date: '2026-11-26',
  rounds: 3,
  machine: { processor: 'a processor', cores: 2, load: 0.1, node: 'v24', chromium: 'Chrome/156', firefox: 'Firefox/153' },
  versions: { litert: '2.5', ort: '1.30', ortNode: '1.30' },
  networks: ['mobilenetv2', 'resnet18', 'resnet50'].map((name, i) =>
    networkResult(name, 'chromium', 'one', [
      timed('octavo', 'int8', [4, 5, 90]),
      timed('litert', 'int8', [10, 10 - i, 10]),
      timed('ort', 'int8', undefined, { error: 'it is not here' }),
      timed('octavo', 'float', [20, 20, 20]),
      timed('litert', 'float', [10, 30, 30]),
    ]),
  ),
  operators: [{ name: 'Add 64 @56', environment: 'chromium', rows: [{ ...timed('octavo', 'int8'), median: 1, best: 1, macs: 0 }] }],
  batchNorm: [],
  startUp: [{ engine: 'octavo', gzip: 240e3, ready: 30, first: 60, memory: 13e6 }],
  native: [],
};

test('goals compare medians with LiteRT.js, and what was not measured is not reached', () => {
  const found = Object.fromEntries(goals(results).map(({ what, ...rest }) => [what, rest]));
  assert.deepEqual(found['MobileNetV2, one thread'], { wanted: '>= 1.8x', got: '2.00x', reached: true });
  assert.deepEqual(found['float, the three, geometric mean'], { wanted: '>= 1.3x', got: '1.50x', reached: true });
  assert.deepEqual(found['the three, two threads, geometric mean'], { wanted: '>= 1.5x', got: '-', reached: false });
  assert.deepEqual(found['download, gzip'], { wanted: '<= 250 kB', got: '240 kB', reached: true });
  assert.deepEqual(found['memory, MobileNetV2 int8'], { wanted: '<= 12 MB', got: '13 MB', reached: false });
});

test('the document has a line a network, medians with the best, ratios and the goals', () => {
  const text = document(results);
  assert.match(text, /^\| ResNet-18 \| 5\.00 \(4\.00\) \| 10\.00 \(9\.00\), 2\.00x \|/m);
  assert.match(text, /^\| geometric mean \|/m);
  assert.match(text, /^\| memory, MobileNetV2 int8 \| <= 12 MB \| 13 MB \| not reached \|$/m);
  assert.doesNotMatch(text, /undefined|NaN|Infinity|rough/);
  assert.match(document({ ...results, machine: { ...results.machine, load: 3 } }), /began: 3\.0, so \*\*others were at work/);
});

test('lines for the terminal name who did not run, and why', () => {
  const text = consoleTable(results.networks[0]);
  assert.match(text, /^MobileNetV2, Chromium, one thread$/m);
  assert.match(text, /litert int8, 1 +10\.00 +10\.00 ms +2\.00x/);
  assert.match(text, /ort int8, 1 +- +it is not here/);
});

test('the chart is one SVG whose bars are as long as their values', () => {
  const svg = barChart({
    title: 'A < B',
    series: [
      { name: 'a', color: '#123456' },
      { name: 'b', color: '#654321' },
    ],
    groups: [{ label: 'g & h', bars: [0, 1].map((series) => ({ series, value: 1 + series, text: `${1 + series} ms` })) }],
  });
  assert.match(svg, /^<svg [^>]*>\n<title>A &lt; B<\/title>/);
  assert.match(svg, />g &amp; h<\/text>/);
  const lengths = [...svg.matchAll(/width="([\d.]+)" height="11" fill="#(\d+)"/g)].map(([, width, color]) => [color, Number(width)]);
  assert.deepEqual(
    lengths.map(([color]) => color),
    ['123456', '654321'],
  );
  assert.equal(lengths[1][1], 2 * lengths[0][1]);
  assert.equal(svg.match(/<text/g).length, svg.match(/<\/text>/g).length);
  assert.match(chart(results), /MobileNetV2/);
});
