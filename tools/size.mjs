// Prints what a page has to load, gzipped, per feature level, and fails above package.json's sizeBudget. `npm run size`

import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { fail, inRoot, isMain, root } from './project.mjs';

export const levels = ['simd', 'relaxed'];

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
        if (/octavo[\w-]*\.\w+\.mjs$/.test(name) || onlyNode.test(name)) continue;
        visit(name.startsWith('.') ? join(dirname(file), name) : fileURLToPath(import.meta.resolve(name)));
      }
    }
  };
  visit(entry);
  return [...found].sort();
}

const gzipped = (file) => gzipSync(readFileSync(file), { level: 9 }).length;

/** What a page may load: the engine, and the torch-shaped modules. */
export const parts = {
  octavo: 'dist/index.js',
  'octavo-nn': 'dist/nn/index.js',
};

/** Bytes after gzip: for each level of a part the glue, the wasm, and all JavaScript beside them. */
export function measure(part = 'octavo') {
  const modules = reachableModules(inRoot(parts[part]));
  const javascript = modules.reduce((sum, file) => sum + gzipped(file), 0);
  return levels.map((level) => {
    const wasm = gzipped(inRoot(`dist/${part}.${level}.wasm`));
    const glue = gzipped(inRoot(`dist/${part}.${level}.mjs`));
    return { level, wasm, glue, engine: wasm + glue, javascript, modules };
  });
}

/** The most that a part may have, in bytes (package.json says kB, of 1,000): its module with glue, and its unminified JavaScript. */
export function budget(part = 'octavo') {
  const { engine, javascript } = JSON.parse(readFileSync(inRoot('package.json'), 'utf8')).sizeBudget[part];
  return { engine: engine * 1000, javascript: javascript * 1000 };
}

if (isMain(import.meta.url)) {
  try {
    const { build } = await import('./build.mjs');
    await build({ page: false });
    const kilobytes = (bytes) => (bytes / 1000).toFixed(1).padStart(8);
    const over = [];
    console.log('gzip, kB              wasm    glue  engine  budget      js  budget');
    for (const part of Object.keys(parts)) {
      const rows = measure(part);
      const most = budget(part);
      for (const { level, wasm, glue, engine, javascript } of rows) {
        const columns = [wasm, glue, engine, most.engine, javascript, most.javascript];
        console.log(`${`${part} ${level}`.padEnd(18)}${columns.map(kilobytes).join('')}`);
        if (engine > most.engine || javascript > most.javascript) over.push(`${part} ${level}`);
      }
      console.log(`js: ${rows[0].modules.map((file) => relative(root, file)).join(' ')}`);
    }
    if (over.length) throw new Error(`size: over the budget: ${over.join(', ')}`);
  } catch (error) {
    fail(error);
  }
}
