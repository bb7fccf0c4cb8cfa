// Runs cases with known results, a line a case: `npm run conformance -- PATH... [--quiet]`
//
// What counts as a case below PATH:
//   a folder with model.onnx and test_data_set_*/{input,output}_*.pb   ONNX's own tests
//   NAME.onnx beside NAME_output_*.pb (and NAME_input_*.pb)            ONNX's light models
//   *.jsonc                                                            ONNX Runtime Web's operator tests
//   any other *.onnx                                                   compared with onnxruntime-node on random inputs (seeded)
//
// Integers have to be equal, floats |a - b| <= 1e-7 + 1e-3 |b|, as onnx.backend.test compares. Weights, shapes and other
// parameters that ONNX's tests feed as inputs become constants where the engine wants them so. What is unsupported is said with the
// engine's own words. A result that is not the file's but ONNX Runtime's (where the two disagree, Octavo goes with the runtime that
// its files meet) is `as ort`; any other is `wrong`. A case that is damaged itself, or has nothing to compare with, is `unreadable`.
// The exit code is 1 where a case is wrong or unreadable, or there is none.

import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as octavo from '../dist/index.js';
import { arrayOf, describeModel, Float, onnx, readTensor, typed, withConstants } from './onnx.mjs';

const tolerance = { absolute: 1e-7, relative: 1e-3 };
/** Codes that say "this is not supported"; everything else that is thrown is a failure. */
const refusals = /^(UNSUPPORTED_|DYNAMIC_DIMENSION$)/;

// ---- finding cases ----

/**
 * The cases below a path: [{ name, model, sets: [{ inputs, outputs }] }]; `model` and `sets` are read, and throw, when asked for. A link
 * to a folder that it lies in (`within`, real paths) is not followed.
 */
export function* casesBelow(path, top = path, within = []) {
  const info = statSync(path, { throwIfNoEntry: false });
  if (!info && path === top) throw new Error(`${path}: there is no such file or folder.`);
  if (!info) return; // a link to nothing
  const name = relative(dirname(resolve(top)), resolve(path));
  if (info.isDirectory()) {
    const real = realpathSync(path);
    if (existsSync(join(path, 'model.onnx'))) yield folderCase(path, name);
    else if (!within.includes(real))
      for (const entry of readdirSync(path).sort()) yield* casesBelow(join(path, entry), top, [...within, real]);
  } else if (path.endsWith('.jsonc')) {
    yield* jsoncCases(path, name);
  } else if (path.endsWith('.onnx')) {
    yield fileCase(path, name);
  }
}

const bytesOf = (path) => new Uint8Array(readFileSync(path));

/** The tensor of a file, whole. */
function tensorOf(path) {
  try {
    const tensor = readTensor(bytesOf(path));
    if (tensor.type === 'undefined') throw new Error('It has no type.');
    if (tensor.data && tensor.data.length !== elements(tensor.shape))
      throw new Error(`[${tensor.shape}] has ${tensor.data.length} elements.`);
    return tensor;
  } catch (error) {
    throw new Error(`${basename(path)} is no tensor: ${error.message}`);
  }
}

const numbered = (folder, pattern) =>
  readdirSync(folder)
    .filter((file) => pattern.test(file))
    .sort((a, b) => Number(a.match(/(\d+)\.pb$/)[1]) - Number(b.match(/(\d+)\.pb$/)[1]))
    .map((file) => tensorOf(join(folder, file)));

function folderCase(path, name) {
  return {
    name,
    get model() {
      return bytesOf(join(path, 'model.onnx'));
    },
    get sets() {
      const folders = readdirSync(path).filter((entry) => entry.startsWith('test_data_set_'));
      if (folders.length === 0) throw new Error('It has no folder test_data_set_0.');
      return folders.map((folder) => ({
        inputs: numbered(join(path, folder), /^input_\d+\.pb$/),
        outputs: numbered(join(path, folder), /^output_\d+\.pb$/),
      }));
    },
  };
}

function fileCase(path, name) {
  const stem = basename(path, '.onnx');
  const data = (role) => numbered(dirname(path), new RegExp(`^${stem.replace(/[^\w]/g, '\\$&')}_${role}_\\d+\\.pb$`));
  return {
    name,
    get model() {
      return bytesOf(path);
    },
    get sets() {
      const outputs = data('output');
      if (outputs.length === 0) return undefined;
      const inputs = data('input');
      return [{ inputs: inputs.length ? inputs : describeModel(bytesOf(path)).inputs.map(ramp), outputs }];
    },
  };
}

