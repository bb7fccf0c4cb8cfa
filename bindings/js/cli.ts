#!/usr/bin/env node
// The command line: octavo quantize | calibrate | sensitivity | run | inspect | compare | verify | bench.
//
// Exit codes: 0 ok, 1 usage, 2 unsupported or bad input, 3 budget missed.

import { access, constants, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { performance } from 'node:perf_hooks';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import {
  type Budget,
  calibrate,
  compare,
  createEngine,
  type DynamicOptions,
  type Engine,
  type EngineOptions,
  type Feeds,
  type ImageOptions,
  InferenceSession,
  imageInput,
  images,
  type LayerSensitivity,
  Model,
  OctavoError,
  type Pixels,
  type QuantizeOptions,
  type QuantizeResult,
  quantizeDynamic,
  quantizeStatic,
  type Recipe,
  Tensor,
} from './index.js';
import { decodePicture, isPicture } from './pictures-node.js';
import { randomFeeds, verify } from './verify.js';
import { externalFiles } from './wire.js';

const exit = { ok: 0, usage: 1, badInput: 2, budgetMissed: 3 } as const;

// ---- options shared by commands ----

interface PictureFlags {
  preset: string;
  size?: number[];
  resize?: number;
  mean?: number[];
  std?: number[];
  range?: number[];
  channels?: string;
  layout?: 'NCHW' | 'NHWC';
  samples?: number;
}

interface EngineFlags {
  isa?: 'simd' | 'relaxed';
  json?: boolean;
}

const real = (text: string): number => {
  const n = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(n)) throw new InvalidArgumentError('Give a number.');
  return n;
};
const numbers = (text: string): number[] => text.split(/[,x]/).map(real);
const positive = (text: string): number => {
  const n = Number(text);
  if (!Number.isInteger(n) || n <= 0) throw new InvalidArgumentError('Give a whole number above 0.');
  return n;
};
const budgetOf = (text: string): Budget => {
  const [metric = '', drop = ''] = text.split(':');
  if (!['top1', 'top1Agreement', 'sqnr'].includes(metric))
    throw new InvalidArgumentError('Give top1:DROP, top1Agreement:DROP or sqnr:DROP.');
  return { metric: metric as 'sqnr', maxDrop: real(drop) };
};
const collect = (text: string, list: string[]): string[] => [...list, ...text.split(',')];

/** --preset fills what the other flags leave open; they are the usual ways of turning bytes into a network's input. */
const presets: Record<string, { range: [number, number]; mean?: number[]; std?: number[] }> = {
  imagenet: { range: [0, 1], mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  unit: { range: [0, 1] },
  signed: { range: [-1, 1] },
  raw: { range: [0, 255] },
};

function withPictures(command: Command): Command {
  return command
    .addOption(new Option('--preset <name>', 'how bytes become numbers').choices(Object.keys(presets)).default('imagenet'))
    .option('--size <h,w>', "height and width, where the model leaves them open or to check the model's", numbers)
    .option('--resize <n>', 'resize the short side to n, then crop the centre', positive)
    .option('--mean <list>', 'subtracted per channel, after scaling to --range', numbers)
    .option('--std <list>', 'divided by per channel', numbers)
    .option('--range <low,high>', 'what bytes 0 and 255 become before mean and std', numbers)
    .addOption(new Option('--channels <order>', 'colour order').choices(['RGB', 'BGR', 'GRAY']))
    .addOption(new Option('--layout <order>', "order of the model's input, where its shape does not tell").choices(['NCHW', 'NHWC']))
    .option('--samples <n>', 'use at most n pictures', positive);
}

const withEngine = (command: Command): Command =>
  command
    .addOption(new Option('--isa <level>', 'force an instruction set').choices(['simd', 'relaxed']))
    .option('--json', 'print machine-readable JSON on standard output');

async function openEngine(flags: EngineFlags): Promise<Engine> {
  const options: EngineOptions = { worker: false, ...(flags.isa ? { isa: flags.isa } : {}) };
  return createEngine(options);
}

// ---- input ----

interface LoadedFile {
  model: Model;
  bytes: Uint8Array;
  externalData: Record<string, Uint8Array>;
  /** Of all files, in bytes. */
  size: number;
}
async function loadModel(path: string, engine: Engine): Promise<LoadedFile> {
  const bytes = await readBytes(path);
  const externalData = await readExternal(path, bytes);
  const size = Object.values(externalData).reduce((sum, { length }) => sum + length, bytes.length);
  const model = await withNames(
    /^model(?=$|,)/,
    () => path,
    () => Model.load(bytes, { engine, externalData }),
  );
  return { model, bytes, externalData, size };
}

/** What `work` gives; in an error's `where`, what fits the pattern is given its name. */
async function withNames<T>(pattern: RegExp, name: (...match: string[]) => string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof OctavoError)) throw error;
    const where = error.where.replace(pattern, name);
    if (where === error.where) throw error;
    const { code, what, hint, all } = error;
    throw new OctavoError({ code, what, where, hint, all }, { cause: error });
  }
}

/** What `work` gives; an error about calibration[i] names the file. */
const withFileNames = <T>(files: string[], work: () => Promise<T>): Promise<T> =>
  withNames(/^calibration\[(\d+)\]/, (whole = '', i) => files[Number(i)] ?? whole, work);

/** The files beside a model that hold its weights. One that is not there is left to the engine to name. */
async function readExternal(path: string, model: Uint8Array): Promise<Record<string, Uint8Array>> {
  let names: string[];
  try {
    names = externalFiles(model);
  } catch {
    return {}; // a damaged file: the engine says what is wrong with it
  }
  const folder = resolve(dirname(path));
  const files: Record<string, Uint8Array> = {};
  for (const name of names) {
    const file = resolve(folder, name);
    if (isAbsolute(name) || relative(folder, file).split(sep)[0] === '..') {
      throw new OctavoError({
        code: 'EXTERNAL_DATA',
        what: `The model's weights lie in '${name}', outside its folder.`,
        where: path,
        hint: 'Only files beside the model, or in folders below it, are read. Save the model again with its weights beside it.',
      });
    }
    if (await stat(file).catch(() => undefined)) files[name] = await readBytes(file);
  }
  return files;
}

async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason =
      code === 'ENOENT' ? 'There is no such file.' : code === 'EISDIR' ? 'This is a folder.' : `It cannot be read: ${message}.`;
    throw new OctavoError({ code: 'FETCH_FAILED', what: reason, where: path, hint: 'Give the path of a readable file.' });
  }
}

