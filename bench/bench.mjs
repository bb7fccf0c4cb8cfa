// Octavo beside the engines that a web developer could pick, in one run: `npm run bench [-- OPTION...]`
//
//   --quick               three networks, few rounds, Chromium, no native code; under three minutes
//   --networks a,b        only these (bench/architectures.mjs)
//   --only a,b            only these parts: networks, operators, batchnorm, startup, native
//   --environments a,b    only these: chromium, no-vnni, firefox
//   --rounds N            rounds of each race (9, quick 5)
//   --profile             also prints what each kernel of Octavo takes in each network
//   --json FILE           writes all times there
//   --document            writes the document even though this is no whole run
//
// Architectures have seeded weights and are quantized by Octavo, ONNX Runtime runs the file that Octavo writes (QDQ), LiteRT.js its
// .tflite twin with the same weights and scales. All contenders of a race run in one page, in interleaved rounds, after their outputs
// were compared. A whole run writes docs/benchmarks.md and docs/benchmarks.svg.

import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import * as octavo from '../dist/index.js';
import { launch } from '../tests/web/support.mjs';
import { fail, inRoot, isMain } from '../tools/project.mjs';
import { isolationHeaders, serve } from '../tools/serve.mjs';
import { network, networks, operator, operators } from './architectures.mjs';
import { measure as measureBatchNorm } from './batchnorm.mjs';
import { raceOpened, startOctavo } from './bench-page.mjs';
import { best, chart, consoleTable, document, goals, median } from './bench-report.mjs';
import { sample } from './random.mjs';
import { tfliteTwin } from './twin.mjs';

export const environments = {
  chromium: { browser: 'chromium', settings: ['one', 'two', 'plain'] },
  'no-vnni': { browser: 'chromium', extraArgs: ['--js-flags=--no-enable-avx-vnni'], settings: ['one-pairs', 'two'] },
  firefox: { browser: 'firefox', settings: ['one', 'two'] },
};

const folder = 'build/bench';
const quickNetworks = ['mobilenetv2', 'resnet18', 'resnet50'];
const copies = [1, 9];

// ---- models ----

/**
 * Quantizes as ONNX Runtime's own tool would place Q and DQ, so that every engine computes all of the network in int8.
 * The races' own input is among the samples: nothing leaves its range, where an engine with wider ranges would differ.
 */
export async function quantize(engine, file, inputShape, { batchNorm = 'auto', pairSafe = false } = {}) {
  const model = await octavo.Model.load(file, { engine });
  const job = octavo.quantizeStatic(model, [sample(inputShape), sample(inputShape, 2)], {
    target: 'onnxruntime',
    activation: { observer: 'minmax' },
    evaluateSamples: 1,
    batchNorm,
    weight: { pairSafe },
  });
  const { model: int8 } = await job.result;
  const bytes = await int8.toONNX();
  await int8.close();
  await model.close();
  return bytes;
}

/** Writes files into the folder that the pages read; returns the addresses by the same keys. */
function store(name, files) {
  mkdirSync(inRoot(folder), { recursive: true });
  return Object.fromEntries(
    Object.entries(files).map(([kind, bytes]) => {
      writeFileSync(inRoot(folder, `${name}.${kind}`), bytes);
      return [kind, `/${folder}/${name}.${kind}`];
    }),
  );
}

/** The files of a network, float and int8, ONNX and .tflite: { inputShape, macs, urls: { 'int8.onnx', ... } }. */
export async function networkModels(engine, name, { size = 224 } = {}) {
  const { file, inputShape, macs } = network(name, { size });
  const batchNorm = networks[name].unfolded ? 'quantized' : 'auto';
  const int8 = await quantize(engine, file, inputShape, { batchNorm });
  const pairs = await quantize(engine, file, inputShape, { batchNorm, pairSafe: true });
  // A converter to .tflite folds what can be folded.
  const folded = networks[name].unfolded ? network(name, { size, unfolded: false }).file : file;
  const files = {
    'float.onnx': file,
    'int8.onnx': int8,
    'pairs.onnx': pairs,
    'float.tflite': tfliteTwin(folded),
    'int8.tflite': tfliteTwin(int8),
    'pairs.tflite': tfliteTwin(pairs),
  };
  return { inputShape, macs, urls: store(`${name}-${size}`, files) };
}

async function operatorModels(engine, name, index) {
  const models = [];
  for (const count of copies) {
    const { file, inputShape, macs } = operator(name, count);
    const int8 = await quantize(engine, file, inputShape);
    models.push({
      count,
      inputShape,
      macs,
      urls: store(`operator${index}x${count}`, { 'int8.onnx': int8, 'int8.tflite': tfliteTwin(int8) }),
    });
  }
  return models;
}