/** What onnx.backend.test feeds where a case has no input: i / n. */
function ramp({ name, shape }) {
  const sizes = shape.map((dim) => (typeof dim === 'number' ? dim : 1));
  const n = elements(sizes);
  return { name, type: 'float32', shape: sizes, data: Float32Array.from({ length: n }, (_, i) => i / n) };
}

function* jsoncCases(path, name) {
  // Comments, where they are no part of a string.
  const json = readFileSync(path, 'utf8').replace(/("(?:[^"\\]|\\.)*")|\/\/.*|\/\*[\s\S]*?\*\//g, (_, string) => string ?? '');
  let tests;
  try {
    tests = JSON.parse(json);
    if (
      !Array.isArray(tests) ||
      !tests.every(({ cases }) => Array.isArray(cases) && cases.every(({ inputs, outputs }) => inputs && outputs))
    )
      throw new Error('It is no list of tests with cases.');
  } catch (error) {
    yield { name, broken: error.message };
    return;
  }
  for (const test of tests) {
    for (const one of test.cases) {
      const tensor = ({ data, dims, type }, i, role) => ({
        name: `${role}${i}`,
        type,
        shape: dims,
        data: data && arrayOf(type) && typed(type, data),
      });
      const read = (list, role) => list.map((entry, i) => (entry.data ? tensor(entry, i, role) : { name: '', type: entry.type }));
      const inputs = read(one.inputs, 'x');
      // Their Shape gives int32; ONNX's gives int64.
      const widened = test.operator === 'Shape' ? one.outputs.map((output) => ({ ...output, type: 'int64' })) : one.outputs;
      const outputs = read(widened, 'y');
      const { domain = '', version = 17 } = test.opset ?? {};
      yield {
        name: `${name}: ${test.name}, ${one.name}`,
        get model() {
          const attrs = Object.fromEntries(
            (test.attributes ?? []).map(({ name: key, data, type }) => [
              key,
              type === 'float' ? new Float(data) : type === 'floats' ? Float32Array.from(data) : type === 'int' ? Math.trunc(data) : data,
            ]),
          );
          const names = (list) => list.map(({ name: key }) => key);
          const info = (list) => list.filter(({ name: key }) => key).map(({ name: key, type, shape }) => ({ name: key, type, shape }));
          return onnx({
            nodes: [{ op: test.operator, name: 'node', domain, inputs: names(inputs), outputs: names(outputs), attrs }],
            inputs: info(inputs),
            outputs: info(outputs).map(({ name: key, type }) => ({ name: key, type })),
            opset: domain ? 17 : version,
            domains: domain ? { [domain]: version } : {},
          });
        },
        sets: [{ inputs: inputs.filter(({ name: key }) => key), outputs: outputs.filter(({ name: key }) => key) }],
      };
    }
  }
}

// ---- running one ----

/** mulberry32: numbers in [0, 1). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
export const elements = (shape) => shape.reduce((a, b) => a * b, 1);

/** Random values for an input: floats from -2 to 2, bytes of all values, small integers. */
export function randomTensor({ name, type, shape }, next) {
  const number = { float32: () => 4 * next() - 2, uint8: () => 256 * next(), int8: () => 256 * next() - 128, bool: () => 2 * next() };
  const make = number[type] ?? (() => 8 * next());
  const whole = (value) => (type === 'float32' ? value : Math.floor(value));
  return {
    name,
    type,
    shape,
    data: typed(
      type,
      Array.from({ length: elements(shape) }, () => whole(make())),
    ),
  };
}

const toNumber = (type, value) => (type === 'int64' ? value : Number(value));

/** A tensor as Octavo takes and gives it: half floats as floats. */
const floatsOf = (tensor) => (tensor.type === 'float16' ? { ...tensor, type: 'float32', data: Float32Array.from(tensor.data) } : tensor);

/** Where two tensors differ: undefined where they do not. */
export function difference(actual, given, { absolute, relative: factor } = tolerance) {
  const expected = floatsOf(given);
  if (actual.type !== expected.type) return `is ${actual.type}, not ${expected.type}`;
  if (actual.shape.join() !== expected.shape.join()) return `has shape [${actual.shape}], not [${expected.shape}]`;
  const isFloat = actual.type === 'float32';
  let [wrong, first] = [0, -1];
  for (let i = 0; i < expected.data.length; i++) {
    const [a, b] = [toNumber(actual.type, actual.data[i]), toNumber(expected.type, expected.data[i])];
    const same = a === b || (isFloat && ((Number.isNaN(a) && Number.isNaN(b)) || Math.abs(a - b) <= absolute + factor * Math.abs(b)));
    if (same) continue;
    if (first < 0) first = i;
    wrong++;
  }
  if (wrong === 0) return undefined;
  return `differs in ${wrong} of ${expected.data.length} elements, first at ${first}: ${actual.data[first]}, not ${expected.data[first]}`;
}