const cannotWrite = (path: string, error: unknown): OctavoError =>
  new OctavoError({
    code: 'INVALID_OPTION',
    what: `It cannot be written: ${error instanceof Error ? error.message : String(error)}.`,
    where: path,
    hint: 'Give a path in a folder that exists and may be written to.',
  });

/** Asked before long work whose result goes there. */
async function checkWritable(...paths: (string | undefined)[]): Promise<void> {
  for (const path of paths) {
    if (path !== undefined) await access(dirname(path), constants.W_OK).catch((error) => Promise.reject(cannotWrite(path, error)));
  }
}

async function write(path: string, data: Uint8Array | string): Promise<void> {
  await writeFile(path, data).catch((error) => Promise.reject(cannotWrite(path, error)));
}

/** The pictures of a folder (or the one file), sorted by name. */
async function listPictures(path: string, limit?: number): Promise<string[]> {
  const info = await stat(path).catch(() => undefined);
  if (!info) {
    throw new OctavoError({
      code: 'NO_SAMPLES',
      what: 'There is no such file or folder.',
      where: path,
      hint: 'Give a folder of JPEG or PNG pictures.',
    });
  }
  const files = info.isDirectory() ? (await readdir(path)).sort().map((name) => join(path, name)) : [path];
  const pictures = files.filter(isPicture).slice(0, limit);
  if (pictures.length === 0) {
    throw new OctavoError({ code: 'NO_SAMPLES', what: 'No pictures found.', where: path, hint: 'Give a folder of JPEG or PNG pictures.' });
  }
  return pictures;
}

const layoutOf = (model: Model, flags: PictureFlags): 'NCHW' | 'NHWC' =>
  flags.layout ?? (model.inputs[0] && imageInput(model.inputs[0])?.layout) ?? 'NCHW';

/** [1, C, H, W] (or NHWC) of the model's first input with --size filled in. */
function inputShape(model: Model, flags: PictureFlags): number[] {
  const input = model.inputs[0];
  if (input?.shape.length !== 4) {
    throw new OctavoError({
      code: 'SAMPLE_SHAPE',
      what: `The model's first input is ${input ? `[${input.shape.join(', ')}]` : 'missing'}, not a batch of pictures.`,
      where: input?.name ?? 'model',
      hint: 'Pictures need an input of four dimensions; use the JS API for other tensors.',
    });
  }
  const layout = layoutOf(model, flags);
  const spatial = layout === 'NCHW' ? [2, 3] : [1, 2];
  const channel = layout === 'NCHW' ? 1 : 3;
  return input.shape.map((dim, axis) => {
    if (axis === 0) return typeof dim === 'number' && dim > 0 ? dim : 1;
    const given = spatial.includes(axis) ? (flags.size?.[spatial.indexOf(axis)] ?? flags.size?.[0]) : undefined;
    if (typeof dim === 'number' && dim > 0) {
      if (given !== undefined && given !== dim) {
        throw new OctavoError({
          code: 'SAMPLE_SHAPE',
          what: `--size says ${given}, the model has ${dim}.`,
          where: `input '${input.name}', axis ${axis}`,
          hint: 'Leave --size out: the model fixes it.',
        });
      }
      return dim;
    }
    if (axis === channel) return flags.channels === 'GRAY' ? 1 : 3;
    if (given === undefined) {
      throw new OctavoError({
        code: 'DYNAMIC_DIMENSION',
        what: `Dimension '${dim}' of the input has no number.`,
        where: `input '${input.name}', axis ${axis}`,
        hint: 'Give --size HEIGHT,WIDTH.',
      });
    }
    return given;
  });
}

function imageOptions(layout: 'NCHW' | 'NHWC', shape: number[], flags: PictureFlags): ImageOptions {
  const [height, width] = layout === 'NCHW' ? [shape[2], shape[3]] : [shape[1], shape[2]];
  const depth = layout === 'NCHW' ? shape[1] : shape[3];
  const preset = presets[flags.preset] ?? { range: [0, 1] as [number, number] };
  const grey = depth === 1;
  const fit = (list: number[] | undefined): number[] | undefined =>
    list && grey && list.length > 1 ? [list.reduce((a, b) => a + b, 0) / list.length] : list;
  const mean = fit(flags.mean ?? preset.mean);
  const std = fit(flags.std ?? preset.std);
  return {
    size: [height ?? 1, width ?? 1],
    range: flags.range ? [flags.range[0] ?? 0, flags.range[1] ?? 1] : preset.range,
    layout,
    channels: grey ? 'GRAY' : flags.channels === 'BGR' ? 'BGR' : 'RGB',
    ...(flags.resize ? { resize: flags.resize } : {}),
    ...(mean ? { mean } : {}),
    ...(std ? { std } : {}),
  };
}

async function* pictureFeeds(
  model: Model,
  paths: string[],
  shape: number[],
  flags: PictureFlags,
  memoryLimit?: number,
): AsyncGenerator<Feeds> {
  const name = model.inputs[0]?.name ?? '';
  const options = imageOptions(layoutOf(model, flags), shape, flags);
  for (const path of paths) {
    for await (const tensor of images([decodePicture(await readBytes(path), path, memoryLimit)], options)) yield { [name]: tensor };
  }
}

async function* decoded(paths: string[], memoryLimit?: number): AsyncGenerator<Pixels> {
  for (const path of paths) yield decodePicture(await readBytes(path), path, memoryLimit);
}

async function readJson(path: string, hint: string): Promise<unknown> {
  const text = new TextDecoder().decode(await readBytes(path));
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new OctavoError({ code: 'INVALID_OPTION', what: `It is not JSON: ${(error as Error).message}.`, where: path, hint });
  }
}

const labelsHint = 'Give a line `file<TAB>class index` for each picture, or JSON { file: class index }.';

/** labels: `file<TAB>number` lines, or JSON { file: number }. One label for each picture, by file name. */
async function readLabels(path: string, pictures: string[]): Promise<number[]> {
  const text = new TextDecoder().decode(await readBytes(path));
  const entries: [string, number][] = text.trimStart().startsWith('{')
    ? Object.entries((await readJson(path, labelsHint)) as Record<string, number>)
    : text
        .split('\n')
        .filter(Boolean)
        .map((line) => line.split(/[\t,]/))
        .map(([file, label]) => [file ?? '', Number(label)]);
  const table = new Map(entries);
  return pictures.map((picture) => {
    const label = table.get(basename(picture));
    if (label === undefined || !Number.isInteger(label)) {
      throw new OctavoError({
        code: 'INVALID_OPTION',
        what: `No label for '${basename(picture)}'.`,
        where: path,
        hint: labelsHint,
      });
    }
    return label;
  });
}

