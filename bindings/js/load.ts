// Finds, compiles and starts the wasm module of a feature level.

import { OctavoError } from './errors.js';
import { hasRelaxedSimd, hasSimd, type Isa, isNode } from './features.js';
import type { MainModule } from './octavo.simd.mjs';

export type WasmModule = MainModule;

/** One value for whichever module is loaded, or one for each level. */
export type PerIsa<T> = T | Partial<Record<Isa, T>>;

export interface LoadOptions {
  /** Forces a level instead of taking the strongest that runs right here. */
  isa?: Isa | undefined;
  /** Where the .wasm files are, if not beside this file. */
  wasmUrl?: PerIsa<string | URL> | undefined;
  /** Their bytes, if the page has them already. */
  wasmBinary?: PerIsa<Uint8Array | ArrayBuffer> | undefined;
}

/** The files of one module at each level. Literal URLs and imports, so that every bundler sees the files and copies them. */
export interface ModuleFiles<Module> {
  /** "octavo": the .wasm files are octavo.<isa>.wasm. */
  name: string;
  url: Record<Isa, () => URL>;
  glue: Record<Isa, () => Promise<{ default: (options: object) => Promise<Module> }>>;
}

const engineFiles: ModuleFiles<WasmModule> = {
  name: 'octavo',
  url: {
    simd: () => new URL('./octavo.simd.wasm', import.meta.url),
    relaxed: () => new URL('./octavo.relaxed.wasm', import.meta.url),
  },
  glue: {
    simd: () => import('./octavo.simd.mjs'),
    relaxed: () => import('./octavo.relaxed.mjs'),
  },
};

function pick<T extends object | string>(option: PerIsa<T> | undefined, isa: Isa): T | undefined {
  if (option === undefined || typeof option === 'string') return option as T | undefined;
  if (option instanceof URL || option instanceof Uint8Array || option instanceof ArrayBuffer) return option as T;
  return (option as Partial<Record<Isa, T>>)[isa];
}

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

async function compile(standard: URL, isa: Isa, options: LoadOptions): Promise<WebAssembly.Module> {
  const binary = pick<Uint8Array | ArrayBuffer>(options.wasmBinary, isa);
  if (binary) return WebAssembly.compile(binary as BufferSource);
  const base = typeof location === 'undefined' ? undefined : location.href;
  const given = pick<string | URL>(options.wasmUrl, isa);
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

/** Loads the engine's module of `isa`. */
export const loadModule = (isa: Isa, options: LoadOptions): Promise<WasmModule> => loadFiles(engineFiles, isa, options);

/** Loads one of `files`. ENGINE_FAILED says which file could not be read or started. */
export async function loadFiles<Module>(files: ModuleFiles<Module>, isa: Isa, options: LoadOptions): Promise<Module> {
  try {
    const [module, { default: factory }] = await Promise.all([compile(files.url[isa](), isa, options), files.glue[isa]()]);
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
        where: `${files.name}.${isa}.wasm`,
        hint: 'Serve the .wasm files beside the script, or say where they are with `wasmUrl`.',
      },
      { cause: error },
    );
  }
}
