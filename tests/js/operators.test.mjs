// Every operator of the engine has small cases of our own that give onnxruntime-node's result, in float and on codes, from the first
// opset to the last; docs/reference/operators.md says no more than that.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createEngine } from '../../dist/index.js';
import { operators as table } from '../../tools/operator-cases.mjs';
import { operatorsPage, ownResults, readOthers, spelledAsOthers } from '../../tools/operators.mjs';
import { root } from './support.mjs';

describe('operators', () => {
  let engine;
  let operators;
  before(async () => {
    engine = await createEngine({ worker: false });
    operators = await engine.call('operators', []);
  });
  after(() => engine.close());

  test("the table of cases is the engine's table, and what it spells as others", () => {
    assert.deepEqual(Object.keys(table).sort(), [...operators.map(({ name }) => name), ...Object.keys(spelledAsOthers)].sort());
  });

  test('every case gives what onnxruntime-node gives, and the page counts them', { timeout: 300_000 }, async () => {
    const results = await ownResults(engine);
    for (const { name, why } of results) assert.equal(why, undefined, name);
    for (const { name, int8 } of operators) {
      const own = results.filter(({ op }) => op === name);
      assert.ok(own.length > 0, `${name} has no case`);
      assert.equal(
        own.some(({ codes }) => codes),
        int8,
        `${name}: int8 is said, or cases on codes are there, but not both`,
      );
    }
    const path = join(root, 'docs/reference/operators.md');
    const page = readFileSync(path, 'utf8');
    assert.equal(page, operatorsPage(operators, results, readOthers(page)), 'docs/reference/operators.md: run npm run docs -- --cases DIR');
  });
});
