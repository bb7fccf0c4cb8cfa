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

/** What each example says, and which files it leaves. */
const examples = {
  '01-quantize-and-run.mjs': { says: [/a 5; int8 is \d+\.\d dB from float/], files: ['digits.int8.onnx'] },
  '02-quantized-batch-norm.mjs': { says: [/size=\(1, 64, 8, 8\), dtype=torch\.quint8/, /codes 12 20 21 13 by qbatchnorm\//] },
  '03-post-training-quantization.mjs': {
    says: [/\(bn\): BatchNorm2d\(8, scale=/, /int8 is (2[5-9]|[3-9]\d)\.\d dB/, /size=\(1, 8, 2, 2\)/],
  },
  '04-quantization-aware-training.mjs': { says: [/loss \d\.\d+ -> 0\.0[0-4]/, /\(1\): BatchNorm2d\(64, scale=/] },
  '05-custom-quantization.mjs': {
    says: [/Quantize\(scale=0\.\d+, zero_point=0, dtype=torch\.qint8\)/, /step of 0\.0625/, /dtype=torch\.qint8/],
  },
  '06-dynamic-quantization.mjs': { says: [/\(0\): Linear\(weight=\[32, 64\], dtype=torch\.qint8/, /are (2[5-9]|[3-9]\d)\.\d dB/] },
};

for (const name of readdirSync(join(root, 'examples')).filter((file) => file.endsWith('.mjs'))) {
  test(`examples/${name} runs`, () => {
    const { says, files = [] } = examples[name];
    const folder = mkdtempSync(join(tmpdir(), 'octavo-example-'));
    try {
      const out = execFileSync(process.execPath, [join(root, 'examples', name)], { cwd: folder, encoding: 'utf8', timeout: 60_000 });
      for (const pattern of says) assert.match(out, pattern);
      for (const file of files) assert.ok(existsSync(join(folder, file)));
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

test("limits.md has the code's numbers", () => {
  const page = read('docs/reference/limits.md');
  const constants = {};
  for (const path of ['src/onnx/import.h', 'src/base/limits.h', 'src/tensor/shape.h']) {
    for (const [, name, number] of read(path).matchAll(/(?:constexpr|size_t) [\w:]* ?(k?[mM]ax\w+) = ([^;]+);/g)) constants[name] = number;
  }
  const row = (what) => page.match(new RegExp(`^\\| ${what}[^|]*\\| ([\\d,]+)`, 'm'))?.[1].replaceAll(',', '');
  const plain = (text) => Number(text.replaceAll("'", '').replace(/^64 \* 1024$/, '65536'));
  const rows = {
    nodes: 'kMaxNodes',
    'graph inputs': 'kMaxNodes',
    tensors: 'kMaxValues',
    attributes: 'kMaxAttributes',
    'bytes of a name': 'kMaxNameBytes',
    dimensions: 'kMaxRank',
    findings: 'kMaxFindings',
  };
  for (const [what, name] of Object.entries(rows)) assert.equal(Number(row(what)), plain(constants[name] ?? ''), `${what}: ${name}`);
  assert.equal(constants.kMaxElements, 'std::int64_t{1} << 28');
  assert.equal(Number(row('elements')), 2 ** 28);
  assert.match(read('src/passes/infer_shapes.h'), /max_folded_bytes = std::size_t\{16\} << 20/);
  assert.match(page, /growth by folding constants \| 16 MiB/);
  assert.match(read('src/passes/infer_shapes.h'), /max_folded_macs = std::int64_t\{1\} << 26/);
  assert.match(page, new RegExp(`products made by folding constants \\| ${2 ** 26};`));
});

test('the docs name only files and npm scripts that exist', () => {
  const scripts = Object.keys(JSON.parse(read('package.json')).scripts);
  for (const path of [
    'README.md',
    'src/README.md',
    'CHANGELOG.md',
    'docs/benchmarks.md',
    'docs/explanation/quantization.md',
    'docs/reference/cli.md',
    'docs/reference/recipe.md',
    'docs/reference/limits.md',
    'docs/how-to/coming-from-pytorch.md',
    'docs/how-to/custom-quantization.md',
    'docs/how-to/export-for-other-runtimes.md',
  ]) {
    const text = read(path);
    for (const [, link] of text.matchAll(/\]\(([^)#:]+)\)/g))
      assert.ok(existsSync(join(root, path, '..', link)), `${path} links to ${link}`);
    for (const [, script] of text.matchAll(/npm run ([\w-]+)/g)) assert.ok(scripts.includes(script), `${path}: npm run ${script}`);
  }
});
