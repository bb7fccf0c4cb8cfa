// The golden vectors in a real browser, through octavo/nn and, for ONNX's operators and files, the engine; with both modules.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { groups } from '../golden/groups.mjs';
import { browserName, launch, servePackage } from './support.mjs';

let server;
let opened;
before(async () => {
  server = await servePackage();
  opened = await launch();
});
after(async () => {
  await opened?.close();
  await server?.close();
});

for (const isa of ['simd', 'relaxed']) {
  test(`every golden group has no mismatch in ${browserName}, ${isa}`, async (t) => {
    const page = await opened.browser.newPage();
    await page.goto(`${server.url}tests/web/blank.html`);
    const results = await page.evaluate(
      async (level, names) => {
        const nn = await import('/dist/nn/index.js');
        const octavo = await import('/dist/index.js');
        try {
          await nn.init({ isa: level });
        } catch (error) {
          if (error.code === 'NO_SIMD') return error.message;
          throw error;
        }
        const engine = await octavo.createEngine({ isa: level, worker: false });
        const { passed, runGroup, toLine } = await import('/tests/golden/groups.mjs');
        const read = async (name) => {
          const response = await fetch(`/tests/data/golden/${name}`);
          if (!response.ok) throw new Error(`${name}: HTTP ${response.status}`);
          return new Uint8Array(await response.arrayBuffer());
        };
        const lines = [];
        for (const name of names) {
          const tally = await runGroup({ nn, octavo, engine }, name, read);
          lines.push({ line: toLine(name, tally), good: passed(tally) });
        }
        await engine.close();
        return lines;
      },
      isa,
      Object.keys(groups),
    );
    await page.close();
    if (typeof results === 'string') return t.skip(results); // this browser has no relaxed SIMD
    assert.equal(results.length, Object.keys(groups).length);
    for (const { line, good } of results) {
      t.diagnostic(line);
      assert.ok(good, line);
    }
  });
}