// ---- contenders ----

const fileOf = (engine, type) => `${type}.${engine === 'litert' ? 'tflite' : 'onnx'}`;
const contender = (engine, type, options = {}) => ({ engine, type, threads: 1, ...options });
const everyone = (options) =>
  ['int8', 'float'].flatMap((type) => ['octavo', 'litert', 'ort'].map((engine) => contender(engine, type, options)));
/** Int8 again, quantized with `pairSafe`: products of bytes can be added in 16 bits then, which is what there is without VNNI. */
const pairSafe = (options) => ['octavo', 'litert'].map((engine) => contender(engine, 'pairs', options));
/** Who runs in a race, by its setting. */
export const settings = {
  one: everyone({ threads: 1 }),
  'one-pairs': [...everyone({ threads: 1 }), ...pairSafe({ threads: 1 })],
  two: [...everyone({ threads: 2 }), contender('octavo', 'int8')],
  // Where there is no relaxed SIMD: Octavo's other module, LiteRT.js's "compat" one.
  plain: [contender('octavo', 'int8', { isa: 'simd' }), contender('litert', 'int8', { compat: true })],
};

/** A contender as bench-page.mjs wants it; outputs are compared within a group. */
const forPage = ({ engine, type, ...how }, urls, group = type) => ({
  engine,
  type,
  group,
  start: { engine, ...how },
  model: urls[fileOf(engine, type)],
});

// ---- browsers ----

/** The package as a page can load it without a bundler: workers know no import map, so the one dependency lies beside it. */
function storePackage() {
  const to = inRoot(folder, 'octavo');
  cpSync(inRoot('dist'), to, { recursive: true, filter: (path) => path !== inRoot('dist/web') });
  for (const file of readdirSync(to).filter((name) => name.endsWith('.js'))) {
    const text = readFileSync(`${to}/${file}`, 'utf8');
    writeFileSync(`${to}/${file}`, text.replaceAll(`'comlink'`, `'./comlink.mjs'`));
  }
  cpSync(inRoot('node_modules/comlink/dist/esm/comlink.mjs'), `${to}/comlink.mjs`);
}

/** A browser of an environment, with a server of the checkout. */
export class Browser {
  static async open(name) {
    const { browser: which, extraArgs = [] } = environments[name];
    const self = new Browser();
    storePackage();
    self.server = await serve({ folder: inRoot(), headers: isolationHeaders }); // the others' glue uses eval
    Object.assign(self, await launch({ name: which, extraArgs }));
    return self;
  }
  /** Calls a function of bench-page.mjs in a new page; `requests` gets the paths of what that page asks for. */
  async call(method, args, requests = []) {
    const page = await this.browser.newPage();
    try {
      page.on('request', (request) => requests.push(new URL(request.url()).pathname));
      await page.goto(`${this.server.url}bench/page.html`);
      return await page.evaluate(async (name, given) => (await import('/bench/bench-page.mjs'))[name](...given), method, args);
    } finally {
      await page.close();
    }
  }
  async [Symbol.asyncDispose]() {
    await this.close();
    await this.server.close();
  }
  /** What `work` gives of a browser, which is closed behind it. (`await using` would be a syntax error in Node 20, not a sentence.) */
  static async use(environment, work) {
    const browser = await Browser.open(environment);
    try {
      return await work(browser);
    } finally {
      await browser[Symbol.asyncDispose]();
    }
  }
}

/** The rows of a race: each contender with its times, or with an `error`. */
export async function race(browser, contenders, urls, inputShape, timing) {
  const raced = await browser.call('race', [contenders.map((one) => forPage(one, urls)), inputShape, timing]);
  return contenders.map((one, i) => ({ ...one, ...raced[i] }));
}

// ---- parts ----

async function raceOperator(browser, name, models, timing) {
  const contenders = settings.one.filter(({ type }) => type === 'int8');
  const all = models.flatMap(({ urls, count }) => contenders.map((one) => forPage(one, urls, count)));
  const raced = await browser.call('race', [all, models[0].inputShape, timing]);
  const [few, many] = copies.map((count) => raced.filter((_, i) => all[i].group === count));
  const ofOne = (i, summary) => (summary(many[i].times) - summary(few[i].times)) / (copies[1] - copies[0]);
  const macs = (models[1].macs - models[0].macs) / (copies[1] - copies[0]);
  return contenders.map((one, i) => {
    const error = few[i].error ?? many[i].error;
    const { agreement } = many[i];
    return { name, macs, ...one, ...(error ? { error } : { agreement, median: ofOne(i, median), best: ofOne(i, best) }) };
  });
}

