// Runs every test, one line a stage, one closing line with the counts. `npm test [-- --only js,cli] [--verbose]`

import { existsSync, readdirSync } from 'node:fs';
import { parseArgs, stripVTControlCharacters } from 'node:util';
import { writeSecondSet } from '../tests/golden/second-set.mjs';
import { build, ninja } from './build.mjs';
import { CommandError, emscriptenRoot, inRoot, isMain, jobs, node24, run, seconds, withLock } from './project.mjs';
import { browsers, setup } from './setup.mjs';

const none = { passed: 0, failed: 0, skipped: 0, output: '' };

function add(results) {
  const sum = { ...none };
  for (const one of results) for (const key of Object.keys(sum)) sum[key] += one[key];
  return sum;
}

/** Does `work` on each item, as many at a time as there are cores; results in the items' order. */
async function inParallel(items, work) {
  const results = new Array(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const i = next++;
      results[i] = await work(items[i]);
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, items.length) }, worker));
  return results;
}

/** What a doctest executable says of itself; one that says nothing, or ends badly without a failed case, has failed. */
export function doctestCounts({ code, output: coloured }) {
  const output = stripVTControlCharacters(coloured); // in wasm doctest takes every output for a terminal
  const found = output.match(/\[doctest\] test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed/);
  const passed = Number(found?.[2] ?? 0);
  const failed = Number(found?.[3] ?? 0);
  // A case that says "skipped: ..." lacked its data, or some of it.
  const cases = output.split(/^TEST CASE:/m).slice(1);
  const skipped = Math.min(passed, cases.filter((one) => /MESSAGE: skipped:/.test(one)).length);
  const broken = code !== 0 && failed === 0 ? 1 : 0;
  return { passed: passed - skipped, failed: failed + broken, skipped, output };
}

/** What `node --test` says (reporter spec). */
export function nodeTestCounts({ code, output }) {
  const count = (name) => Number(output.match(new RegExp(`^ℹ ${name} (\\d+)$`, 'm'))?.[1] ?? 0);
  const failed = count('fail') + count('cancelled');
  return { passed: count('pass'), failed: failed || (code === 0 ? 0 : 1), skipped: count('skipped') + count('todo'), output };
}

function doctest(preset) {
  return {
    name: preset,
    async work() {
      writeSecondSet(inRoot('build/second-set')); // for test_golden
      await ninja(preset);
      const listed = await run(['ctest', '--test-dir', `build/${preset}`, '--show-only=json-v1']);
      const { tests } = JSON.parse(listed.output);
      return add(await inParallel(tests, async ({ command }) => doctestCounts(await run(command))));
    },
  };
}

function nodeTests(name, folder, env = {}) {
  return {
    name,
    async work() {
      const files = existsSync(inRoot(folder)) ? readdirSync(inRoot(folder)).filter((file) => file.endsWith('.test.mjs')) : [];
      if (files.length === 0) return none;
      const command = [node24(), '--test', '--test-reporter=spec', ...files.map((file) => `${folder}/${file}`)];
      return nodeTestCounts(await run(command, { env: { ...process.env, FORCE_COLOR: '0', ...env } }));
    },
  };
}

function browserTests(name) {
  return {
    ...nodeTests(name, 'tests/web', { OCTAVO_BROWSER: name }),
    missing: () => (browsers[name].find() ? undefined : `please install ${browsers[name].package}`),
  };
}

const needsWasm = { missing: () => (emscriptenRoot() ? undefined : 'please install Emscripten') };

const stages = [
  doctest('native'),
  doctest('asan'),
  { ...doctest('wasm-simd'), ...needsWasm },
  { ...doctest('wasm-relaxed'), ...needsWasm },
  nodeTests('js', 'tests/js'),
  nodeTests('cli', 'tests/cli'),
  browserTests('chromium'),
  browserTests('firefox'),
];

function report(name, from, text) {
  console.log(`${name.padEnd(14)} ${seconds(from).padStart(9)}  ${text}`);
}

const counts = ({ passed, failed, skipped }) => `${passed} passed, ${failed} failed, ${skipped} skipped`;

async function runStage(stage, verbose) {
  const from = performance.now();
  const missing = stage.missing?.();
  if (missing) {
    report(stage.name, from, `skipped: ${missing}`);
    return { ...none, skipped: 1 };
  }
  let result;
  try {
    result = await stage.work();
  } catch (error) {
    const output = error instanceof CommandError ? `${error.output}\n${error.message}` : `${error?.stack ?? error}`;
    result = { ...none, failed: 1, output };
  }
  if (result.passed + result.failed + result.skipped === 0) result = { ...none, failed: 1, output: `${stage.name}: no test was run` };
  if (result.failed > 0 || verbose) console.log(result.output.trimEnd());
  report(stage.name, from, counts(result));
  return result;
}

async function main() {
  const { values } = parseArgs({ options: { only: { type: 'string' }, verbose: { type: 'boolean', default: false } } });
  const wanted = values.only?.split(',');
  const unknown = wanted?.filter((name) => !stages.some((stage) => stage.name === name));
  if (unknown?.length) throw new Error(`--only ${unknown.join(',')}: the stages are ${stages.map((stage) => stage.name).join(', ')}`);
  const chosen = stages.filter((stage) => !wanted || wanted.includes(stage.name));

  const results = [];
  const prepare = async (name, work) => {
    const from = performance.now();
    try {
      await work();
      report(name, from, 'ready');
    } catch (error) {
      console.log(error instanceof CommandError ? `${error.output}\n${error.message}` : `${error?.stack ?? error}`);
      report(name, from, 'failed'); // what does not need it still runs
      results.push({ ...none, failed: 1 });
    }
  };
  const say = () => {}; // one line a stage
  const wantsBrowser = chosen.some((stage) => stage.name in browsers);
  await prepare('setup', () => setup({ all: wantsBrowser, say: (line) => line.includes('could not') && console.log(line) }));
  if (chosen.some((stage) => !['native', 'asan'].includes(stage.name))) await prepare('build', () => build({ say }));
  for (const stage of chosen) results.push(await runStage(stage, values.verbose));

  const sum = add(results);
  console.log(counts(sum));
  process.exitCode = sum.failed > 0 ? 1 : 0;
}

// Locked to the end: a build under a running test would take the files away that it tests.
if (isMain(import.meta.url)) {
  await withLock(main).catch((error) => {
    console.error(error.message ?? error);
    process.exitCode = 1;
  });
}
