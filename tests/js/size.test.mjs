import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { inRoot } from '../../tools/project.mjs';
import { budget, levels, measure, parts } from '../../tools/size.mjs';

for (const part of Object.keys(parts)) {
  for (const level of levels) {
    test(`${part}: the ${level} module with its glue, and its JavaScript, are within the size budget`, () => {
      const { engine, javascript, wasm, modules } = measure(part).find((one) => one.level === level);
      assert.ok(wasm > 10_000, 'this is no module');
      const last = part === 'octavo' ? 'worker.js' : 'tensor.js';
      assert.ok(
        modules.some((file) => file.endsWith(last)),
        `${last} is counted`,
      );
      const most = budget(part);
      assert.ok(engine <= most.engine, `module and glue: ${engine} bytes gzipped, ${most.engine} allowed`);
      assert.ok(javascript <= most.javascript, `JavaScript: ${javascript} bytes gzipped, ${most.javascript} allowed`);
    });
  }
}

test('modules copy by the bulk instruction, not by the C library', () => {
  for (const level of levels) {
    const bytes = readFileSync(inRoot('dist', `octavo.${level}.wasm`));
    const copy = Buffer.from([0xfc, 0x0a, 0, 0]); // memory.copy
    let count = 0;
    for (let at = bytes.indexOf(copy); at >= 0; at = bytes.indexOf(copy, at + 4)) count++;
    assert.ok(count > 100, `${level}: ${count} times memory.copy`);
  }
});