/** Until the first result of MobileNetV2, the memory then, and what a page has to download. */
async function startUps(browser, { urls, inputShape }, runs) {
  const rows = [];
  for (const engine of ['octavo', 'litert', 'ort']) {
    const requests = [];
    const measured = [];
    const model = urls[fileOf(engine, 'int8')];
    for (let i = 0; i < runs; i++) measured.push(await browser.call('startUp', [{ engine }, model, inputShape], i === 0 ? requests : []));
    const files = requests.filter((path) => /^\/(build\/bench\/octavo|node_modules)\//.test(path));
    const gzip = files.reduce((sum, path) => sum + gzipSync(readFileSync(inRoot(path.slice(1))), { level: 9 }).length, 0);
    const middle = (key) => median(measured.map((one) => one[key]));
    rows.push({ engine, ready: middle('ready'), first: middle('first'), memory: middle('memory'), gzip, files });
  }
  return rows;
}

/** ONNX Runtime's native library, and Octavo's WebAssembly in Node beside it. */
async function raceNative({ urls, inputShape }, timing) {
  const ort = await import('onnxruntime-node');
  const x = sample(inputShape);
  const own = await startOctavo(octavo);
  const openOrt = async (bytes, threads) => {
    const session = await ort.InferenceSession.create(bytes, { intraOpNumThreads: threads, interOpNumThreads: 1, logSeverityLevel: 3 });
    const feeds = { x: new ort.Tensor('float32', x.data, inputShape) };
    return { run: async () => (await session.run(feeds)).y.data, close: () => session.release() };
  };
  const contenders = ['int8', 'float'].flatMap((type) => {
    const bytes = new Uint8Array(readFileSync(inRoot(urls[`${type}.onnx`].slice(1))));
    return [
      { engine: 'octavo', type, group: type, threads: 1, open: () => own.open(bytes, x) },
      ...[1, 2].map((threads) => ({ engine: 'ort', type, group: type, threads, open: () => openOrt(bytes, threads) })),
    ];
  });
  const raced = await raceOpened(contenders, timing);
  return contenders.map(({ engine, type, threads }, i) => ({ engine, type, threads, ...raced[i] }));
}

function printProfile(title, { steps }) {
  const groups = Map.groupBy(steps, ({ op, kernel }) => `${op}, ${kernel}`);
  const sum = (list, key) => list.reduce((total, one) => total + one[key], 0);
  const all = sum(steps, 'milliseconds');
  const rows = [...groups].map(([name, list]) => ({ name, count: list.length, time: sum(list, 'milliseconds'), macs: sum(list, 'macs') }));
  console.log(`${title}: ${all.toFixed(2)} ms in ${steps.length} steps`);
  for (const { name, count, time, macs } of rows.sort((a, b) => b.time - a.time)) {
    const rate = macs > 0 ? `${(macs / time / 1e6).toFixed(1).padStart(6)} GMAC/s` : '';
    const share = `${((100 * time) / all).toFixed(1).padStart(5)} %`;
    console.log(`  ${name.padEnd(44)} x${String(count).padEnd(4)} ${time.toFixed(3).padStart(8)} ms ${share} ${rate}`);
  }
}

// ---- the command ----

const versionOf = (name) => JSON.parse(readFileSync(inRoot('node_modules', name, 'package.json'), 'utf8')).version;

function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      networks: { type: 'string' },
      only: { type: 'string' },
      environments: { type: 'string' },
      rounds: { type: 'string' },
      profile: { type: 'boolean', default: false },
      json: { type: 'string' },
      document: { type: 'boolean', default: false },
    },
  });
  const choose = (key, known, standard) => {
    const names = values[key]?.split(',') ?? standard;
    const unknown = names.filter((name) => !known.includes(name));
    if (unknown.length) throw new Error(`--${key}: ${unknown.join(', ')} is not known; there are ${known.join(', ')}.`);
    return names;
  };
  const { quick } = values;
  const rounds = Number(values.rounds ?? (quick ? 5 : 9));
  if (!(Number.isInteger(rounds) && rounds > 0)) throw new Error(`--rounds ${values.rounds}: give a whole number from 1 on.`);
  return {
    ...values,
    rounds,
    networks: choose('networks', Object.keys(networks), quick ? quickNetworks : Object.keys(networks)),
    parts: choose('only', parts, quick ? parts.filter((part) => part !== 'native') : parts),
    environments: choose('environments', Object.keys(environments), quick ? ['chromium', 'no-vnni'] : Object.keys(environments)),
    document: values.document || (!quick && !values.networks && !values.only && !values.environments),
  };
}
const parts = ['networks', 'operators', 'batchnorm', 'startup', 'native'];