// ---- output ----

/** A bar on a terminal, a line a stage otherwise; on standard error, so that --json stays clean. */
function progressPrinter(): { show: (stage: string, done: number, total?: number) => void; end: () => void } {
  const terminal = process.stderr.isTTY === true;
  let stageShown = '';
  return {
    show(stage, done, total) {
      if (terminal) {
        const width = 30;
        const filled = total ? Math.round((width * done) / total) : 0;
        const amount = total ? `${done}/${total}` : `${done}`;
        process.stderr.write(`\r${stage.padEnd(10)} [${'#'.repeat(filled)}${' '.repeat(width - filled)}] ${amount}\u001b[K`);
      } else if (stage !== stageShown) {
        process.stderr.write(`${stage}\n`);
      }
      stageShown = stage;
    },
    end() {
      if (terminal && stageShown) process.stderr.write('\n');
    },
  };
}

const kilobytes = (n: number): string => `${(n / 1000).toFixed(1)} kB`;
const percent = (x: number): string => `${(100 * x).toFixed(2)} %`;
const decibels = (x: number | null): string => (x === null ? 'exact' : `${x.toFixed(1)} dB`);
/** Names in a model may hold anything; what would command a terminal is spelled out. */
const harmless = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
  text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
const print = (line: string): void => void process.stdout.write(`${harmless(line)}\n`);

function printTable(head: string[], rows: (string | number)[][]): void {
  const all = [head, ...rows.map((row) => row.map(String))];
  const widths = head.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)));
  for (const row of all)
    print(
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}

// ---- commands ----

interface QuantizeFlags extends PictureFlags, EngineFlags {
  calib?: string;
  calibration?: string[];
  out?: string;
  dynamic?: boolean;
  weightOnly?: boolean;
  recipe?: string;
  saveRecipe?: string;
  loadCalibration?: string;
  saveCalibration?: string;
  eval?: string;
  labels?: string;
  report?: string;
  observer: string;
  calibrateMethod?: keyof typeof calibrationMethods;
  calibrationMethod?: keyof typeof calibrationMethods;
  percentile?: number;
  averagingConstant?: number;
  numBins?: number;
  numQuantizedBins?: number;
  observerFor: string[];
  activationType: keyof typeof codeTypes;
  weightType: 'QInt8';
  perChannel?: boolean;
  perTensor?: boolean;
  reduceRange?: boolean;
  pairSafe?: boolean;
  pairSafeAuto?: boolean;
  weightScale: string;
  memoryLimit?: number;
  target: string;
  rounding: string;
  equalize: boolean;
  biasCorrection: boolean;
  bn: string;
  bnExport: string;
  format: string;
  opset?: number;
  exclude: string[];
  nodesToExclude: string[];
  excludeOp: string[];
  nodesToQuantize: string[];
  opTypesToQuantize: string[];
  evaluateSamples?: number;
  minAgreement?: number;
  sensitivity?: boolean;
  compareTargets?: boolean;
  budget?: Budget;
}

/** ONNX Runtime's names of what it has too. */
const calibrationMethods = { MinMax: 'minmax', MovingAverage: 'movingAverage', Percentile: 'percentile', Entropy: 'entropy' } as const;
const codeTypes = { QUInt8: 'quint8', QInt8: 'qint8' } as const;
const observers = ['minmax', 'movingAverage', 'histogram', 'percentile', 'mse', 'entropy', 'auto'];

const usage = (what: string, hint: string): OctavoError =>
  new OctavoError({ code: 'INVALID_OPTION', what, where: 'octavo quantize', hint });

/** What may be said beside --recipe, which says all the rest. */
const besideRecipe = new Set([
  'recipe',
  'calib',
  'out',
  'eval',
  'labels',
  'report',
  'json',
  'isa',
  'samples',
  'minAgreement',
  'saveRecipe',
  'sensitivity',
]);
/** Also that, where the recipe was made of tensors and does not know how pictures become such. */
const pictureNames = new Set(['preset', 'size', 'resize', 'mean', 'std', 'range', 'channels', 'layout']);

/** `--observer-for tensor=observer`, several of them, as an option. */
function observerOverrides(list: string[]): Record<string, 'mse'> {
  return Object.fromEntries(
    list.map((item) => {
      const at = item.lastIndexOf('=');
      const [tensor, observer] = [item.slice(0, at), item.slice(at + 1)];
      if (at <= 0 || !observers.includes(observer))
        throw usage(`--observer-for ${item} is not TENSOR=OBSERVER.`, `Observers: ${observers.join(', ')}.`);
      return [tensor, observer as 'mse'];
    }),
  );
}

/** --op-types-to-quantize and --nodes-to-quantize: whatever they do not name stays float. */
async function excludedByChoice(model: Model, flags: QuantizeFlags): Promise<(string | { opType: string })[]> {
  const { nodes } = await model.summary();
  const rest = (flag: string, wanted: string[], all: string[]): string[] => {
    if (wanted.length === 0) return [];
    const odd = wanted.find((name) => !all.includes(name));
    if (odd !== undefined) throw usage(`${flag}: the model has no '${odd}'.`, `It has ${[...new Set(all)].slice(0, 40).join(', ')}.`);
    return [...new Set(all)].filter((name) => !wanted.includes(name));
  };
  return [
    ...rest(
      '--nodes-to-quantize',
      flags.nodesToQuantize,
      nodes.map(({ name }) => name),
    ),
    ...rest(
      '--op-types-to-quantize',
      flags.opTypesToQuantize,
      nodes.map(({ op }) => op),
    ).map((opType) => ({ opType })),
  ];
}

const calibrationHint = 'Give a file that --save-calibration wrote.';
interface Calibration {
  version: 1;
  model: { sha256: string | null };
  ranges: Record<string, [number, number]>;
}
async function readCalibration(path: string): Promise<Calibration['ranges']> {
  const { version, ranges } = ((await readJson(path, calibrationHint)) ?? {}) as Partial<Calibration>;
  if (version === 1 && ranges) return ranges;
  throw new OctavoError({ code: 'INVALID_OPTION', what: 'It is no calibration of version 1.', where: path, hint: calibrationHint });
}

const weightOptions = (flags: QuantizeFlags): NonNullable<DynamicOptions['weight']> => ({
  scheme: flags.perTensor ? 'per_tensor_symmetric' : 'per_channel_symmetric',
  scale: flags.weightScale as 'mse',
  reduceRange: flags.reduceRange ?? false,
});

