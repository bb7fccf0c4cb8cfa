// src/README.md's table of layers is what CMakeLists.txt builds and what the sources include.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { inRoot } from '../../tools/project.mjs';

const words = (text) => text.trim().split(/\s+/).filter(Boolean);

/** layer -> the layers it may include, from the rows `| name | may include | ...` below the heading "Layers". */
function readTable() {
  const [, section] = readFileSync(inRoot('src/README.md'), 'utf8').split(/^## /m);
  const rows = section.split('\n').filter((line) => line.startsWith('| '));
  return new Map(
    rows.slice(2).map((row) => {
      const [, layer, allowed] = row.split('|');
      return [layer.trim(), words(allowed)];
    }),
  );
}

const table = readTable();

function sourcesBelow(folder) {
  return readdirSync(inRoot(folder), { recursive: true })
    .filter((file) => /\.(cpp|h)$/.test(file))
    .map((file) => `${folder}/${file}`);
}

const includes = (file, pattern) => [...readFileSync(inRoot(file), 'utf8').matchAll(pattern)].map(([, name]) => name);
const ownIncludes = (file) => includes(file, /^\s*#\s*include\s+"([^"]+)"/gm);

test('the map names the layers that CMakeLists.txt builds, with the same dependencies', () => {
  const text = readFileSync(inRoot('CMakeLists.txt'), 'utf8');
  const [, layers] = text.match(/set\(OCTAVO_LAYERS ([^)]+)\)/);
  assert.deepEqual([...table.keys()], words(layers));
  for (const [layer, allowed] of table) {
    const [, deps = ''] = text.match(new RegExp(`set\\(OCTAVO_DEPS_${layer} ([^)]+)\\)`)) ?? [];
    assert.deepEqual(allowed, words(deps), layer);
  }
});

test('every folder of src is a layer of the map, and layers point down only', () => {
  const folders = readdirSync(inRoot('src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  for (const { name } of folders) assert.ok(table.has(name), `src/${name} is not in src/README.md`);
  const order = [...table.keys()];
  for (const [layer, allowed] of table) {
    for (const other of allowed) assert.ok(order.indexOf(other) < order.indexOf(layer) && order.includes(other), `${layer} -> ${other}`);
  }
});

test('every include goes where the map allows', () => {
  const wrong = [];
  let seen = 0;
  for (const file of sourcesBelow('src')) {
    const layer = file.split('/')[1];
    for (const name of ownIncludes(file)) {
      seen++;
      const target = name.split('/')[0];
      if (target !== layer && !table.get(layer)?.includes(target)) wrong.push(`${file} includes ${name}`);
    }
  }
  assert.ok(seen > 100, 'the includes were found');
  assert.deepEqual(wrong, []);
});

test('only the bindings know Emscripten, only simd asks for SIMD features', () => {
  const wrong = [];
  for (const file of sourcesBelow('src')) {
    for (const name of includes(file, /^\s*#\s*include\s+<([^>]+)>/gm)) if (name.startsWith('emscripten')) wrong.push(`${file}: <${name}>`);
    const features = readFileSync(inRoot(file), 'utf8').match(/^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*__wasm_\w+__/m);
    if (features && !file.startsWith('src/simd/')) wrong.push(`${file}: ${features[0].trim()}`);
  }
  assert.deepEqual(wrong, []);
});

test('what catches exceptions by type is compiled with atomics', () => {
  // Its landing pads use a variable of the thread, which is none without: in a module with threads the catch would fall through.
  const listed = readFileSync(inRoot('CMakeLists.txt'), 'utf8').match(
    /set_source_files_properties\(([^)]*) PROPERTIES COMPILE_OPTIONS -matomics\)/,
  );
  const catching = sourcesBelow('src').filter((file) => /\bcatch \((?!\.\.\.\))/.test(readFileSync(inRoot(file), 'utf8')));
  assert.ok(catching.length > 0);
  for (const file of catching) assert.ok(words(listed[1]).includes(file), file);
});

test('the files that the map names are there', () => {
  const text = readFileSync(inRoot('src/README.md'), 'utf8');
  const named = [...text.matchAll(/`((?:[\w-]+\/)+[\w-]+\.(?:h|cpp|ts|mjs|md))`/g)].map(([, path]) => path);
  assert.ok(named.length > 5);
  const there = (path) => {
    try {
      readFileSync(inRoot(path));
      return true;
    } catch {
      return false;
    }
  };
  assert.deepEqual(
    named.filter((path) => !there(path) && !there(`src/${path}`)),
    [],
  );
});
