// A browser makes the same int8 file and the same bytes from it as Node, in both modules.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { test } from 'node:test';
import sirv from 'sirv';
import { createEngine, InferenceSession, Model, quantizeStatic } from '../../dist/index.js';
import { root } from '../js/support.mjs';
import { browserName, launch } from './support.mjs';

const page = `<!doctype html><script type="importmap">{"imports":{"comlink":"/node_modules/comlink/dist/esm/comlink.mjs"}}</script>
<script type="module">
import * as octavo from '/dist/index.js';
window.octavo = octavo;
window.loaded = true;
</script>`;

/** The same work there and here: quantize the sample, run the int8 network; hashes of file and logits. */
async function work({ createEngine, InferenceSession, Model, quantizeStatic }, isa, read, sha256) {
  const records = async (name) => {
    const bytes = await read(`web/public/samples/${name}`);
    return Array.from({ length: 25 }, (_, i) => ({
      data: Float32Array.from(bytes.subarray(i * 785 + 1, (i + 1) * 785), (x) => x / 255),
      shape: [1, 1, 28, 28],
    }));
  };
  const engine = await createEngine({ isa, worker: false });
  const model = await Model.load(await read('web/public/samples/digits_mobilenet_bn.onnx'), { engine });
  const { model: int8 } = await quantizeStatic(model, await records('digits_train.bin')).result;
  const session = await InferenceSession.create(int8);
  const logits = [];
  for (const image of await records('digits_test.bin')) logits.push(...(await session.run({ image })).logits.data);
  const result = { file: await sha256(await int8.toONNX()), logits: await sha256(new Uint8Array(Float32Array.from(logits).buffer)) };
  await engine.close();
  return result;
}

test(`${browserName} and Node agree byte for byte`, async () => {
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
    const { readFile } = await import('node:fs/promises');
    const read = async (path) => new Uint8Array(await readFile(`${root}/${path}`));
    const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
    const here = await work({ createEngine, InferenceSession, Model, quantizeStatic }, 'simd', read, sha256);
    for (const isa of ['simd', 'relaxed']) {
      const there = await tab.evaluate(
        async (source, level) => {
          const run = new Function(`return (${source})`)();
          const fetchBytes = async (path) => new Uint8Array(await (await fetch(`/${path}`)).arrayBuffer());
          const digest = async (bytes) =>
            Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)), (b) => b.toString(16).padStart(2, '0')).join('');
          return run(window.octavo, level, fetchBytes, digest);
        },
        work.toString(),
        isa,
      );
      assert.deepEqual(there, here, `${browserName} with ${isa} against Node with simd`);
    }
  } finally {
    await close();
    server.close();
  }
});
