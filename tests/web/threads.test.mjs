// Engines with several threads in a page: the same bytes as with one, and one clear warning where a page cannot have them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isolationHeaders } from '../../tools/serve.mjs';
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

test(`a page that is not cross-origin isolated gets one thread and one warning in ${browserName}`, async () => {
  const { work, warnings, close } = await packagePage();
  try {
    for (const options of [{ threads: 2 }, { threads: 3 }, { threads: 1 }]) assert.equal((await work(options)).threads, 1);
    assert.equal(warnings.length, 1, warnings.join('\n'));
    assert.match(warnings[0], /not cross-origin isolated.*Cross-Origin-Embedder-Policy/);
  } finally {
    await close();
  }
});

test(`the built page takes the threads that its address asks for in ${browserName}`, async () => {
  for (const threads of [1, 2]) {
    const { page, consoleErrors, close } = await openPage({ path: `#threads=${threads}` });
    try {
      assert.match(await page.$eval('#engine', (element) => element.textContent), threads === 1 ? /one thread/ : /2 threads/);
      assert.deepEqual(consoleErrors, []);
    } finally {
      await close();
    }
  }
});