const excluded = async (model: Model, flags: QuantizeFlags): Promise<(string | { opType: string })[]> => [
  ...flags.exclude,
  ...flags.nodesToExclude,
  ...flags.excludeOp.map((opType) => ({ opType })),
  ...(await excludedByChoice(model, flags)),
];

async function optionsFromFlags(model: Model, shape: number[], flags: QuantizeFlags): Promise<QuantizeOptions> {
  const method = flags.calibrateMethod ?? flags.calibrationMethod;
  return {
    activation: {
      observer: method ? calibrationMethods[method] : (flags.observer as 'percentile'),
      dtype: codeTypes[flags.activationType],
      ...(flags.percentile ? { percentile: flags.percentile } : {}),
      ...(flags.averagingConstant ? { averagingConstant: flags.averagingConstant } : {}),
      ...(flags.numBins ? { numBins: flags.numBins } : {}),
      ...(flags.numQuantizedBins ? { numQuantizedBins: flags.numQuantizedBins } : {}),
    },
    weight: {
      ...weightOptions(flags),
      pairSafe: flags.pairSafeAuto ? 'auto' : (flags.pairSafe ?? false),
      rounding: flags.rounding as 'nearest',
    },
    target: flags.target as 'octavo',
    equalize: flags.equalize,
    biasCorrection: flags.biasCorrection,
    batchNorm: flags.bn as 'auto',
    exclude: await excluded(model, flags),
    observerOverrides: observerOverrides(flags.observerFor),
    inputShapes: { [model.inputs[0]?.name ?? '']: shape },
    ...(flags.evaluateSamples ? { evaluateSamples: flags.evaluateSamples } : {}),
    image: imageOptions(layoutOf(model, flags), shape, flags),
    export: { batchNorm: flags.bnExport as 'depthwise', format: flags.format as 'qdq', ...(flags.opset ? { opset: flags.opset } : {}) },
    ...(flags.loadCalibration ? { ranges: await readCalibration(flags.loadCalibration) } : {}),
  };
}

/** What was asked for twice, or not at all. @throws OctavoError INVALID_OPTION */
function checkQuantizeFlags(flags: QuantizeFlags, given: string[], recipe: Recipe | undefined): void {
  const missing = [
    ...(flags.calib || flags.recipe || flags.calibration?.length ? [] : ['--calib <dir>']),
    ...(flags.out ? [] : ['--out <file>']),
  ];
  if (missing.length > 0)
    throw usage(`${missing.join(' and ')} ${missing.length > 1 ? 'are' : 'is'} missing.`, 'See octavo quantize --help.');
  if (flags.labels && !flags.eval) throw usage('--labels are those of the pictures of --eval, which is missing.', 'Give --eval DIR too.');
  const twice = recipe && given.find((name) => !besideRecipe.has(name) && (recipe.image || !pictureNames.has(name)));
  if (twice === undefined) return;
  throw usage(`The recipe says what ${flagOf(twice)} is.`, 'Leave it out, or leave --recipe out.');
}

const readAll = (paths: string[]): Promise<Uint8Array[]> => Promise.all(paths.map(readBytes));

/** Quantizes as flags or recipe say; pictures only where there are some. */
async function quantizeByFlags(model: Model, flags: QuantizeFlags, recipe?: Recipe): Promise<QuantizeResult> {
  const paths = flags.calib ? await listPictures(flags.calib, flags.samples) : [];
  const evaluated = flags.eval ? await listPictures(flags.eval) : undefined;
  const labels = evaluated && flags.labels ? await readLabels(flags.labels, evaluated) : undefined;
  const shapes = recipe?.options.inputShapes as Record<string, number[]> | undefined;
  const needsShape = !recipe || (!recipe.image && paths.length + (evaluated?.length ?? 0) > 0);
  const shape = needsShape ? (shapes?.[model.inputs[0]?.name ?? ''] ?? inputShape(model, flags)) : [];
  // Read anew each time that they are asked for.
  const feeds = (list: string[]): AsyncIterable<Feeds | Pixels> => ({
    [Symbol.asyncIterator]: () =>
      recipe && !recipe.image ? pictureFeeds(model, list, shape, flags, flags.memoryLimit) : decoded(list, flags.memoryLimit),
  });
  const bar = progressPrinter();
  const job = quantizeStatic(model, feeds(paths), {
    ...(recipe ? { recipe } : await optionsFromFlags(model, shape, flags)),
    total: paths.length,
    sensitivity: flags.sensitivity ?? false,
    ...(flags.memoryLimit ? { memoryLimit: flags.memoryLimit } : {}),
    ...(flags.compareTargets ? { compareTargets: true } : {}),
    ...(flags.calibration?.length ? { calibration: await readAll(flags.calibration) } : {}),
    ...(flags.budget ? { budget: flags.budget } : {}),
    ...(evaluated ? { evaluation: { samples: feeds(evaluated), ...(labels ? { labels } : {}) } } : {}),
  });
  return withFileNames(flags.calibration ?? [], async () => {
    for await (const progress of job) bar.show(progress.stage, progress.done, progress.total);
    bar.end();
    return job.result;
  });
}

/** Layers by what they cost, the worst first. */
function printSensitivity(layers: LayerSensitivity[]): void {
  printTable(
    ['layer', 'op', 'noise alone', 'with all before it', 'ms float', 'ms int8'],
    [...layers]
      .sort((a, b) => b.alone.relativeRms - a.alone.relativeRms)
      .map(({ node, op, alone, sequence, floatMs, int8Ms }) => [
        node,
        op,
        percent(alone.relativeRms),
        percent(sequence.relativeRms),
        floatMs.toFixed(3),
        int8Ms.toFixed(3),
      ]),
  );
}

async function sensitivityCommand(path: string, flags: QuantizeFlags): Promise<number> {
  await using engine = await openEngine(flags);
  const { model } = await loadModel(path, engine);
  const { report } = await quantizeByFlags(model, { ...flags, sensitivity: true });
  if (flags.json) print(JSON.stringify(report.sensitivity));
  else printSensitivity(report.sensitivity ?? []);
  return exit.ok;
}

const recipeHint = 'Give a file that --save-recipe or the page wrote.';

/** What says how --dynamic and --weight-only work. */
const dynamicNames = new Set(
  'out,dynamic,weightOnly,json,isa,perChannel,perTensor,reduceRange,weightScale,weightType,exclude,nodesToExclude,excludeOp,nodesToQuantize,opTypesToQuantize'.split(
    ',',
  ),
);
const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

