// Builds what the page and the package are made of: the WebAssembly modules, the TypeScript, the page.
// A stage whose inputs have not changed is skipped. `npm run build`

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import {
  buildEnvironment,
  emscriptenRoot,
  fail,
  fingerprint,
  inRoot,
  isMain,
  jobs,
  mustRun,
  node24,
  seconds,
  unlessDone,
  withLock,
} from './project.mjs';

/** Configures build/<preset> where that has not been done with these presets yet. */
export async function configure(preset) {
  const print = () => fingerprint(['CMakePresets.json'], emscriptenRoot());
  await unlessDone(`configure ${preset}`, print, [`build/${preset}/build.ninja`], () =>
    mustRun(['cmake', '--preset', preset], { env: buildEnvironment() }),
  );
}

/** Builds `targets` (all of them when none is named) of a preset. */
export async function ninja(preset, ...targets) {
  const command = ['cmake', '--build', `build/${preset}`, '-j', String(jobs), ...(targets.length ? ['--target', ...targets] : [])];
  await withLock(async () => {
    await configure(preset);
    await mustRun(command, { env: buildEnvironment() });
  });
}

/** The wasm modules of a level: their files' name and the CMake target. */
const modules = (level) => ({
  [`octavo.${level}`]: 'octavo_module',
  [`octavo.${level}.threads`]: 'octavo_threads_module',
  [`octavo-run.${level}`]: 'octavo_run_module',
  [`octavo-run.${level}.threads`]: 'octavo_run_threads_module',
  [`octavo-nn.${level}`]: 'octavo_nn_module',
});

/**
 * Glue with the options of its worker in the call that starts it: bundlers read them there, or take the worker for a classic script.
 * Glue without threads stays as it is.
 */
function withWorkerOptions(glue, name) {
  const start = /new Worker\((new URL\([^)]*\)),workerOptions\)/;
  const options = glue.match(/workerOptions=(\{[^}]*\})/)?.[1];
  if (options && start.test(glue)) return glue.replace(start, `new Worker($1,${options})`);
  if (name.endsWith('.threads')) throw new Error(`${name}.mjs starts its workers in a way that tools/build.mjs does not know.`);
  return glue;
}

/** Glue with short names: Emscripten only drops its white space, and it is downloaded with every module. */
async function shortened(glue, name) {
  const { minifySync } = await import('vite'); // not installed yet where this file is read first
  const { code, errors } = minifySync(`${name}.mjs`, glue, { module: true });
  if (errors.length > 0) throw new Error(`${name}.mjs: ${errors[0].message}`);
  return code;
}

function wasm(level) {
  const preset = `wasm-${level}`;
  const names = Object.keys(modules(level));
  return {
    name: preset,
    print: () =>
      fingerprint(['src', 'bindings/embind', 'cmake', 'CMakeLists.txt', 'CMakePresets.json', 'package.json'], emscriptenRoot(), (path) =>
        path.endsWith('.md'),
      ),
    outputs: names.flatMap((name) => [`dist/${name}.wasm`, `dist/${name}.mjs`, `dist/${name}.d.mts`, `bindings/js/${name}.d.mts`]),
    async work() {
      await ninja(preset, ...Object.values(modules(level)));
      mkdirSync(inRoot('dist'), { recursive: true });
      for (const name of names) {
        copyFileSync(inRoot(`build/${preset}/${name}.wasm`), inRoot(`dist/${name}.wasm`));
        const glue = readFileSync(inRoot(`build/${preset}/${name}.mjs`), 'utf8');
        writeFileSync(inRoot(`dist/${name}.mjs`), await shortened(withWorkerOptions(glue, name), name));
        const types = name.replace('.threads', ''); // with threads and without, a module has the same face
        for (const folder of ['dist', 'bindings/js'])
          copyFileSync(inRoot(`build/${preset}/${types}.d.mts`), inRoot(`${folder}/${name}.d.mts`)); // tsc reads the latter
      }
    },
  };
}

const wasmStages = [wasm('simd'), wasm('relaxed')];

const typescript = {
  name: 'typescript',
  print: () => fingerprint(['bindings/js', 'tsconfig.json', 'package-lock.json']),
  outputs: ['dist/index.js', 'dist/index.d.ts', 'dist/nn/index.js', 'dist/worker.js', 'dist/cli.js'],
  work: () => mustRun([node24(), 'node_modules/typescript/bin/tsc', '-p', '.']),
};

const samples = {
  name: 'samples',
  print: () => fingerprint(['tools/make-sample.mjs', 'package-lock.json']),
  outputs: ['web/public/samples/digits_train.bin', 'web/public/samples/digits_test.bin'],
  work: () => mustRun([node24(), 'tools/make-sample.mjs']),
};

const sbom = {
  name: 'sbom',
  print: () => fingerprint(['package.json', 'package-lock.json', 'tools/sbom.mjs'], emscriptenRoot()),
  outputs: ['dist/sbom.json'],
  async work() {
    const { writeSbom } = await import('./sbom.mjs');
    await writeSbom();
  },
};

const page = {
  name: 'page',
  print: () => fingerprint(['web', 'dist', 'package-lock.json'], '', (path) => path.startsWith('dist/web/') || path === 'dist/sbom.json'),
  outputs: ['dist/web/index.html', 'dist/web/sw.js'],
  work: () => mustRun([node24(), 'node_modules/vite/bin/vite.js', 'build', 'web', '--logLevel', 'warn']),
};

/** All stages, or only those of the package (`page: false`); `say` gets a line for each that had to run. */
export async function build({ page: withPage = true, say = console.log } = {}) {
  for (const stage of [...wasmStages, typescript, sbom, ...(withPage ? [samples, page] : [])]) {
    const from = performance.now();
    const worked = await unlessDone(stage.name, stage.print, stage.outputs, stage.work);
    if (worked) say(`build: ${stage.name.padEnd(14)} ${seconds(from).padStart(8)}`);
  }
}

if (isMain(import.meta.url)) {
  const { setup } = await import('./setup.mjs');
  await setup()
    .then(() => build())
    .catch(fail);
}
