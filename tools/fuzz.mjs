// Builds and runs the fuzzers of tests/fuzz: `npm run fuzz -- [--minutes N] [--target import,passes,run,state,calibration,pictures,damage]
// [--corpus DIR] [--seed N]`
//
// Each target runs N minutes (5) on one core. What is found is kept below build/fuzz/found, to be given to the program again; new
// inputs stay in build/fuzz/corpus, where the next run goes on. The target pictures takes seeds instead of a corpus, from --seed (1) on
// (tools/fuzz-pictures.mjs). --corpus names a folder of more .onnx files to begin with. The target
// damage, which runs only when it is named, is no fuzzer: it tries every truncation and every change of a byte of three small models,
// and every truncation of the files of --corpus, small ones first.

import { copyFileSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { writeCorpus } from '../tests/fuzz/corpus.mjs';
import { ninja } from './build.mjs';
import { fuzzPictures } from './fuzz-pictures.mjs';
import { fail, findProgram, inRoot, run } from './project.mjs';

/** The fuzzers, with the bytes of an input at most: reading and running a small file is soon done, and shows as much. */
const largest = { import: 512, passes: 2048, run: 2048, state: 8192, calibration: 16384 };
const ownInputs = ['state', 'calibration']; // they begin with what they save themselves
const fuzzers = Object.keys(largest);
const damaged = ['float', 'qdq_quint8', 'qoperator_qint8'].map((name) => inRoot(`tests/data/golden/onnx/${name}.onnx`));
/** Without the stacks of allocations, and with memory kept rather than given back and taken again: a third of the time of an input. */
const sanitizerOptions = 'malloc_context_size=0:quarantine_size_mb=2:max_malloc_fill_size=0:allocator_release_to_os_interval_ms=-1';

/** The .onnx files below a folder. */
const modelsBelow = (folder) =>
  readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith('.onnx'))
    .map((name) => join(folder, name));

/** The small ones of them, copied each under a name of its own. */
function copyModels(from, to) {
  for (const file of modelsBelow(from))
    if (statSync(file).size <= Math.max(...Object.values(largest))) copyFileSync(file, join(to, relative(from, file).replaceAll('/', '-')));
}

/** Runs a target; { executions, coverage, found: files }. */
async function fuzz(target, minutes, seeds) {
  const corpus = inRoot(`build/fuzz/corpus/${target}`);
  const found = inRoot('build/fuzz/found');
  for (const folder of [corpus, found]) mkdirSync(folder, { recursive: true });
  const command = [
    inRoot(`build/fuzz/fuzz_${target}`),
    corpus,
    ...(ownInputs.includes(target) ? [] : [seeds]),
    `-max_total_time=${Math.round(60 * minutes)}`,
    `-max_len=${largest[target]}`,
    '-timeout=10',
    '-entropic=0', // looking after the energy of inputs costs more here than running them
    '-print_funcs=0',
    '-reload=0', // nobody else writes into the corpus
    '-rss_limit_mb=1024',
    '-print_final_stats=1',
    `-artifact_prefix=${found}/${target}-`,
  ];
  const { code, output } = await run(command, { env: { ASAN_OPTIONS: sanitizerOptions, ...process.env } });
  const last = (pattern) => [...output.matchAll(pattern)].at(-1)?.[1];
  const kept = [...output.matchAll(/Test unit written to (\S+)/g)].map(([, path]) => path);
  if (code !== 0) console.log(output.split('\n').slice(-60).join('\n'));
  return {
    failed: code !== 0,
    executions: Number(last(/stat::number_of_executed_units:\s*(\d+)/g) ?? last(/^#(\d+)\t/gm) ?? 0),
    coverage: Number(last(/ cov: (\d+)/g) ?? 0),
    found: kept.map((path) => `build/fuzz/found/${basename(path)}`),
  };
}

/** What becomes of each damaged file, a line a model; whether all is well. */
async function damage(models) {
  const size = (file) => statSync(file).size;
  const cut = models ? modelsBelow(models).sort((a, b) => size(a) - size(b)) : [];
  const { code } = await run([inRoot('build/fuzz/fuzz_damage'), ...damaged, '--cut', ...cut], { show: true });
  return code === 0;
}

async function main() {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '5' },
      target: { type: 'string' },
      corpus: { type: 'string' },
      seed: { type: 'string', default: '1' },
    },
  });
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new Error(`fuzz: --minutes ${values.minutes}: give a number above 0`);
  const seed = Number(values.seed);
  if (!Number.isSafeInteger(seed) || seed < 0) throw new Error(`fuzz: --seed ${values.seed}: give a whole number`);
  const chosen = values.target?.split(',') ?? [...fuzzers, 'pictures'];
  const unknown = chosen.filter((target) => ![...fuzzers, 'pictures', 'damage'].includes(target));
  if (unknown.length > 0) throw new Error(`fuzz: --target ${unknown}: the targets are ${fuzzers.join(', ')}, pictures, damage`);
  const compiled = chosen.filter((target) => target !== 'pictures');
  if (compiled.length > 0 && !findProgram('clang++')) throw new Error('fuzz: please install clang with its sanitizers (Debian: clang)');
  if (compiled.length > 0) await ninja('fuzz', ...compiled.map((target) => `fuzz_${target}`));
  const seeds = inRoot('build/fuzz/seeds');
  if (!existsSync(seeds)) writeCorpus(seeds);
  if (values.corpus) copyModels(resolve(values.corpus), seeds);
  for (const target of chosen) {
    if (target === 'damage') {
      if (!(await damage(values.corpus && resolve(values.corpus)))) process.exitCode = 1;
      continue;
    }
    if (target === 'pictures') {
      const { executions, decoded, refused, findings } = await fuzzPictures({ seed, minutes });
      for (const { seed: at, why } of findings) console.log(`pictures: seed ${at}: ${why}; it is build/fuzz/found/picture-${at}`);
      const counts = `${executions} pictures from seed ${seed}, ${decoded} decoded, ${refused} refused`;
      console.log(`pictures ${counts}, ${findings.length > 0 ? `FAILED ${findings.length}` : 'nothing found'}`);
      if (findings.length > 0) process.exitCode = 1;
      continue;
    }
    const { failed, executions, coverage, found } = await fuzz(target, minutes, seeds);
    console.log(
      `${target.padEnd(11)} ${executions} executions, ${coverage} edges, ${failed ? `FAILED ${found.join(' ')}` : 'nothing found'}`,
    );
    if (failed) process.exitCode = 1;
  }
}

await main().catch(fail);
