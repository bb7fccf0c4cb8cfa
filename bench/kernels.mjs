// Speed of every kernel row in WebAssembly, in Node: `npm run bench:kernels [-- FILTER] [-- --simd]`
//
// FILTER: only rows whose name contains it. --simd: the module without relaxed SIMD.

import { ninja } from '../tools/build.mjs';
import { fail, inRoot, node24, run } from '../tools/project.mjs';

try {
  const args = process.argv.slice(2);
  const level = args.includes('--simd') ? 'simd' : 'relaxed';
  await ninja(`wasm-${level}`, 'bench_kernels');
  const filter = args.filter((one) => one !== '--simd');
  const { code } = await run([node24(), inRoot(`build/wasm-${level}/bench_kernels.js`), ...filter], { show: true });
  process.exitCode = code;
} catch (error) {
  fail(error);
}