/** Makes a session of the model for these inputs; those from `firstConstant` on become constants. */
async function openSession(engine, model, inputs, firstConstant) {
  const constants = inputs.slice(firstConstant);
  const loaded = await octavo.Model.load(constants.length ? withConstants(model, constants) : model, { engine });
  try {
    const free = loaded.inputs.map(({ name }) => inputs.find((input) => input.name === name));
    const missing = loaded.inputs.find((_, i) => !free[i]?.data);
    if (missing) throw new Error(`No values for input '${missing.name}'.`);
    const inputShapes = Object.fromEntries(free.map(({ name, shape }) => [name, shape]));
    return { session: await octavo.InferenceSession.create(loaded, { engine, inputShapes }), free };
  } finally {
    await loaded.close();
  }
}

/** The outputs by name. Tries with all inputs fed, then with only the first, then with none. */
export async function runOctavo(engine, model, inputs) {
  let refused;
  for (const firstConstant of new Set([inputs.length, Math.min(1, inputs.length), 0])) {
    let opened;
    try {
      opened = await openSession(engine, model, inputs, firstConstant);
      const feeds = Object.fromEntries(
        opened.free.map(floatsOf).map(({ name, type, shape, data }) => [name, new octavo.Tensor(type, data, shape)]),
      );
      return await opened.session.run(feeds);
    } catch (error) {
      if (!(error instanceof octavo.OctavoError)) throw error;
      // The first refusal speaks of the model as it is.
      refused ??= error;
      if (refusals.test(error.code) && !refusals.test(refused.code)) refused = error;
    } finally {
      await opened?.session.close();
    }
  }
  throw refused;
}

/** ONNX Runtime adds products of uint8 and int8 codes in pairs of 16 bits, which saturate, on x86 without VNNI; with this it does not. */
export const exactCodes = { extra: { session: { x64quantprecision: '1' } } };

/** The outputs by name, from onnxruntime-node. */
export async function runReference(ort, model, inputs, options = {}) {
  const open = (more) => ort.InferenceSession.create(model, { logSeverityLevel: 4, ...more, ...options });
  // Its pass behind exactCodes fails on a constant that several DequantizeLinear read.
  const session = await open(exactCodes).catch(() => open({}));
  try {
    const feeds = Object.fromEntries(inputs.map(({ name, type, shape, data }) => [name, new ort.Tensor(type, data, shape)]));
    const results = await session.run(feeds);
    return session.outputNames.map((name) => ({ name, type: results[name].type, shape: results[name].dims, data: results[name].data }));
  } finally {
    await session.release();
  }
}

let loadedOrt;
/** Inputs from a seed and what ONNX Runtime makes of them. */
async function referenceSet(model) {
  loadedOrt ??= await import('onnxruntime-node');
  const next = random(1);
  const open = describeModel(model).inputs;
  const inputs = open.map(({ name, type, shape }) =>
    randomTensor({ name, type, shape: (shape ?? []).map((d) => (typeof d === 'number' ? d : 2)) }, next),
  );
  return { inputs, outputs: await runReference(loadedOrt, model, inputs) };
}

/**
 * Where the results of a set are not what is expected; undefined where they are. Against another runtime (`measured`) sums may be
 * taken in another order: what cancels out is measured by the tensor's largest value.
 */
export function compareSet(results, outputs, described, measured) {
  for (const [i, expected] of outputs.entries()) {
    const name = expected.name || described.outputs[i].name;
    const largest = measured && expected.type === 'float32' ? expected.data.reduce((a, b) => Math.max(a, Math.abs(b)), 0) : 0;
    const allowed = { ...tolerance, absolute: Math.max(tolerance.absolute, 1e-6 * largest) };
    const why = results[name] ? difference(results[name], expected, allowed) : 'is missing';
    if (why) return `'${name}' ${why}`;
  }
  return undefined;
}

/** Why a set says nothing about a model; undefined where it does. */
function useless({ inputs, outputs }, described) {
  if (outputs.length === 0) return 'It has no outputs to compare with.';
  if (outputs.length > described.outputs.length) return `It has ${outputs.length} outputs, the model ${described.outputs.length}.`;
  if (inputs.length !== described.inputs.length) return `It has ${inputs.length} inputs, the model ${described.inputs.length}.`;
  return undefined;
}

