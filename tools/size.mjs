// Prints what a page has to load, gzipped, per build, and fails above package.json's sizeBudget. `npm run size`

import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { fail, inRoot, isMain, root } from './project.mjs';

// Modules that Node alone loads (behind a test for Node) are no part of a page.
const onlyNode = /node|^worker_threads$/;

/** The modules that `entry` reaches by import, by dynamic import and as a worker; the wasm glue aside. */
export function reachableModules(entry) {
  const found = new Set();
  const visit = (file) => {
    if (found.has(file)) return;
    found.add(file);
    const text = readFileSync(file, 'utf8');
    const patterns = [
      /(?:^|[;}\s])(?:import|export)\s*(?:[\w*{}\s,$]+\s*from\s*)?['"]([^'"]+)['"]/g,
      /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g,
      /new URL\(\s*['"](\.[^'"]+\.js)['"]\s*,\s*import\.meta\.url/g,
    ];
    for (const pattern of patterns) {
      for (const [, name] of text.matchAll(pattern)) {
        if (/octavo[\w-]*\.[\w.]+\.mjs$/.test(name) || onlyNode.test(name)) continue;
        visit(name.startsWith('.') ? join(dirname(file), name) : fileURLToPath(import.meta.resolve(name)));
      }
    }
  };
  visit(entry);
  return [...found].sort();
}

const gzipped = (file) => gzipSync(readFileSync(file), { level: 9 }).length;

/** What a page may load: the engine, what of it only runs models, and the torch-shaped modules. A page loads one of the builds. */
export const parts = {
  octavo: { entry: 'dist/index.js', builds: ['simd', 'relaxed', 'simd.threads', 'relaxed.threads'] },
  'octavo-run': { entry: 'dist/index.js', builds: ['simd', 'relaxed', 'simd.threads', 'relaxed.threads'] },
  'octavo-nn': { entry: 'dist/nn/index.js', builds: ['simd', 'relaxed'] },
};

/** Bytes after gzip: for each build of a part the glue, the wasm, and all JavaScript beside them. */
export function measure(part = 'octavo') {
  const { entry, builds } = parts[part];
  const modules = reachableModules(inRoot(entry));
  const javascript = modules.reduce((sum, file) => sum + gzipped(file), 0);
  return builds.map((build) => {
    const wasm = gzipped(inRoot(`dist/${part}.${build}.wasm`));
    const glue = gzipped(inRoot(`dist/${part}.${build}.mjs`));
    return { build, wasm, glue, engine: wasm + glue, javascript, modules };
  });
}

/**
 * The most that a build of a part may have, in bytes (package.json says kB, of 1,000): its module with glue, which with threads
 * has Emscripten's part of them on top, and its unminified JavaScript.
 */
export function budget(part, build) {
  const { engine, threads, javascript } = JSON.parse(readFileSync(inRoot('package.json'), 'utf8')).sizeBudget[part];
  return { engine: 1000 * (build.endsWith('.threads') ? engine + threads : engine), javascript: javascript * 1000 };
}

if (isMain(import.meta.url)) {
  try {
    const { build } = await import('./build.mjs');
    await build({ page: false });
    const kilobytes = (bytes) => (bytes / 1000).toFixed(1).padStart(8);
    const over = [];
    console.log('gzip, kB                    wasm    glue  engine  budget      js  budget');
    for (const part of Object.keys(parts)) {
      const rows = measure(part);
      for (const { build: name, wasm, glue, engine, javascript } of rows) {
        const most = budget(part, name);
        const columns = [wasm, glue, engine, most.engine, javascript, most.javascript];
        console.log(`${`${part} ${name}`.padEnd(24)}${columns.map(kilobytes).join('')}`);
        if (engine > most.engine || javascript > most.javascript) over.push(`${part} ${name}`);
      }
      console.log(`js: ${rows[0].modules.map((file) => relative(root, file)).join(' ')}`);
    }
    if (over.length) throw new Error(`size: over the budget: ${over.join(', ')}`);
  } catch (error) {
    fail(error);
  }
}
