// Engines with several threads in a page: the same bytes as with one, and one clear warning where a page cannot have them.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { build } from 'vite';
import { inRoot } from '../../tools/project.mjs';
import { isolationHeaders, serve } from '../../tools/serve.mjs';
import { sharedNetwork } from '../js/support.mjs';
import { threadsWork } from '../js/threads-work.mjs';
import { browserName, launch, openPage, servePackage } from './support.mjs';

let opened;
before(async () => {
  opened = await launch();
});
after(() => opened?.close());

/** Opens a page of the package's files, served with `given` headers; gives { page, warnings, work, close }. */
async function packagePage(given) {
  const server = await servePackage(given);
  const page = await opened.browser.newPage();
  const warnings = [];
  page.on('console', (message) => message.type().startsWith('warn') && warnings.push(message.text()));
  await page.goto(`${server.url}tests/web/blank.html`);
  const work = (options) =>
    page.evaluate(
      async (source, network, wanted) => {
        const run = new Function(`return (${source})`)();
        return run(await import('/dist/index.js'), Uint8Array.from(network), wanted);
      },
      threadsWork.toString(),
      [...sharedNetwork()],
      options,
    );
  const close = async () => {
    await page.close();
    await server.close();
  };
  return { page, warnings, work, close };
}

for (const isa of ['simd', 'relaxed']) {
  test(`1 to 3 threads make the same file and the same outputs in ${browserName}, ${isa}`, async () => {
    const { work, warnings, close } = await packagePage(isolationHeaders);
    try {
      const { threads, started, ...expected } = await work({ isa, threads: 1 });
      assert.deepEqual([threads, started], [1, 1]);
      assert.notEqual(expected.float, expected.int8);
      for (const count of [2, 3]) assert.deepEqual(await work({ isa, threads: count }), { threads: count, started: count, ...expected });
      assert.deepEqual(warnings, []);
    } finally {
      await close();
    }
  });
}

test(`threads beside the page's own make the same file and the same outputs in ${browserName}, and end with the engine`, async () => {
  const { page, work, warnings, close } = await packagePage(isolationHeaders);
  try {
    const { threads, started, ...expected } = await work({ threads: 1, worker: false });
    assert.deepEqual([threads, started], [1, 1]);
    assert.deepEqual(await work({ threads: 3, worker: false }), { threads: 3, started: 3, ...expected });
    for (const end = performance.now() + 30_000; page.workers().length > 0 && performance.now() < end; )
      await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(page.workers().length, 0);
    assert.deepEqual(warnings, []);
  } finally {
    await close();
  }
});

test(`a page that is not cross-origin isolated gets one thread and one warning in ${browserName}`, async () => {
  const { work, warnings, close } = await packagePage();
  try {
    for (const options of [{}, { threads: 2 }, { threads: 'auto' }, { threads: 1 }]) assert.equal((await work(options)).threads, 1);
    assert.equal(warnings.length, 1, warnings.join('\n'));
    assert.match(warnings[0], /not cross-origin isolated.*Cross-Origin-Embedder-Policy/);
  } finally {
    await close();
  }
});

test(`the built page quantizes on the threads that its address and its menu ask for in ${browserName}`, async () => {
  const { page, consoleErrors, close } = await openPage({ path: '#threads=2' });
  const engine = () => page.$eval('#engine', (element) => element.textContent);
  try {
    assert.match(await engine(), /on 2 threads/);
    await page.click('#sample');
    await page.waitForFunction(() => /times smaller/.test(document.querySelector('#result-out').textContent), { timeout: 120_000 });
    assert.match(await page.$eval('#result-out', (element) => element.textContent), /a picture, on 2 threads/);
    await page.select('#threads', '1');
    // The address changes first, then the page loads anew.
    await page.waitForFunction(() => /on one thread/.test(document.querySelector('#engine')?.textContent), { timeout: 60_000 });
    assert.match(page.url(), /threads=1/);
    assert.deepEqual(consoleErrors, []);
  } finally {
    await close();
  }
});

test(`a page of one's own that Vite bundles runs on threads in ${browserName}`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'octavo-consumer-'));
  try {
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(inRoot(), join(folder, 'node_modules/octavo'));
    writeFileSync(join(folder, 'index.html'), '<!doctype html><script type="module" src="main.js"></script>');
    writeFileSync(join(folder, 'main.js'), "import * as octavo from 'octavo'; window.octavo = octavo;");
    await build({ root: folder, configFile: false, logLevel: 'error', worker: { format: 'es' } });
    const server = await serve({ folder: join(folder, 'dist'), headers: isolationHeaders });
    const page = await opened.browser.newPage();
    try {
      await page.goto(server.url);
      await page.waitForFunction(() => window.octavo);
      const work = (options) =>
        page.evaluate(
          (source, network, wanted) => new Function(`return (${source})`)()(window.octavo, Uint8Array.from(network), wanted),
          threadsWork.toString(),
          [...sharedNetwork()],
          options,
        );
      const { threads, started, ...expected } = await work({ threads: 1 });
      assert.deepEqual([threads, started], [1, 1]);
      assert.deepEqual(await work({ threads: 2 }), { threads: 2, started: 2, ...expected });
    } finally {
      await page.close();
      await server.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