async function dynamicCommand(path: string, flags: QuantizeFlags, given: string[]): Promise<number> {
  const odd = given.find((name) => !dynamicNames.has(name));
  const way = flags.weightOnly ? '--weight-only' : '--dynamic';
  if (odd !== undefined) throw usage(`${flagOf(odd)} says nothing about ${way}, which looks at no pictures.`, `Leave it or ${way} out.`);
  const { out } = flags;
  if (!out) throw usage('--out <file> is missing.', 'See octavo quantize --help.');
  await checkWritable(out);
  await using engine = await openEngine(flags);
  const { model, size } = await loadModel(path, engine);
  const int8 = await quantizeDynamic(model, {
    weightOnly: flags.weightOnly ?? false,
    weight: weightOptions(flags),
    exclude: await excluded(model, flags),
  });
  const bytes = await int8.toONNX();
  await write(out, bytes);
  print(
    flags.json
      ? JSON.stringify({ out, bytes: { float: size, int8: bytes.length } })
      : `${out}: ${kilobytes(size)} -> ${kilobytes(bytes.length)}`,
  );
  return exit.ok;
}

interface CalibrateFlags extends QuantizeFlags {
  data: string;
  from: string[];
  saveBasis?: string;
}

async function calibrateCommand(path: string, flags: CalibrateFlags): Promise<number> {
  const out = flags.out ?? '';
  await checkWritable(out, flags.saveBasis);
  await using engine = await openEngine(flags);
  const { model } = await loadModel(path, engine);
  const pictures = await listPictures(flags.data, flags.samples);
  const shape = inputShape(model, flags);
  const bar = progressPrinter();
  const job = calibrate(model, decoded(pictures, flags.memoryLimit), {
    ...(await optionsFromFlags(model, shape, flags)),
    total: pictures.length,
    calibration: await readAll(flags.from),
    ...(flags.memoryLimit ? { memoryLimit: flags.memoryLimit } : {}),
  });
  const { state, basis } = await withFileNames(flags.from, async () => {
    for await (const progress of job) bar.show(progress.stage, progress.done, progress.total);
    bar.end();
    return job.result;
  });
  if (flags.saveBasis && !basis)
    throw usage('--save-basis: weights are fitted to 32 pictures, and there are fewer.', 'Give more pictures, or leave it out.');
  await write(out, state);
  if (flags.saveBasis && basis) await write(flags.saveBasis, basis);
  print(flags.json ? JSON.stringify({ out, bytes: state.length }) : `${out}: ${pictures.length} pictures, ${kilobytes(state.length)}`);
  return exit.ok;
}

/** `given`: the names of the flags that were really typed. */
async function quantizeCommand(path: string, flags: QuantizeFlags, given: string[]): Promise<number> {
  if (flags.dynamic || flags.weightOnly) return dynamicCommand(path, flags, given);
  const recipe = flags.recipe ? ((await readJson(flags.recipe, recipeHint)) as Recipe) : undefined;
  checkQuantizeFlags(flags, given, recipe);
  const out = flags.out ?? '';
  await checkWritable(out, flags.report, flags.saveRecipe, flags.saveCalibration);
  await using engine = await openEngine(flags);
  const { model, size } = await loadModel(path, engine);
  const { model: int8, report, recipe: made } = await quantizeByFlags(model, flags, recipe);
  const bytes = await int8.toONNX();
  await write(out, bytes);
  if (flags.saveRecipe) await write(flags.saveRecipe, JSON.stringify(made, null, 2));
  if (flags.saveCalibration) {
    const ranges = Object.fromEntries(made.tensors.map(({ name, range }) => [name, range]));
    const calibration: Calibration = { version: 1, model: { sha256: made.model.sha256 }, ranges };
    await write(flags.saveCalibration, JSON.stringify(calibration, null, 2));
  }
  if (flags.report) await write(flags.report, extname(flags.report) === '.json' ? JSON.stringify(report, null, 2) : report.toHTML());
  if (flags.json) {
    print(JSON.stringify({ out, bytes: { float: size, int8: bytes.length }, report }));
  } else {
    const fates = new Map<string, number>();
    for (const node of report.nodes) fates.set(node.fate, (fates.get(node.fate) ?? 0) + 1);
    print(`${out}: ${kilobytes(size)} -> ${kilobytes(bytes.length)}; nodes: ${[...fates].map(([fate, n]) => `${n} ${fate}`).join(', ')}`);
    for (const output of report.outputs) print(`output ${output.name}: ${decibels(output.sqnr)} against float, on calibration samples`);
    if (report.evaluation?.top1)
      print(`top-1 on --eval: float ${percent(report.evaluation.top1.a)}, int8 ${percent(report.evaluation.top1.b)}`);
    if (report.evaluation && report.evaluation.top1Agreement !== null)
      print(`same top-1 as float: ${percent(report.evaluation.top1Agreement)} of ${report.evaluation.samples} pictures`);
    else if (report.top1Agreement !== null)
      print(
        `same top-1 as float: ${percent(report.top1Agreement)} of ${report.evaluatedSamples} calibration samples (--eval takes others)`,
      );
    if (report.sensitivity) printSensitivity(report.sensitivity);
    if (report.targets) {
      printTable(
        ['target', 'same top-1', 'top-1', 'noise', 'ms', 'bytes'],
        report.targets.map(({ target, top1Agreement, top1, relativeRms, milliseconds, bytes: size }) => [
          target,
          top1Agreement === null ? '-' : percent(top1Agreement),
          top1 === null ? '-' : percent(top1),
          percent(relativeRms),
          milliseconds.toFixed(3),
          kilobytes(size),
        ]),
      );
    }
    if (report.budget) {
      const { float, milliseconds, metric, drop, int8Drop, tried } = report.budget;
      const kept = float.length === 0 ? 'every layer int8' : `${float.join(', ')} in float (${milliseconds.toFixed(2)} ms more)`;
      print(
        `budget ${metric}: loses ${drop.toPrecision(3)} with ${kept}; all int8 loses ${int8Drop.toPrecision(3)}; ${tried} networks tried`,
      );
    }
    if (flags.report) print(`report: ${flags.report}`);
  }
  if (report.budget && !report.budget.met) {
    const { metric, maxDrop, drop } = report.budget;
    process.stderr.write(`budget missed: ${metric} loses ${drop.toPrecision(3)} at best, allowed ${maxDrop}\n`);
    return exit.budgetMissed;
  }
  const agreement = report.evaluation?.top1Agreement ?? report.top1Agreement ?? 1;
  if (flags.minAgreement !== undefined && agreement < flags.minAgreement / 100) {
    process.stderr.write(`budget missed: agreement ${percent(agreement)} is below ${flags.minAgreement} %\n`);
    return exit.budgetMissed;
  }
  return exit.ok;
}

