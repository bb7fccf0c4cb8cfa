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
        if (/octavo\.\w+\.mjs$/.test(name) || onlyNode.test(name)) continue;
        visit(name.startsWith('.') ? join(dirname(file), name) : fileURLToPath(import.meta.resolve(name)));
      }
    }
  };
  visit(entry);
  return [...found].sort();
}

const gzipped = (file) => gzipSync(readFileSync(file), { level: 9 }).length;

/** Bytes after gzip: for each level the glue, the wasm, and all JavaScript beside them. */
export function measure() {
  const modules = reachableModules(inRoot('dist/index.js'));
  const javascript = modules.reduce((sum, file) => sum + gzipped(file), 0);
  return levels.map((level) => {
    const wasm = gzipped(inRoot(`dist/octavo.${level}.wasm`));
    const glue = gzipped(inRoot(`dist/octavo.${level}.mjs`));
    return { level, wasm, glue, javascript, total: wasm + glue + javascript, modules };
  });
}

export const budget = () => JSON.parse(readFileSync(inRoot('package.json'), 'utf8')).sizeBudget.gzipKilobytes * 1024;

if (isMain(import.meta.url)) {
  try {
    const { build } = await import('./build.mjs');
    await build({ page: false });
    const kilobytes = (bytes) => (bytes / 1024).toFixed(1).padStart(8);
    const rows = measure();
    console.log('gzip, KB     wasm    glue      js   total');
    for (const { level, wasm, glue, javascript, total } of rows) {
      console.log(`${level.padEnd(8)}${[wasm, glue, javascript, total].map(kilobytes).join('')}`);
    }
    console.log(`js: ${rows[0].modules.map((file) => relative(root, file)).join(' ')}`);
    const over = rows.filter(({ total }) => total > budget());
    if (over.length)
      throw new Error(`size: over the budget of ${kilobytes(budget()).trim()} KB: ${over.map(({ level }) => level).join(', ')}`);
  } catch (error) {
    fail(error);
  }
}
