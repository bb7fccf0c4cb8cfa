// What bench.mjs found, as words: lines for the terminal, docs/benchmarks.md with its chart, and the goals.

import { barChart } from './chart.mjs';

/** Above this load of the machine others are at work. */
const quietLoad = 0.5;

export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
export const best = (values) => Math.min(...values);
export const geometricMean = (values) => Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

const engines = { octavo: 'Octavo', litert: 'LiteRT.js', ort: 'onnxruntime-web' };
const typeNames = { int8: 'int8', pairs: 'int8, pair-safe', float: 'float' };
const nativeEngines = { octavo: 'Octavo (wasm)', ort: 'onnxruntime-node' };
const environments = { chromium: 'Chromium', 'no-vnni': 'Chromium without VNNI', firefox: 'Firefox', node: 'Node' };
const settings = {
  one: 'one thread',
  'one-pairs': 'one thread',
  two: 'two threads',
  plain: 'without relaxed SIMD, one thread',
  native: 'native',
};

/** Milliseconds of one run; undefined where it did not run. */
const timeOf = (row, summary = median) => (row?.times ? summary(row.times) : summary === best ? row?.best : row?.median);
const row = (rows, engine, type = 'int8', threads = rows[0]?.threads) =>
  rows.find((one) => one.engine === engine && one.type === type && one.threads === threads);
/** How many times as long the rival takes. */
const ratio = (rows, rival, type) => timeOf(row(rows, rival, type)) / timeOf(row(rows, 'octavo', type));

const number = (value, digits = 2) => (Number.isFinite(value) ? value.toFixed(digits) : '-');
const milliseconds = (value) => number(value, value < 1 ? 3 : value < 100 ? 2 : 1);
const times = (value) => (Number.isFinite(value) ? `${value.toFixed(2)}x` : '-');

/** A race in lines for the terminal. */
export function consoleTable({ title, environment, setting, rows }) {
  const lines = [`${title}, ${[environments[environment], settings[setting]].filter(Boolean).join(', ')}`];
  for (const one of rows) {
    const name = `${one.engine} ${one.type}${one.isa ? ` ${one.isa}` : ''}, ${one.threads}`.padEnd(24);
    if (one.error) {
      lines.push(`  ${name} -  ${one.error.split('\n')[0].slice(0, 100)}`);
      continue;
    }
    const own = rows.find(({ engine, type, error }) => engine === 'octavo' && type === one.type && !error);
    const cells = [timeOf(one), timeOf(one, best)].map((value) => milliseconds(value).padStart(9));
    const same = one.agreement ? `${number(100 * one.agreement.equal, 1).padStart(6)} % equal` : '';
    lines.push(`  ${name} ${cells.join(' ')} ms ${times(timeOf(one) / timeOf(own)).padStart(8)} ${one.engine === 'octavo' ? '' : same}`);
  }
  return lines.join('\n');
}

// ---- goals ----

const three = ['mobilenetv2', 'resnet18', 'resnet50'];