async function runCommand(path: string, picturePath: string, flags: PictureFlags & EngineFlags & { top: number }): Promise<number> {
  await using engine = await openEngine(flags);
  const { model } = await loadModel(path, engine);
  const pictures = await listPictures(picturePath, flags.samples);
  const shape = inputShape(model, flags);
  const session = await InferenceSession.create(model, { engine, inputShapes: { [model.inputs[0]?.name ?? '']: shape } });
  const results: unknown[] = [];
  let i = 0;
  for await (const feed of pictureFeeds(model, pictures, shape, flags)) {
    const outputs = await session.run(feed);
    const picture = pictures[i++] ?? '';
    if (flags.json) {
      results.push({
        picture,
        outputs: Object.fromEntries(
          Object.entries(outputs).map(([name, tensor]) => [name, { shape: tensor.shape, data: Array.from(tensor.data, Number) }]),
        ),
      });
      continue;
    }
    for (const [name, tensor] of Object.entries(outputs)) {
      const values = Array.from(tensor.data, Number);
      const classes = (): string => {
        const top = values
          .map((value, index) => ({ value, index }))
          .sort((a, b) => b.value - a.value)
          .slice(0, flags.top);
        return `top ${top.length}: ${top.map(({ index, value }) => `${index} (${value.toPrecision(4)})`).join(', ')}`;
      };
      // A picture's worth of values is more than a call takes as arguments.
      const most = (sign: number): string =>
        (sign * values.reduce((a, b) => Math.max(a, sign * b), Number.NEGATIVE_INFINITY)).toPrecision(4);
      const words = tensor.shape.slice(2).every((dim) => dim === 1) ? classes() : `[${tensor.shape.join(', ')}], ${most(-1)} to ${most(1)}`;
      print(`${basename(picture)}  ${name}  ${words}`);
    }
  }
  if (flags.json) print(JSON.stringify(results));
  return exit.ok;
}

async function inspectCommand(path: string, flags: EngineFlags): Promise<number> {
  await using engine = await openEngine(flags);
  const { model, size } = await loadModel(path, engine);
  const summary = await model.summary();
  if (flags.json) {
    print(JSON.stringify(summary));
    return exit.ok;
  }
  const tensors = (list: { name: string; type: string; shape: (number | string)[] }[]): string =>
    list.map((t) => `${t.name} ${t.type} [${t.shape.join(', ')}]`).join('; ');
  print(
    `${path}: ${kilobytes(size)}, opset ${summary.opset}, ${summary.producer || 'producer unknown'}${summary.quantized ? ', quantized' : ''}`,
  );
  print(`inputs:  ${tensors(summary.inputs)}`);
  print(`outputs: ${tensors(summary.outputs)}`);
  const macs = summary.macs?.toLocaleString('en') ?? 'unknown, as the model leaves sizes open';
  print(`parameters ${summary.parameters.toLocaleString('en')}, multiply-accumulates ${macs}`);
  printTable(
    ['node', 'op', 'output', 'plan', 'why'],
    summary.nodes.map((node) => [node.name, node.op, `[${node.shape?.join(', ') ?? '?'}]`, node.plan, node.reason]),
  );
  return exit.ok;
}

interface CompareFlags extends PictureFlags, EngineFlags {
  data: string;
  labels?: string;
  maxDrop?: number;
}

async function compareCommand(pathA: string, pathB: string, flags: CompareFlags): Promise<number> {
  await using engine = await openEngine(flags);
  const a = await loadModel(pathA, engine);
  const b = await loadModel(pathB, engine);
  const pictures = await listPictures(flags.data, flags.samples);
  const shape = inputShape(a.model, flags);
  const labels = flags.labels ? await readLabels(flags.labels, pictures) : undefined;
  const result = await compare(a.model, b.model, pictureFeeds(a.model, pictures, shape, flags), {
    inputShapes: { [a.model.inputs[0]?.name ?? '']: shape },
    layers: true,
    ...(labels ? { labels } : {}),
  });
  const worst = basename(pictures[result.worst.sample] ?? '');
  if (flags.json) {
    print(JSON.stringify({ ...result, worst: { ...result.worst, picture: worst } }));
  } else {
    print(`${result.samples} pictures; bytes ${a.size} / ${b.size}`);
    if (result.top1Agreement !== null) print(`same top-1: ${percent(result.top1Agreement)}`);
    if (result.top1) print(`top-1: ${percent(result.top1.a)} / ${percent(result.top1.b)}`);
    if (result.top5) print(`top-5: ${percent(result.top5.a)} / ${percent(result.top5.b)}`);
    for (const output of result.outputs)
      print(
        `output ${output.name}: ${decibels(output.sqnr)}, largest difference ${output.maxError.toPrecision(3)}${output.kl === null ? '' : `, KL divergence ${output.kl.toPrecision(3)}`}`,
      );
    if (result.boxes) {
      const { boxes, agreement, meanIoU } = result.boxes;
      const words =
        agreement === null ? 'none found' : `${percent(agreement)} have a partner at IoU 0.5, mean IoU ${meanIoU?.toFixed(3) ?? '-'}`;
      print(`boxes: ${boxes.a} / ${boxes.b}, ${words}`);
    }
    print(`largest difference on ${worst}: ${percent(result.worst.relativeRms)} of the outputs' size`);
    printTable(
      ['layer', 'op', 'type', 'SQNR'],
      result.layers.map((layer) => [layer.node, layer.op, layer.type, decibels(layer.sqnr)]),
    );
  }
  if (flags.maxDrop !== undefined) {
    const drop = result.top1 ? 100 * (result.top1.a - result.top1.b) : 100 * (1 - (result.top1Agreement ?? 1));
    if (drop > flags.maxDrop) {
      process.stderr.write(
        `budget missed: ${result.top1 ? 'top-1 dropped' : 'answers changed'} by ${drop.toFixed(2)} points, allowed ${flags.maxDrop}\n`,
      );
      return exit.budgetMissed;
    }
  }
  return exit.ok;
}

