import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { inRoot } from '../../tools/project.mjs';
import { budget, measure, parts } from '../../tools/size.mjs';

for (const [part, { builds }] of Object.entries(parts)) {
  for (const build of builds) {
    test(`${part}: the ${build} module with its glue, and its JavaScript, are within the size budget`, () => {
      const { engine, javascript, wasm, modules } = measure(part).find((one) => one.build === build);
      assert.ok(wasm > 10_000, 'this is no module');
      const last = part !== 'octavo-nn' ? 'worker.js' : 'tensor.js';
      assert.ok(
        modules.some((file) => file.endsWith(last)),
        `${last} is counted`,
      );
      const most = budget(part, build);
      assert.ok(engine <= most.engine, `module and glue: ${engine} bytes gzipped, ${most.engine} allowed`);
      assert.ok(javascript <= most.javascript, `JavaScript: ${javascript} bytes gzipped, ${most.javascript} allowed`);
    });
  }
}

test('modules copy by the bulk instruction, not by the C library', () => {
  for (const build of parts.octavo.builds) {
    const bytes = readFileSync(inRoot('dist', `octavo.${build}.wasm`));
    const copy = Buffer.from([0xfc, 0x0a, 0, 0]); // memory.copy
    let count = 0;
    for (let at = bytes.indexOf(copy); at >= 0; at = bytes.indexOf(copy, at + 4)) count++;
    assert.ok(count > 100, `${build}: ${count} times memory.copy`);
  }
});

test('modules that only run models have no printf', () => {
  const flagsOfPrintf = Buffer.from('-+   0X0x'); // a string of the C library's formatted output alone
  assert.ok(readFileSync(inRoot('dist/octavo.simd.wasm')).includes(flagsOfPrintf), 'the JSON library brings it to the whole engine');
  for (const build of parts['octavo-run'].builds)
    assert.ok(!readFileSync(inRoot('dist', `octavo-run.${build}.wasm`)).includes(flagsOfPrintf), build);
});
