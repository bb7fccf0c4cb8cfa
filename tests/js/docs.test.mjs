// The docs hold what they say: examples run, tables are the engine's.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { documents } from '../../tools/docs.mjs';
import { root } from './support.mjs';

const read = (path) => readFileSync(join(root, path), 'utf8');

for (const example of readdirSync(join(root, 'examples')).filter((name) => name.endsWith('.mjs'))) {
  test(`examples/${example} runs`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'octavo-example-'));
    try {
      const out = execFileSync(process.execPath, [join(root, 'examples', example)], { cwd: folder, encoding: 'utf8', timeout: 60_000 });
      assert.match(out, /a 5; int8 is \d+\.\d dB from float/);
      assert.ok(existsSync(join(folder, 'digits.int8.onnx')));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

test("README's example is the one that runs", () => {
  const [, block] = read('README.md').match(/```js\n([\s\S]*?)```/);
  assert.equal(block, read('examples/01-quantize-and-run.mjs'));
  assert.ok(block.split('\n').filter((line) => line.trim()).length <= 12);
});

test('generated tables are up to date', async () => {
  for (const [path, wanted] of await documents()) assert.equal(read(path), wanted, `${path}: run npm run docs`);
});

test('the docs name only files and npm scripts that exist', () => {
  const scripts = Object.keys(JSON.parse(read('package.json')).scripts);
  for (const path of ['README.md', 'src/README.md', 'CHANGELOG.md', 'docs/explanation/quantization.md']) {
    const text = read(path);
    for (const [, link] of text.matchAll(/\]\(([^)#:]+)\)/g))
      assert.ok(existsSync(join(root, path, '..', link)), `${path} links to ${link}`);
    for (const [, script] of text.matchAll(/npm run ([\w-]+)/g)) assert.ok(scripts.includes(script), `${path}: npm run ${script}`);
  }
});
