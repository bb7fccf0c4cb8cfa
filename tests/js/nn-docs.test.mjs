// What the README and docs/how-to/coming-from-pytorch.md say of octavo/nn: the names are there, and the snippets run.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import * as api from '../../dist/nn/index.js';
import { root } from './support.mjs';

const { nn, quantization, tensor } = api;
const read = (path) => readFileSync(join(root, path), 'utf8');
const snippets = (path) => [...read(path).matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code);

before(() => api.init());

/** Every name that the package has: exports of its namespaces, and what their classes' objects and classes can do. */
function allNames(namespace, found = new Set()) {
  for (const [name, value] of Object.entries(namespace)) {
    found.add(name);
    if (value?.[Symbol.toStringTag] === 'Module') allNames(value, found);
    if (typeof value !== 'function') continue;
    for (let type = value; type?.prototype; type = Object.getPrototypeOf(type)) {
      for (const own of [...Object.getOwnPropertyNames(type.prototype), ...Object.getOwnPropertyNames(type)]) found.add(own);
    }
  }
  return found;
}

test("every name of Octavo's in the README's table is there", () => {
  const [, section] = read('README.md').split('| torch | Octavo |\n');
  const rows = section.split('\n').slice(1);
  const known = allNames(api);
  let seen = 0;
  for (const row of rows.slice(0, rows.indexOf(''))) {
    const right = row.split(' | ')[1];
    for (const [, code] of right.matchAll(/`([^`]+)`/g)) {
      const name = code.replace(/\(.*$/, '').replace(/^q\./, '');
      for (const part of name.split('.').filter(Boolean)) assert.ok(known.has(part), `${part}, in: ${row}`);
      seen++;
    }
  }
  assert.ok(seen > 40);
});

test("the snippets of 'Coming from PyTorch' run", async () => {
  const AsyncFunction = (async () => {}).constructor;
  const fresh = () =>
    new nn.Sequential(
      new nn.QuantStub(),
      new nn.Conv2d(1, 2, 1),
      new nn.ReLU(),
      new nn.Flatten(),
      new nn.Linear(8, 2),
      new nn.DeQuantStub(),
    );
  const data = [tensor([1, 2, 3, 4], [1, 1, 2, 2])];
  const codes = snippets('docs/how-to/coming-from-pytorch.md');
  assert.ok(codes.length >= 3);
  const models = [];
  for (const code of codes) {
    const imported = code.replace(/^import (\{.*\}) from 'octavo\/nn';$/m, 'const $1 = api;');
    const names = imported === code ? ['nn', 'quantization'] : [];
    const model = fresh();
    await new AsyncFunction('api', 'model', 'data', ...names, imported)(api, model, data, ...(names.length ? [nn, quantization] : []));
    models.push(String(model));
  }
  assert.match(models.join('\n'), /Quantize\(scale=/, 'one of them is converted');
  assert.match(models.join('\n'), /dynamic|dtype=torch\.qint8, qscheme/, 'one of them is quantized dynamically');
});
