import assert from 'node:assert/strict';
import test from 'node:test';
import { budget, levels, measure } from '../../tools/size.mjs';

for (const level of levels) {
  test(`the ${level} module with glue and JavaScript is within the size budget`, () => {
    const { total, wasm, modules } = measure().find((one) => one.level === level);
    assert.ok(wasm > 10_000, 'this is no module');
    assert.ok(
      modules.some((file) => file.endsWith('worker.js')),
      'the worker is counted',
    );
    assert.ok(total <= budget(), `${total} bytes gzipped, ${budget()} allowed`);
  });
}
