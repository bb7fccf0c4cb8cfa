// What this JavaScript engine can run, found by validating tiny modules and by asking for known answers.

/** A feature level; each has a module of its own. */
export type Isa = 'simd' | 'relaxed';

export interface Features {
  /** The module that runs. */
  isa: Isa;
  /** How the relaxed dot product behaves here: 'SDOT', 'USDOT', 'MADDUBS', 'WRAP', or 'none'. */
  engineClass: string;
  /** What is there, whatever was chosen. */
  simd: boolean;
  relaxedSimd: boolean;
  threads: boolean;
  worker: boolean;
  /** How many threads networks run on. */
  threadCount: number;
}

const header = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

// (func (result v128) (i8x16.splat (i32.const 0)))
const simdProbe = new Uint8Array([
  ...header,
  0x01,
  0x05,
  0x01,
  0x60,
  0x00,
  0x01,
  0x7b,
  0x03,
  0x02,
  0x01,
  0x00,
  0x0a,
  0x08,
  0x01,
  0x06,
  0x00,
  0x41,
  0x00,
  0xfd,
  0x0f,
  0x0b,
]);

// (func (export "d") (param i32 i32 i32) (result i32) the first lane of
//   i32x4.relaxed_dot_i8x16_i7x16_add_s (splat 0) (splat 1) (splat 2)): bytes from the outside, so that nothing is folded.
const relaxedProbe = new Uint8Array([
  ...header,
  0x01,
  0x08,
  0x01,
  0x60,
  0x03,
  0x7f,
  0x7f,
  0x7f,
  0x01,
  0x7f,
  0x03,
  0x02,
  0x01,
  0x00,
  0x07,
  0x05,
  0x01,
  0x01,
  0x64,
  0x00,
  0x00,
  0x0a,
  0x16,
  0x01,
  0x14,
  0x00,
  0x20,
  0x00,
  0xfd,
  0x0f,
  0x20,
  0x01,
  0xfd,
  0x0f,
  0x20,
  0x02,
  0xfd,
  0x11,
  0xfd,
  0x93,
  0x02,
  0xfd,
  0x1b,
  0x00,
  0x0b,
]);

const validates = (bytes: Uint8Array<ArrayBuffer>): boolean => {
  try {
    return WebAssembly.validate(bytes);
  } catch {
    return false;
  }
};

export const hasSimd = (): boolean => validates(simdProbe);

/**
 * Relaxed SIMD that computes right: 4 products of small numbers have one answer on every conforming engine. (V8 of Node 20
 * doubles each sum.)
 */
export function hasRelaxedSimd(): boolean {
  if (!validates(relaxedProbe)) return false;
  try {
    const { d } = new WebAssembly.Instance(new WebAssembly.Module(relaxedProbe)).exports as {
      d: (a: number, b: number, c: number) => number;
    };
    // The same question often enough to meet the optimizing compiler too.
    for (let i = 0; i < 200; i++) {
      if (d(3, 5, 1000) !== 1060 || d(-7, 9, i) !== i - 252) return false;
    }
    return true;
  } catch {
    return false;
  }
}

/** Shared memory, which threads need: in Node always, in a page where it is cross-origin isolated. */
export const hasThreads = (): boolean => typeof SharedArrayBuffer !== 'undefined' && (globalThis.crossOriginIsolated ?? isNode());

export function isNode(): boolean {
  return typeof process !== 'undefined' && process.versions?.node !== undefined;
}
