// octavo/nn in a real browser: PyTorch's golden vectors, with both modules.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inRoot } from '../../tools/project.mjs';
import { serve } from '../../tools/serve.mjs';
import { groups } from '../golden/groups.mjs';
import { browserName, launch } from './support.mjs';

let server;
let opened;
before(async () => {
  server = await serve({ folder: inRoot() });
  opened = await launch();
});
after(async () => {
  await opened?.close();
  await server?.close();
});

for (const isa of ['simd', 'relaxed']) {
  test(`octavo/nn gives PyTorch's codes in ${browserName}, ${isa}`, async (t) => {
    const page = await opened.browser.newPage();
    await page.goto(`${server.url}tests/web/blank.html`);
    const results = await page.evaluate(
      async (level, names) => {
        const api = await import('/dist/nn/index.js');
        try {
          await api.init({ isa: level });
        } catch (error) {
          if (error.code === 'NO_SIMD') return error.message;
          throw error;
        }
        const { passed, runGroup, toLine } = await import('/tests/golden/groups.mjs');
        const file = async (name) => {
          const response = await fetch(`/tests/data/golden/${name}`);
          if (!response.ok) throw new Error(`${name}: HTTP ${response.status}`);
          return response;
        };
        const lines = [];
        for (const name of names) {
          const bytes = new Uint8Array(await (await file(`${name}.bin`)).arrayBuffer());
          const tally = runGroup(api, name, await (await file(`${name}.idx`)).text(), bytes);
          lines.push({ line: toLine(name, tally), good: passed(tally) });
        }
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