async function benchCommand(path: string, flags: PictureFlags & EngineFlags & { runs: number }): Promise<number> {
  await using engine = await openEngine(flags);
  const { model, size } = await loadModel(path, engine);
  const shapes = Object.fromEntries(
    model.inputs.map((input) => [
      input.name,
      input.shape.map((dim, axis) => {
        if (typeof dim === 'number' && dim > 0) return dim;
        return axis === 0 ? 1 : (flags.size?.[axis - (input.shape.length - 2)] ?? flags.size?.[0] ?? 224);
      }),
    ]),
  );
  const session = await InferenceSession.create(model, { engine, inputShapes: shapes });
  // Seeded numbers of a normal size: denormal or constant data would flatter or slow the kernels.
  let seed = 1;
  const random = (): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 31 - 1;
  };
  const feeds: Feeds = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [
      name,
      new Tensor('float32', Float32Array.from({ length: shape.reduce((x, y) => x * y, 1) }, random), shape),
    ]),
  );
  for (let i = 0; i < 3; i++) await session.run(feeds);
  const times: number[] = [];
  for (let i = 0; i < flags.runs; i++) {
    const start = performance.now();
    await session.run(feeds);
    times.push(performance.now() - start);
  }
  times.sort((x, y) => x - y);
  const median = times[Math.floor(times.length / 2)] ?? 0;
  const profile = await session.profile(feeds);
  const steps = profile.steps;
  if (flags.json) {
    print(
      JSON.stringify({
        model: path,
        bytes: size,
        features: engine.features,
        runs: flags.runs,
        milliseconds: { min: times[0], median, max: times.at(-1) },
        memory: profile.memory,
        steps,
      }),
    );
    return exit.ok;
  }
  print(
    `${path}: median ${median.toFixed(3)} ms of ${flags.runs} runs (best ${times[0]?.toFixed(3)}, worst ${times.at(-1)?.toFixed(3)}); ${engine.features.isa}, ${engine.features.engineClass}`,
  );
  print(
    `activations ${kilobytes(profile.memory.arenaBytes)} (lower bound ${kilobytes(profile.memory.lowerBoundBytes)}), weights ${kilobytes(profile.memory.weightBytes)}`,
  );
  printTable(
    ['node', 'op', 'kernel', 'ms', 'GMAC/s'],
    steps.map((step) => [
      step.node,
      step.op,
      step.kernel,
      step.milliseconds.toFixed(4),
      step.macs > 0 ? (step.macs / step.milliseconds / 1e6).toFixed(1) : '',
    ]),
  );
  return exit.ok;
}

async function verifyCommand(path: string, flags: EngineFlags & { runs: number }): Promise<number> {
  await using engine = await openEngine(flags);
  const { model, bytes, externalData } = await loadModel(path, engine);
  const feeds = Array.from({ length: flags.runs }, (_, i) => randomFeeds(model, {}, i + 1));
  const result = await verify(bytes, feeds, engine, { externalData });
  if (flags.json) {
    print(JSON.stringify(result));
    return exit.ok;
  }
  printTable(
    ['tensor', 'type', 'equal', 'largest difference'],
    result.tensors.map((t) => [t.name, t.type, percent(t.elements === 0 ? 1 : t.equal / t.elements), t.largestDifference.toPrecision(3)]),
  );
  print(`${result.equalCodes} of ${result.codes} codes equal onnxruntime-node's, over ${flags.runs} random inputs`);
  return exit.ok;
}

// ---- the program ----

/** How to quantize. */
const withQuantization = (command: Command): Command =>
  command
    .addOption(new Option('--observer <name>', 'how ranges are found').choices(observers).default('mse'))
    .addOption(
      new Option('--calibrate-method <name>', "the same by ONNX Runtime's names")
        .choices(Object.keys(calibrationMethods))
        .conflicts('observer'),
    )
    .addOption(
      new Option('--calibration-method <name>', 'the same')
        .choices(Object.keys(calibrationMethods))
        .conflicts(['observer', 'calibrateMethod']),
    )
    .option(
      '--observer-for <tensor=name>',
      'another observer for one tensor (repeatable)',
      (item: string, list: string[]) => [...list, item],
      [],
    )
    .option('--percentile <p>', 'for the percentile observer', real)
    .option('--averaging-constant <c>', 'for the moving average', real)
    .option('--num-bins <n>', 'for entropy: the bins that are searched', positive)
    .option('--num-quantized-bins <n>', 'for entropy: the levels', positive)
    .addOption(new Option('--activation-type <type>', 'codes of activations').choices(Object.keys(codeTypes)).default('QUInt8'))
    .addOption(new Option('--weight-type <type>', 'codes of weights, always symmetric').choices(['QInt8']).default('QInt8'))
    .addOption(new Option('--target <runtime>', 'where the file is meant to run').choices(['octavo', 'onnxruntime']).default('octavo'))
    .addOption(new Option('--rounding <rule>', 'of weights').choices(['secondMoment', 'nearest']).default('secondMoment'))
    .option('--no-equalize', 'do not even out channels')
    .option('--no-bias-correction', 'keep the biases')
    .option('--per-channel', 'a scale for each channel of the weights (the default)')
    .addOption(new Option('--per-tensor', 'one scale for all weights of a layer').conflicts('perChannel'))
    .option('--reduce-range', '7-bit weights')
    .addOption(
      new Option(
        '--pair-safe',
        'weights of which no two saturate where they are added up in 16 bits (x86 with AVX2, some browsers)',
      ).conflicts('pairSafeAuto'),
    )
    .option('--pair-safe-auto', 'the same in the layers where it costs at most 1 % more error')
    .addOption(
      new Option('--weight-scale <rule>', 'scale of the weights: to the largest, or of least error').choices(['max', 'mse']).default('max'),
    )
    .addOption(new Option('--bn <fate>', 'batch normalization').choices(['auto', 'fold', 'quantized', 'float']).default('auto'))
    .addOption(
      new Option('--bn-export <form>', 'how int8 batch normalization is written')
        .choices(['depthwise', 'batchnorm', 'muladd'])
        .default('depthwise'),
    )
    .addOption(new Option('--format <form>', 'how integer nodes are written').choices(['qdq', 'qoperator']).default('qdq'))
    .option('--opset <n>', 'opset of the file, 13 or later', positive)
    .option('--exclude <glob>', 'keep these nodes in float (repeatable, as are the next)', collect, [])
    .option('--nodes-to-exclude <list>', 'the same', collect, [])
    .option('--exclude-op <type>', 'keep nodes of this kind in float', collect, [])
    .option('--nodes-to-quantize <list>', 'keep all other nodes in float', collect, [])
    .option('--op-types-to-quantize <list>', 'keep all other kinds of nodes in float', collect, [])
    .option('--memory-limit <bytes>', 'fail rather than take more for the network, kept pictures and fitting', positive)
    .option('--evaluate-samples <n>', 'on how many calibration pictures the report compares float and int8', positive);

