// The wasm module of octavo/nn: loaded once, then every call is synchronous.

import { type ErrorData, OctavoError } from '../errors.js';
import type { Isa } from '../features.js';
import { chooseIsa, type LoadOptions, loadFiles, type ModuleFiles } from '../load.js';
import type { MainModule } from '../octavo-nn.simd.mjs';

export type InitOptions = LoadOptions;

const files: ModuleFiles<MainModule> = {
  name: 'octavo-nn',
  url: {
    simd: () => new URL('../octavo-nn.simd.wasm', import.meta.url),
    relaxed: () => new URL('../octavo-nn.relaxed.wasm', import.meta.url),
  },
  glue: {
    simd: () => import('../octavo-nn.simd.mjs'),
    relaxed: () => import('../octavo-nn.relaxed.mjs'),
  },
};

let loading: Promise<MainModule> | undefined;
let loaded: MainModule | undefined;
let level: Isa | undefined;

/**
 * Loads the WebAssembly module; everything else of octavo/nn is synchronous and needs this first. Calling it again does nothing.
 *
 * @throws OctavoError NO_SIMD, ENGINE_FAILED
 */
export async function init(options: InitOptions = {}): Promise<void> {
  if (!loading) {
    const isa = chooseIsa(options.isa);
    loading = loadFiles(files, isa, options).then((module) => {
      loaded = module;
      level = isa;
      return module;
    });
  }
  try {
    await loading;
  } catch (error) {
    loading = undefined; // another attempt may succeed
    throw error;
  }
}

/** The feature level that runs: 'simd' or 'relaxed'; undefined before init(). */
export const isa = (): Isa | undefined => level;

/** How large the module's memory is; it holds modules and observers, and tensors only during a call. */
export const memoryBytes = (): number => engine().memoryBytes();

export function engine(): MainModule {
  if (!loaded) {
    throw new OctavoError({
      code: 'INVALID_STATE',
      what: 'The WebAssembly module of octavo/nn is not loaded yet.',
      where: 'octavo/nn',
      hint: 'Call `await init()` first.',
    });
  }
  return loaded;
}

type Outcome<T> = { ok: true; value: T } | { ok: false; error: ErrorData };

/** The value of what a binding returned, or its error, thrown. */
export function unwrap<T>(outcome: unknown): T {
  const result = outcome as Outcome<T>;
  if (result.ok) return result.value;
  throw new OctavoError(result.error);
}

interface Deletable {
  delete(): void;
}

const registry = new FinalizationRegistry<Deletable>((native) => native.delete());

/**
 * An object of the wasm memory: packed weights, an observer's histogram. It is freed when the garbage collector finds its owner,
 * or at once by close(). (Tensors are JavaScript's own memory and need neither.)
 */
export class Native<T extends Deletable> {
  #object: T | undefined;
  readonly #name: string;

  constructor(object: T, name: string) {
    this.#object = object;
    this.#name = name;
    registry.register(this, object, this);
  }

  /** @throws OctavoError CLOSED after close() */
  get(): T {
    if (this.#object) return this.#object;
    throw new OctavoError({ code: 'CLOSED', what: `This ${this.#name} is closed.`, where: this.#name, hint: 'Make another one.' });
  }

  close(): void {
    registry.unregister(this);
    this.#object?.delete();
    this.#object = undefined;
  }
}
