// Finds, compiles and starts the wasm module of a feature level.

import { OctavoError } from './errors.js';
import { hasRelaxedSimd, hasSimd, type Isa, isNode } from './features.js';
import type { MainModule } from './octavo.simd.mjs';
import type { MainModule as RunModule } from './octavo-run.simd.mjs';

export type WasmModule = MainModule;
export type { RunModule };

/** One file of a module: with the instructions of a level, and with threads or without. */
export type Build = Isa | `${Isa}.threads`;

/** One value for whichever level is loaded, without threads; or one for each build. */
export type PerBuild<T> = T | Partial<Record<Build, T>>;

export interface LoadOptions {
  /** Forces a level instead of taking the strongest that runs right here. */
  isa?: Isa | undefined;
  /** Where the .wasm files are, if not beside this file. */
  wasmUrl?: PerBuild<string | URL> | undefined;
  /** Their bytes, if the page has them already. */
  wasmBinary?: PerBuild<Uint8Array | ArrayBuffer> | undefined;
  /**
   * Default true. With false a smaller module is loaded (octavo-run.<build>.wasm), which loads models, float and int8, and runs them;
   * quantization, comparisons, summaries and export are INVALID_OPTION there.
   */
  quantizer?: boolean | undefined;
}

/** The files of a module's builds. Literal URLs and imports, so that every bundler sees the files and copies them. */
export interface ModuleFiles<Module, Builds extends Build = Isa> {
  /** "octavo": the .wasm files are octavo.<build>.wasm. */
  name: string;
  url: Record<Builds, () => URL>;
  glue: Record<Builds, () => Promise<{ default: (options: object) => Promise<Module> }>>;
}

const engineFiles: ModuleFiles<WasmModule, Build> = {
  name: 'octavo',
  url: {
    simd: () => new URL('./octavo.simd.wasm', import.meta.url),
    relaxed: () => new URL('./octavo.relaxed.wasm', import.meta.url),
    'simd.threads': () => new URL('./octavo.simd.threads.wasm', import.meta.url),
    'relaxed.threads': () => new URL('./octavo.relaxed.threads.wasm', import.meta.url),
  },
  glue: {
    simd: () => import('./octavo.simd.mjs'),
    relaxed: () => import('./octavo.relaxed.mjs'),
    'simd.threads': () => import('./octavo.simd.threads.mjs'),
    'relaxed.threads': () => import('./octavo.relaxed.threads.mjs'),
  },
};

/** What only runs models. Host asks its module before it calls what is not in it. */
const runFiles: ModuleFiles<RunModule, Build> = {
  name: 'octavo-run',
  url: {
    simd: () => new URL('./octavo-run.simd.wasm', import.meta.url),
    relaxed: () => new URL('./octavo-run.relaxed.wasm', import.meta.url),
    'simd.threads': () => new URL('./octavo-run.simd.threads.wasm', import.meta.url),
    'relaxed.threads': () => new URL('./octavo-run.relaxed.threads.wasm', import.meta.url),
  },
  glue: {
    simd: () => import('./octavo-run.simd.mjs'),
    relaxed: () => import('./octavo-run.relaxed.mjs'),
    'simd.threads': () => import('./octavo-run.simd.threads.mjs'),
    'relaxed.threads': () => import('./octavo-run.relaxed.threads.mjs'),
  },
};

const isOneValue = (option: object | string): boolean =>
  typeof option === 'string' || option instanceof URL || option instanceof Uint8Array || option instanceof ArrayBuffer;

function pick<T extends object | string>(option: PerBuild<T> | undefined, build: Build): T | undefined {
  if (option === undefined || isOneValue(option)) return option as T | undefined;
  return (option as Partial<Record<Build, T>>)[build];
}

/** Whether the caller says where files are, but none with threads. */
export const lacksThreads = ({ wasmUrl, wasmBinary }: LoadOptions): boolean =>
  [wasmUrl, wasmBinary].some(
    (option) => option !== undefined && (isOneValue(option) || !Object.keys(option).some((build) => build.endsWith('.threads'))),
  );

export function chooseIsa(wanted: Isa | undefined): Isa {
  if (!hasSimd()) {
    throw new OctavoError({
      code: 'NO_SIMD',
      what: 'This JavaScript engine has no WebAssembly SIMD.',
      where: 'engine',
      hint: 'Octavo runs in Chrome 91, Firefox 89, Safari 16.4, Node 16.4 and later ones.',
    });
  }
  if (wanted !== undefined && wanted !== 'simd' && wanted !== 'relaxed') {
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: `isa = '${String(wanted)}' is not known.`,
      where: 'createEngine',
      hint: "Use 'simd' or 'relaxed'.",
    });
  }
  const relaxed = hasRelaxedSimd();
  if (wanted === 'relaxed' && !relaxed) {
    throw new OctavoError({
      code: 'NO_SIMD',
      what: 'This JavaScript engine has no relaxed SIMD, or computes it wrongly.',
      where: 'engine',
      hint: "Leave `isa` out to take what runs, or use { isa: 'simd' }.",
    });
  }
  return wanted ?? (relaxed ? 'relaxed' : 'simd');
}

async function compile(standard: URL, build: Build, options: LoadOptions): Promise<WebAssembly.Module> {
  const binary = pick<Uint8Array | ArrayBuffer>(options.wasmBinary, build);
  if (binary) return WebAssembly.compile(binary as BufferSource);
  const base = typeof location === 'undefined' ? undefined : location.href;
  const given = pick<string | URL>(options.wasmUrl, build);
  const url = given === undefined ? standard : new URL(given, base);
  if (url.protocol === 'file:' && isNode()) {
    const { readFile } = await import(/* @vite-ignore */ 'node:fs/promises');
    return WebAssembly.compile(await readFile(url));
  }
  const response = await fetch(url, { credentials: 'same-origin' });
  if (!response.ok) throw new Error(`HTTP ${response.status} ${response.statusText}`);
  // A server that does not know .wasm's MIME type stops streaming, not compiling.
  if (response.headers.get('content-type')?.startsWith('application/wasm')) return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** Loads a build of the engine. */
export async function loadModule(build: Build, options: LoadOptions): Promise<WasmModule | RunModule> {
  const { quantizer = true } = options;
  if (typeof quantizer !== 'boolean') {
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: `quantizer = ${String(quantizer)} is not known.`,
      where: 'createEngine',
      hint: 'Use true, or false for the smaller module that only runs models.',
    });
  }
  return quantizer ? loadFiles(engineFiles, build, options) : loadFiles(runFiles, build, options);
}

/** Loads one of `files`. ENGINE_FAILED says which file could not be read or started. */
export async function loadFiles<Module, Builds extends Build>(
  files: ModuleFiles<Module, Builds>,
  build: Builds,
  options: LoadOptions,
): Promise<Module> {
  try {
    const [module, { default: factory }] = await Promise.all([compile(files.url[build](), build, options), files.glue[build]()]);
    return await factory({
      instantiateWasm(imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void) {
        void WebAssembly.instantiate(module, imports).then((instance) => done(instance, module));
        return {};
      },
    });
  } catch (error) {
    throw new OctavoError(
      {
        code: 'ENGINE_FAILED',
        what: `The WebAssembly module could not be started: ${error instanceof Error ? error.message : String(error)}.`,
        where: `${files.name}.${build}.wasm`,
        hint: 'Serve the .wasm files beside the script, or say where they are with `wasmUrl`.',
      },
      { cause: error },
    );
  }
}