/** Runs what the options ask for; returns all results as plain data. */
async function measure(options) {
  const { quick, rounds } = options;
  const timing = { rounds, slice: quick ? 10 : 15, warmUp: quick ? 4 : 10 };
  const wants = (part) => options.parts.includes(part);
  const results = {
    date: new Date().toISOString().slice(0, 10),
    rounds,
    machine: { processor: cpus()[0].model.trim(), cores: cpus().length, node: process.version, load: loadavg()[0] },
    versions: { litert: versionOf('@litertjs/core'), ort: versionOf('onnxruntime-web'), ortNode: versionOf('onnxruntime-node') },
    networks: [],
    operators: [],
    batchNorm: [],
    startUp: [],
    native: [],
  };
  const engine = await octavo.createEngine({ worker: false });
  const models = new Map();
  const needed = new Set(wants('networks') || wants('native') || options.profile ? options.networks : []);
  if (wants('startup')) needed.add('mobilenetv2');
  for (const name of needed) models.set(name, await networkModels(engine, name));
  const tested = wants('operators') ? Object.keys(operators) : [];
  const operatorFiles = [];
  for (const [index, name] of tested.entries()) operatorFiles.push(await operatorModels(engine, name, index));
  await engine.close();

  const inBrowser = async (environment, browser) => {
    results.machine[environment] = await browser.browser.version();
    for (const name of wants('networks') ? options.networks : []) {
      const { urls, inputShape, macs } = models.get(name);
      for (const setting of environments[environment].settings) {
        if (quick && environment !== 'chromium' && !setting.startsWith('one')) continue;
        const rest = setting === 'two' ? 50 : 0; // idle threads of the rivals look for work for some milliseconds
        const rows = await race(browser, settings[setting], urls, inputShape, { ...timing, rest });
        const entry = { network: name, title: networks[name].title, macs, environment, setting, rows };
        results.networks.push(entry);
        console.log(consoleTable(entry));
      }
    }
    // The rest is about single engines and kernels: once is enough.
    if (environment !== 'chromium') return;
    for (const [index, name] of tested.entries()) {
      const rows = await raceOperator(browser, name, operatorFiles[index], timing);
      results.operators.push({ name, environment, rows });
      console.log(consoleTable({ title: name, environment, rows }));
    }
    if (wants('startup')) results.startUp = await startUps(browser, models.get('mobilenetv2'), quick ? 1 : 5);
    if (options.profile) {
      for (const name of options.networks) {
        const { urls, inputShape } = models.get(name);
        for (const type of ['int8', 'float'])
          printProfile(`${networks[name].title}, ${type}`, await browser.call('profile', [{}, urls[`${type}.onnx`], inputShape]));
      }
    }
  };
  for (const environment of options.environments) await Browser.use(environment, (browser) => inBrowser(environment, browser));
  if (wants('batchnorm')) results.batchNorm = await measureBatchNorm(quick ? { rounds: 3 } : {});
  for (const name of wants('native') ? options.networks : []) {
    const entry = {
      network: name,
      title: networks[name].title,
      environment: 'node',
      setting: 'native',
      rows: await raceNative(models.get(name), timing),
    };
    results.native.push(entry);
    console.log(consoleTable(entry));
  }
  return results;
}

if (isMain(import.meta.url)) {
  try {
    const options = readOptions(process.argv.slice(2));
    const results = await measure(options);
    for (const { what, wanted, got, reached } of goals(results))
      console.log(`${reached ? 'reached    ' : 'not reached'} ${what}: ${got} (${wanted})`);
    const all = [...results.networks, ...results.operators, ...results.native].flatMap(({ rows }) => rows);
    if (all.some(({ error }) => error?.startsWith('computes something else'))) process.exitCode = 1;
    if (options.json) writeFileSync(options.json, `${JSON.stringify({ ...results, goals: goals(results) }, null, 1)}\n`);
    if (options.document) {
      writeFileSync(inRoot('docs/benchmarks.md'), document(results));
      writeFileSync(inRoot('docs/benchmarks.svg'), chart(results));
    }
  } catch (error) {
    fail(error);
  }
}
