// What goes wrong with a page: it goes away in the middle of its work and comes back; its memory runs out.

import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { inRoot } from '../../tools/project.mjs';
import { convModel, withMostPages } from '../js/support.mjs';
import { browserName, openPackage, openPage, temporaryFiles } from './support.mjs';

describe(`the page in ${browserName}, reloaded during a job`, () => {
  for (const stage of ['Watching the network', 'Choosing ranges']) {
    test(`while it says "${stage}": the next load does the whole job`, async () => {
      const { page, browser, consoleErrors, close } = await openPage({ path: '#sample=digits' });
      const pages = (await browser.pages()).length;
      try {
        const says = (words) => document.querySelector('#progress-text')?.textContent.includes(words);
        await page.waitForFunction(says, { timeout: 60_000, polling: 'mutation' }, stage);
        await page.reload();
        // The address says that the sample is to be opened, so that the work begins anew by itself.
        await page.waitForSelector('#put-sample', { timeout: 120_000 });
        assert.match(await page.$eval('#result-out', (result) => result.textContent), /same answer as float, 300 pictures/);
        assert.equal((await browser.pages()).length, pages);
        assert.deepEqual(consoleErrors, []);
      } finally {
        await close();
      }
    });
  }
});

describe(`the page in ${browserName}, with 20 MiB for its engine`, () => {
  const site = mkdtempSync(join(tmpdir(), 'octavo-site-'));
  const { file, close: removeFiles } = temporaryFiles();
  after(() => {
    removeFiles();
    rmSync(site, { recursive: true });
  });

  test('a network that does not fit is an error that says so, and the next one is quantized', async () => {
    cpSync(inRoot('dist/web'), site, { recursive: true });
    const assets = join(site, 'assets');
    const modules = readdirSync(assets).filter((name) => /^octavo\.(simd|relaxed)-.*\.wasm$/.test(name));
    assert.equal(modules.length, 2);
    for (const name of modules) writeFileSync(join(assets, name), withMostPages(readFileSync(join(assets, name)), 320));
    // Without these headers the page has one thread, so its memory is the module's own.
    const { page, consoleErrors, close } = await openPage({ folder: site, headers: {} });
    try {
      const large = file('large.onnx', convModel({ inChannels: 2600, channels: 2600, shape: [1, 2600, 1, 1] }));
      await (await page.$('#model-file')).uploadFile(large);
      const says = (code) => document.querySelector('#model-out')?.textContent.includes(code);
      await page.waitForFunction(says, { timeout: 60_000 }, 'OUT_OF_MEMORY');
      await page.$eval('#sample', (button) => button.click());
      await page.waitForSelector('#put-sample', { timeout: 120_000 });
      assert.match(await page.$eval('#result-out', (result) => result.textContent), /same answer as float, 300 pictures/);
      assert.deepEqual(consoleErrors, []);
    } finally {
      await close();
    }
  });
});

describe(`engines in ${browserName}`, () => {
  // A page cannot look at the system's processes: what ends the worker is a script error of its own, or its end by terminate().
  test('a worker that is ended in the middle of a run: an error, and the same engine works again', async () => {
    const { tab, close } = await openPackage();
    try {
      const said = await tab.evaluate(
        async (bytes) => {
          const { createEngine, InferenceSession, Model } = window.octavo;
          const workers = [];
          window.Worker = class extends window.Worker {
            constructor(...args) {
              super(...args);
              workers.push(this);
            }
          };
          const engine = await createEngine();
          const file = new Uint8Array(bytes);
          const shape = [64, 2, 64, 64];
          const feed = () => ({ x: { data: new Float32Array(64 * 2 * 64 * 64).fill(1), shape } });
          const open = async () => InferenceSession.create(await Model.load(file, { engine }), { inputShapes: { x: shape } });
          const results = [];
          for (const end of ['error', 'error']) {
            const session = await open();
            const running = session.run(feed()).then(
              () => 'it ran',
              ({ code }) => code,
            );
            workers.at(-1).dispatchEvent(new ErrorEvent(end, { message: 'gone' }));
            results.push(await running, engine.generation);
            const { y } = await (await open()).run(feed());
            results.push(y.data.length);
          }
          await engine.close();
          return results;
        },
        [...convModel({ shape: ['n', 2, 64, 64] })],
      );
      assert.deepEqual(said.slice(0, 2), ['ENGINE_FAILED', 1]);
      assert.deepEqual(said.slice(3, 5), ['ENGINE_FAILED', 2]);
      assert.ok(said[2] > 0 && said[5] === said[2], String(said));
    } finally {
      await close();
    }
  });
});