/** [{ what, wanted, got, reached }]: ratios against LiteRT.js in this run, as far as it measured them. */
export function goals(results) {
  const list = [];
  const add = (what, wanted, value, unit, atLeast = true) => {
    const reached = Number.isFinite(value) && (atLeast ? value >= wanted : value <= wanted);
    const show = (n) => `${n}${unit}`;
    list.push({
      what,
      wanted: `${atLeast ? '>=' : '<='} ${show(wanted)}`,
      got: Number.isFinite(value) ? show(number(value, unit === 'x' ? 2 : 0)) : '-',
      reached,
    });
  };
  const entry = (name, environment, setting) =>
    results.networks.find((one) => one.network === name && one.environment === environment && one.setting === setting)?.rows ?? [];
  const ratios = (environment, setting, type = 'int8', names = three) =>
    names.map((name) => ratio(entry(name, environment, setting), 'litert', type));
  const mean = (...given) => geometricMean(ratios(...given));

  const [v2, r18, r50] = ratios('chromium', 'one');
  add('MobileNetV2, one thread', 1.8, v2, 'x');
  add('ResNet-18, one thread', 1.35, r18, 'x');
  add('ResNet-50, one thread', 1.35, r50, 'x');
  add('the three, one thread, geometric mean', 1.5, mean('chromium', 'one'), 'x');
  add('the three, two threads, geometric mean', 1.5, mean('chromium', 'two'), 'x');
  const scaling = three.map((name) => {
    const rows = entry(name, 'chromium', 'two');
    return timeOf(row(rows, 'octavo', 'int8', 1)) / timeOf(row(rows, 'octavo', 'int8', 2));
  });
  add('own scaling from one thread to two, geometric mean', 1.85, geometricMean(scaling), 'x');
  add('the three without VNNI, geometric mean', 2.2, mean('no-vnni', 'one-pairs'), 'x');
  add('the three without VNNI, pair-safe weights, geometric mean', 2.2, mean('no-vnni', 'one-pairs', 'pairs'), 'x');
  add('the three without relaxed SIMD, geometric mean', 1.5, mean('chromium', 'plain'), 'x');

  const operator = (...names) => {
    const found = results.operators.filter(({ name }) => names.some((start) => name.startsWith(start)));
    return found.length ? geometricMean(found.map(({ rows }) => ratio(rows, 'litert'))) : Number.NaN;
  };
  add('depthwise 3x3, geometric mean', 2.7, operator('Depthwise 3x3'), 'x');
  add('first layer 3x3 s2', 2, operator('First layer'), 'x');
  add('FC 1280→1000', 2.5, operator('FC'), 'x');
  add('Add', 1.5, operator('Add'), 'x');
  const batchNorm = (order) => {
    const of = results.batchNorm.map(({ rows }) => {
      const theirs = rows.find(({ name }) => name.startsWith('LiteRT'));
      const ours = rows.filter(({ name }) => name.startsWith('qbatchnorm/') && name.endsWith(order)).map((one) => one.median);
      return theirs.median / best(ours);
    });
    return of.length ? geometricMean(of) : Number.NaN;
  };
  add('BatchNorm NCHW', 10, batchNorm('nchw'), 'x');
  add('BatchNorm NHWC', 6, batchNorm('nhwc'), 'x');
  add('float, the three, geometric mean', 1.3, mean('chromium', 'one', 'float'), 'x');
  const own = results.startUp.find(({ engine }) => engine === 'octavo');
  add('download, gzip', 250, own ? own.gzip / 1000 : Number.NaN, ' kB', false);
  add('memory, MobileNetV2 int8', 12, own ? own.memory / 1e6 : Number.NaN, ' MB', false);
  return list;
}

// ---- the document ----

