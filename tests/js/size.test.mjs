import assert from 'node:assert/strict';
import test from 'node:test';
import { budget, levels, measure, parts } from '../../tools/size.mjs';

for (const part of Object.keys(parts)) {
  for (const level of levels) {
    test(`${part}: the ${level} module with glue and JavaScript is within the size budget`, () => {
      const { total, wasm, modules } = measure(part).find((one) => one.level === level);
      assert.ok(wasm > 10_000, 'this is no module');
      const last = part === 'octavo' ? 'worker.js' : 'tensor.js';
      assert.ok(
        modules.some((file) => file.endsWith(last)),
        `${last} is counted`,
      );
      assert.ok(total <= budget(part), `${total} bytes gzipped, ${budget(part)} allowed`);
    });
  }
}