async function program(argv: string[]): Promise<number> {
  let code: number = exit.ok;
  const end =
    <Args extends unknown[]>(command: (...args: Args) => Promise<number>) =>
    async (...args: Args): Promise<void> => {
      code = await command(...args);
    };
  const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
  const octavo = new Command('octavo')
    .description('Quantize ONNX networks to int8 and run them.')
    .version(version)
    .exitOverride()
    .configureHelp({ sortSubcommands: false })
    .addHelpText('after', '\nExit codes: 0 ok, 1 usage, 2 unsupported or bad input, 3 budget missed.');

  withEngine(
    withPictures(
      withQuantization(
        octavo
          .command('quantize')
          .description('quantize a float model with calibration pictures; writes an int8 ONNX file')
          .argument('<model>', 'float ONNX file')
          .option('--calib <dir>', 'folder of calibration pictures (JPEG, PNG)')
          .option(
            '--calibration <file>',
            'what octavo calibrate saved, before or instead of --calib (repeatable: they are merged)',
            collect,
            [],
          )
          .option('--dynamic', 'no calibration: quantize activations while the network runs (MatMul, Gemm, Conv)')
          .addOption(new Option('--weight-only', 'no calibration: int8 weights, float arithmetic').conflicts('dynamic'))
          .option('--out <file>', 'where to write the int8 ONNX file')
          .option('--eval <dir>', 'pictures to compare float and int8 on afterwards')
          .option('--labels <file>', 'right classes of --eval: lines `file<TAB>class`, or JSON { file: class }')
          .option('--report <file>', 'write a report: .html or .json')
          .option('--save-recipe <file>', 'write all that was decided, as JSON')
          .option('--recipe <file>', 'do what a recipe says, to the byte; --calib only where it fitted weights to pictures')
          .option('--save-calibration <file>', 'write the ranges that were found, as JSON')
          .option('--load-calibration <file>', 'take these ranges instead of searching for them')
          .option('--min-agreement <percent>', 'exit 3 when fewer answers equal the float ones', real)
          .option('--sensitivity', 'measure what each layer costs by itself')
          .option('--compare-targets', 'say what each --target costs in error and in time, on --eval or on --calib')
          .option(
            '--budget <metric:drop>',
            'keep the fewest layers in float with which no more is lost on --eval (without it on --calib), as top1Agreement:0.01; exit 3 when none do',
            budgetOf,
          ),
      ),
    ),
  ).action(
    end((model: string, flags: QuantizeFlags, command: Command) =>
      quantizeCommand(
        model,
        flags,
        Object.keys(flags).filter((name) => command.getOptionValueSource(name) === 'cli'),
      ),
    ),
  );

  withEngine(
    withPictures(
      withQuantization(
        octavo
          .command('calibrate')
          .description('look at pictures and save what they show, for octavo quantize --calibration with the same options')
          .argument('<model>', 'float ONNX file')
          .requiredOption('--data <dir>', 'folder of calibration pictures (JPEG, PNG)')
          .requiredOption('--out <file>', 'where to write the state')
          .option('--from <file>', 'a state to go on from, or the basis of one to merge with', collect, [])
          .option('--save-basis <file>', 'write what other calibrations begin from (--from) to be merged with this one'),
      ),
    ),
  ).action(end((model: string, flags: CalibrateFlags) => calibrateCommand(model, flags)));

  withEngine(
    withPictures(
      withQuantization(
        octavo
          .command('sensitivity')
          .description('what each layer costs the outputs: with it alone in int8, and with all before it')
          .argument('<model>', 'float ONNX file')
          .requiredOption('--calib <dir>', 'folder of calibration pictures (JPEG, PNG)'),
      ),
    ),
  ).action(end((model: string, flags: QuantizeFlags) => sensitivityCommand(model, flags)));

  withEngine(
    withPictures(
      octavo
        .command('run')
        .description('run a float or int8 model on pictures and print its outputs')
        .argument('<model>')
        .argument('<pictures>', 'a picture or a folder')
        .option('--top <n>', 'how many classes to print', positive, 5),
    ),
  ).action(
    end((model: string, pictures: string, flags: PictureFlags & EngineFlags & { top: number }) => runCommand(model, pictures, flags)),
  );

  withEngine(octavo.command('inspect').description("a model's nodes and what quantization would make of each").argument('<model>')).action(
    end((model: string, flags: EngineFlags) => inspectCommand(model, flags)),
  );

  withEngine(
    withPictures(
      octavo
        .command('compare')
        .description('two models on the same pictures: agreement, accuracy, error by layer')
        .argument('<a>', 'the reference, usually float')
        .argument('<b>')
        .requiredOption('--data <dir>', 'folder of pictures')
        .option('--labels <file>', 'lines `file<TAB>class`, or JSON { file: class }')
        .option('--max-drop <points>', 'exit 3 when top-1 (or agreement, without labels) drops by more', real),
    ),
  ).action(end((a: string, b: string, flags: CompareFlags) => compareCommand(a, b, flags)));

  withEngine(
    octavo
      .command('verify')
      .description('run a quantized model beside onnxruntime-node: the share of equal codes by tensor')
      .argument('<model>')
      .option('--runs <n>', 'random inputs', positive, 3),
  ).action(end((model: string, flags: EngineFlags & { runs: number }) => verifyCommand(model, flags)));

  withEngine(
    octavo
      .command('bench')
      .description("time a model, layer by layer, with each layer's kernel")
      .argument('<model>')
      .option('--size <h,w>', 'height and width, where the model leaves them open', numbers)
      .option('--runs <n>', 'timed runs', positive, 30),
  ).action(end((model: string, flags: PictureFlags & EngineFlags & { runs: number }) => benchCommand(model, flags)));

  try {
    await octavo.parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exit.ok : exit.usage;
    if (error instanceof OctavoError) {
      process.stderr.write(`error ${error.code}: ${harmless(error.message)}\n`);
      for (const one of (error.all ?? []).slice(1)) process.stderr.write(`  also ${harmless(`${one.where}: ${one.what}`)}\n`);
      return error.code === 'INVALID_OPTION' ? exit.usage : exit.badInput;
    }
    throw error;
  }
  return code;
}

// A reader that has seen enough (`octavo inspect m.onnx | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exit.ok);
  throw error;
});
process.exitCode = await program(process.argv);