/** What of a case is read before it runs: { model, described, sets }. Throws where it is damaged. */
function readCase(one) {
  if (one.broken) throw new Error(one.broken);
  const { model } = one;
  let described;
  try {
    described = describeModel(model);
  } catch (error) {
    throw new Error(`It is no model: ${error.message}`);
  }
  if (described.outputs.length === 0) throw new Error('It is no model: it has no outputs.');
  const odd = [...described.inputs, ...described.outputs].find(({ type }) => type === 'no tensor');
  if (odd) return { model, described, odd };
  const { sets } = one;
  const why = sets?.map((set) => useless(set, described)).find(Boolean);
  if (why) throw new Error(why);
  return { model, described, sets };
}

/** { name, status: 'passed' | 'unsupported' | 'as ort' | 'wrong' | 'unreadable', why, ops, code } of a case. */
export async function runCase(engine, one) {
  let read;
  try {
    read = readCase(one);
  } catch (error) {
    return { name: one.name, ops: [], status: 'unreadable', why: error.message };
  }
  const { model, described } = read;
  const result = { name: one.name, ops: [...new Set(described.nodes.map(({ op, domain }) => (domain ? `${domain}.${op}` : op)))] };
  if (read.odd) return { ...result, status: 'unsupported', code: 'UNSUPPORTED_DTYPE', why: `'${read.odd.name}' is no tensor` };
  let { sets } = read;
  const measured = !sets;
  try {
    sets ??= [await referenceSet(model)];
  } catch (error) {
    return {
      ...result,
      status: 'unsupported',
      code: 'NO_REFERENCE',
      why: `ONNX Runtime: ${String(error.message ?? error).split('\n')[0]}`,
    };
  }
  const odd = sets.flatMap(({ inputs, outputs }) => [...inputs, ...outputs]).find(({ data }) => !data);
  if (odd) return { ...result, status: 'unsupported', code: 'UNSUPPORTED_DTYPE', why: `'${odd.name}' is ${odd.type}` };
  try {
    for (const { inputs, outputs } of sets) {
      const named = inputs.map((input, i) => ({ ...input, name: input.name || described.inputs[i]?.name }));
      const results = await runOctavo(engine, model, named);
      const why = compareSet(results, outputs, described, measured);
      if (!why) continue;
      loadedOrt ??= await import('onnxruntime-node');
      const reference = await runReference(loadedOrt, model, named).catch(() => undefined);
      const likeOrt = !measured && reference && !compareSet(results, reference, described, true);
      return { ...result, status: likeOrt ? 'as ort' : 'wrong', why };
    }
    return { ...result, status: 'passed' };
  } catch (error) {
    if (error instanceof octavo.OctavoError && refusals.test(error.code))
      return { ...result, status: 'unsupported', code: error.code, why: `${error.where}: ${error.what}` };
    // Some models are valid only after another runtime's fusions.
    if (
      measured &&
      (await runReference(loadedOrt, model, sets[0].inputs, { graphOptimizationLevel: 'disabled' }).catch(() => undefined)) === undefined
    )
      return {
        ...result,
        status: 'unsupported',
        code: 'NO_REFERENCE',
        why: `ONNX Runtime refuses it too, unless it fuses nodes: ${error.what}`,
      };
    return { ...result, status: 'wrong', why: String(error.message ?? error) };
  }
}

/** Runs all cases below the paths; `each` gets every result as it comes. */
export async function runAll(paths, each = () => {}) {
  const engine = await octavo.createEngine({ worker: false });
  const results = [];
  try {
    for (const path of paths) {
      for (const one of casesBelow(path)) {
        const result = await runCase(engine, one);
        results.push(result);
        each(result);
      }
    }
  } finally {
    await engine.close();
  }
  return results;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { quiet: { type: 'boolean', default: false } } });
  const missing = positionals.find((path) => !existsSync(path));
  if (positionals.length === 0 || missing) {
    console.error(missing ? `${missing}: there is no such file or folder.` : 'Give folders or files: npm run conformance -- DIR [--quiet]');
    process.exit(1);
  }
  const results = await runAll(positionals, ({ name, status, why }) => {
    if (!values.quiet || status !== 'passed') console.log(`${status.padEnd(11)} ${name}${why ? ` (${why})` : ''}`);
  });
  const count = (status) => results.filter((result) => result.status === status).length;
  console.log(
    `${results.length} cases: ${count('passed')} passed, ${count('unsupported')} unsupported, ${count('as ort')} as ONNX Runtime, ${count('wrong')} wrong, ${count('unreadable')} unreadable`,
  );
  process.exitCode = count('wrong') + count('unreadable') > 0 || results.length === 0 ? 1 : 0;
}