const table = (head, rows) => [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
const cell = (one) => (timeOf(one) === undefined ? '-' : `${milliseconds(timeOf(one))} (${milliseconds(timeOf(one, best))})`);

function networkTable(entries) {
  const types = Object.keys(typeNames).filter((type) => row(entries[0].rows, 'litert', type));
  const rivalsOf = (type) => ['litert', 'ort'].filter((engine) => row(entries[0].rows, engine, type));
  const columns = types.flatMap((type) => rivalsOf(type).map((rival) => ({ type, rival })));
  const named = (engine, type) => `${engines[engine]} ${typeNames[type]}`;
  const head = ['network', ...types.flatMap((type) => ['octavo', ...rivalsOf(type)].map((engine) => named(engine, type)))];
  const withRatio = (rows, rival, type) => `${cell(row(rows, rival, type))}, ${times(ratio(rows, rival, type))}`;
  const body = entries.map(({ title, rows }) => [
    title,
    ...types.flatMap((type) => [cell(row(rows, 'octavo', type)), ...rivalsOf(type).map((rival) => withRatio(rows, rival, type))]),
  ]);
  const means = columns.map(({ type, rival }) => {
    const known = entries.map(({ rows }) => ratio(rows, rival, type)).filter(Number.isFinite);
    return { type, text: known.length ? times(geometricMean(known)) : '-' };
  });
  const last = ['geometric mean', ...types.flatMap((type) => ['', ...means.filter((one) => one.type === type).map(({ text }) => text)])];
  return table(head, [...body, last]);
}

function nativeTable(entries) {
  const columns = [
    ['octavo', 'int8', 1],
    ['ort', 'int8', 1],
    ['ort', 'int8', 2],
    ['octavo', 'float', 1],
    ['ort', 'float', 1],
    ['ort', 'float', 2],
  ];
  const head = ['network', ...columns.map(([engine, type, threads]) => `${nativeEngines[engine]} ${type}, ${threads}`)];
  return table(
    head,
    entries.map(({ title, rows }) => [title, ...columns.map((column) => cell(row(rows, ...column)))]),
  );
}

function operatorTable(operators) {
  const head = ['layer', 'MMAC', 'Octavo', 'GMAC/s', 'LiteRT.js', 'onnxruntime-web'];
  return table(
    head,
    operators.map(({ name, rows }) => {
      const [{ macs }] = rows;
      const own = timeOf(row(rows, 'octavo'));
      const rivals = ['litert', 'ort'].map((rival) => `${cell(row(rows, rival))}, ${times(ratio(rows, rival))}`);
      return [name, macs ? number(macs / 1e6, 1) : '-', cell(row(rows, 'octavo')), macs ? number(macs / own / 1e6, 1) : '-', ...rivals];
    }),
  );
}

function batchNormTable(results) {
  const lines = results.flatMap(({ shape: { channels, size }, rows }) =>
    rows.map(({ name, median: middle, best: least }) => [
      `1x${channels}x${size}x${size}`,
      name,
      `${milliseconds(middle)} (${milliseconds(least)})`,
      number((channels * size * size) / middle / 1e6),
    ]),
  );
  return table(['shape', 'what', 'ms', 'Gelement/s'], lines);
}

const startUpTable = (rows) =>
  table(
    ['engine', 'download, gzip kB', 'engine ready, ms', 'model bytes to first result, ms', 'memory, MB'],
    rows.map(({ engine, gzip, ready, first, memory }) => [
      engines[engine],
      number(gzip / 1e3, 0),
      number(ready, 0),
      number(first, 0),
      number(memory / 1e6, 1),
    ]),
  );

const loadOf = ({ load }) =>
  load > quietLoad ? `${load.toFixed(1)}, so **others were at work and the numbers are rough**` : load.toFixed(1);

const introduction = ({ date, rounds, machine, versions }) => `# Benchmarks

Written by \`npm run bench\` on ${date}: ${machine.cores} cores of ${machine.processor},
${[machine.chromium, machine.firefox, `Node ${machine.node}`].filter(Boolean).join(', ')};
LiteRT.js ${versions.litert}, onnxruntime-web ${versions.ort}, onnxruntime-node ${versions.ortNode}.
Milliseconds of one run: the median of ${rounds} interleaved rounds, in parentheses the best; behind a comma how many times as long as
Octavo. Load of the machine before it began: ${loadOf(machine)}.

![Time of int8 networks, one thread, in Chromium](benchmarks.svg)

## What is compared

Known architectures, 224 x 224 pixels, batch 1, with seeded weights (\`bench/architectures.mjs\`): nothing is downloaded, and speed does
not depend on what a network has learnt. Octavo quantizes them; ONNX Runtime runs the QDQ file that Octavo writes, LiteRT.js the
\`.tflite\` twin of that file with the same weights and scales (\`bench/twin.mjs\`). Before anything is timed the outputs are compared:
nobody is timed doing something else. All of a race runs in one page, float32 tensors in and out. With two threads each slice of it
begins after 50 ms of rest and an untimed run: idle threads of some engines look for work so long that they would take a core from
whoever comes next.

- Octavo: the module it chooses by itself, in the page's own thread as the others are.
- LiteRT.js: its \`wasm\` accelerator (XNNPACK), the module with relaxed SIMD or, where that is off, its "compat" one; the threaded
  module for two threads; the input tensor is made once. Int8 HardSwish, for which it has no fast kernel, is written as an ADD and two
  MULs: MobileNetV3 takes a third of the time then.
- onnxruntime-web: its \`wasm\` backend with SIMD and threads, all graph optimizations.
- "BN unfolded": every BatchNormalization stays; an operator of its own in int8 (for the others a 1x1 depthwise convolution), in float
  folded by whoever folds it at load. DenseNet's stand behind a Concat, where nobody can fold them.
- "without VNNI": \`--js-flags=--no-enable-avx-vnni\`, as on x86 processors before 2021. "Pair-safe": both run the network as
  quantized with \`pairSafe: true\`, whose weights can be added in pairs of 16 bits; other weights of these networks, which are
  spread evenly, can hardly anywhere.
`;

/** docs/benchmarks.md */
export function document(results) {
  const groups = Map.groupBy(results.networks, ({ environment, setting }) => `${environments[environment]}, ${settings[setting]}`);
  const reached = goals(results);
  const lines = [introduction(results)];
  for (const [title, entries] of groups) lines.push(`## ${title}`, '', ...networkTable(entries), '');
  if (results.operators.length) {
    lines.push(
      '## Single layers, int8, Chromium, one thread',
      '',
      'The time of nine less that of one, by eight: nobody pays for the border.',
      '',
    );
    lines.push(...operatorTable(results.operators), '');
  }
  if (results.batchNorm.length) lines.push('## Int8 BatchNorm', '', ...batchNormTable(results.batchNorm), '');
  if (results.native.length) {
    lines.push(
      '## Beside native code',
      '',
      'onnxruntime-node is compiled for the processor and uses its widest vectors; Octavo is the same WebAssembly.',
      '',
    );
    lines.push(...nativeTable(results.native), '');
  }
  if (results.startUp.length) lines.push('## Start-up, MobileNetV2 int8, Chromium, one thread', '', ...startUpTable(results.startUp), '');
  lines.push('## Goals', '', 'Against LiteRT.js unless said otherwise.', '');
  lines.push(
    ...table(
      ['what', 'wanted', 'here', ''],
      reached.map(({ what, wanted, got, reached: yes }) => [what, wanted, got, yes ? 'reached' : 'not reached']),
    ),
  );
  return `${lines.join('\n')}\n`;
}

/** docs/benchmarks.svg: int8 networks in Chromium with one thread, as multiples of Octavo's time. */
export function chart(results) {
  const series = [
    { engine: 'octavo', name: 'Octavo', color: '#0f766e' },
    { engine: 'litert', name: 'LiteRT.js', color: '#f59e0b' },
    { engine: 'ort', name: 'onnxruntime-web', color: '#94a3b8' },
  ];
  const entries = results.networks.filter(({ environment, setting }) => environment === 'chromium' && setting === 'one');
  const groups = entries.map(({ title, rows }) => {
    const own = timeOf(row(rows, 'octavo'));
    const bars = series.map(({ engine }, i) => ({ series: i, milliseconds: timeOf(row(rows, engine)) }));
    return {
      label: title,
      bars: bars
        .filter((one) => one.milliseconds !== undefined)
        .map((one) => ({ series: one.series, value: one.milliseconds / own, text: `${milliseconds(one.milliseconds)} ms` })),
    };
  });
  return barChart({
    title: 'Time of an int8 network in Chromium, one thread, as multiples of Octavo’s (shorter is faster)',
    series,
    groups,
  });
}
