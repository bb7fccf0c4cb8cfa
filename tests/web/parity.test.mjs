// A browser makes the same int8 file and the same logits as Node and the native build, in both modules.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import sirv from 'sirv';
import { parityWork, parseParity } from '../js/parity-work.mjs';
import { root } from '../js/support.mjs';
import { browserName, launch } from './support.mjs';

const page = `<!doctype html><script type="importmap">{"imports":{"comlink":"/node_modules/comlink/dist/esm/comlink.mjs"}}</script>
<script type="module">
import * as octavo from '/dist/index.js';
window.octavo = octavo;
window.loaded = true;
</script>`;

test(`${browserName} makes the file and the logits that tests/data/parity.txt names`, async () => {
  const files = sirv(root, { dev: true });
  const server = createServer((request, response) => {
    if (request.url === '/') {
      response.writeHead(200, { 'content-type': 'text/html' }).end(page);
      return;
    }
    files(request, response, () => response.writeHead(404).end());
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { browser, close } = await launch();
  try {
    const tab = await browser.newPage();
    await tab.goto(`http://127.0.0.1:${server.address().port}/`);
    await tab.waitForFunction(() => window.loaded === true, { timeout: 60_000 });
    const wanted = parseParity(readFileSync(join(root, 'tests/data/parity.txt'), 'utf8'));
    for (const isa of ['simd', 'relaxed']) {
      const made = await tab.evaluate(
        async (source, level) => {
          const work = new Function(`return (${source})`)();
          const network = await (await fetch('/web/public/samples/digits_mobilenet_bn.onnx')).arrayBuffer();
          return work(window.octavo, new Uint8Array(network), level);
        },
        parityWork.toString(),
        isa,
      );
      assert.deepEqual(made, wanted, `${browserName} with ${isa}`);
    }
  } finally {
    await close();
    server.close();
  }
});
