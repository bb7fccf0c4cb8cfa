// The page keeps to itself: what it may not do is refused by the browser, and what a file says stays text.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, describe, test } from 'node:test';
import { inRoot } from '../../tools/project.mjs';
import { headers, serve } from '../../tools/serve.mjs';
import { digits, onnx } from '../js/support.mjs';
import { browserName, launch, openPackage, openPage, temporaryFiles } from './support.mjs';

const hostile = '<img src=x onerror="window.attacked=1">';

describe(`the page in ${browserName} is closed`, () => {
  const { file, picture, close: removeFiles } = temporaryFiles();
  after(removeFiles);
  /** A network in which everything that has a name is called something nasty. */
  const named = (op) =>
    onnx({
      nodes: [
        { op, name: hostile, inputs: [`${hostile}x`, `${hostile}w`], outputs: [`${hostile}c`] },
        { op: 'Relu', name: `${hostile}relu`, inputs: [`${hostile}c`], outputs: [`${hostile}y`] },
      ],
      inputs: [{ name: `${hostile}x`, shape: [1, 1, 28, 28] }],
      outputs: [{ name: `${hostile}y`, shape: [1, 2, 26, 26] }],
      weights: [{ name: `${hostile}w`, shape: [2, 1, 3, 3], data: Float32Array.from({ length: 18 }, (_, i) => (i - 9) / 9) }],
    });

  test('no eval, no inline script, no other host, whatever the server sends along', async () => {
    const asked = [];
    const other = createServer((request, response) => {
      asked.push(request.url);
      response.writeHead(200, { 'Access-Control-Allow-Origin': '*' }).end('x');
    });
    await new Promise((resolve) => other.listen(0, '127.0.0.1', resolve));
    const server = await serve({ headers: {} }); // the policy in the page itself is what holds
    const { browser, close } = await launch();
    try {
      const page = await browser.newPage();
      await page.goto(server.url);
      await page.waitForSelector('html[data-ready=true]', { timeout: 60_000 });
      const results = await page.evaluate(async (elsewhere) => {
        const ended = async (work) => {
          try {
            await work();
            return 'allowed';
          } catch {
            return 'refused';
          }
        };
        const inline = document.createElement('script');
        inline.textContent = 'window.attacked = 1';
        document.head.append(inline);
        const script = document.createElement('script');
        const loaded = new Promise((resolve, reject) => Object.assign(script, { onload: resolve, onerror: reject }));
        script.src = `${elsewhere}/script.js`;
        document.head.append(script);
        const image = new Image();
        const shown = new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject }));
        image.src = `${elsewhere}/image.png`;
        return {
          fetch: await ended(() => fetch(`${elsewhere}/fetch`)),
          script: await ended(() => loaded),
          image: await ended(() => shown),
          eval: await ended(() => new Function('return 1')()),
          inline: window.attacked === undefined ? 'refused' : 'allowed',
        };
      }, `http://127.0.0.1:${other.address().port}`);
      assert.deepEqual(results, { fetch: 'refused', script: 'refused', image: 'refused', eval: 'refused', inline: 'refused' });
      assert.deepEqual(asked, []);
    } finally {
      await close();
      await server.close();
      other.close();
    }
  });

  test('the page of `npm run dev` works under the same policy, and hears of changes', async () => {
    const { createServer: createVite } = await import('vite');
    const server = await createVite({ configFile: inRoot('web/vite.config.ts'), logLevel: 'silent', server: { port: 0 } });
    await server.listen();
    const { browser, close } = await launch();
    try {
      const page = await browser.newPage();
      const said = [];
      page.on('console', (message) => said.push({ type: message.type(), text: message.text() }));
      page.on('pageerror', (error) => said.push({ type: 'error', text: String(error) }));
      const loaded = await page.goto(`http://127.0.0.1:${server.httpServer.address().port}/`);
      const policy = loaded.headers()['content-security-policy'];
      assert.equal(policy.replace(/(style-src 'self') 'nonce-[^']{24}'/, '$1'), headers['Content-Security-Policy']);
      await page.waitForSelector('html[data-ready=true]', { timeout: 60_000 });
      assert.deepEqual(
        said.filter(({ type }) => type === 'error'),
        [],
      );
      const state = await page.evaluate(() => {
        const inline = document.createElement('script');
        inline.textContent = 'window.attacked = 1';
        document.head.append(inline);
        return { attacked: window.attacked === 1, styled: getComputedStyle(document.querySelector('.visually-hidden')).position };
      });
      assert.deepEqual(state, { attacked: false, styled: 'absolute' });
      assert.ok(
        said.some(({ text }) => /\[vite\] connected/.test(text)),
        JSON.stringify(said),
      );
    } finally {
      await close();
      await server.close();
    }
  });

  test('a picture is refused by what its header says, before it is decoded', async () => {
    const { tab, close } = await openPackage();
    try {
      const header = Buffer.from('89504e470d0a1a0a0000000d49484452000186a0000186a00800000000', 'hex'); // 100000 x 100000, grey
      const said = await tab.evaluate(
        async (bytes) => {
          const refused = async (samples, options) => {
            try {
              for await (const _ of window.octavo.images(samples, options)) return 'read';
            } catch ({ code, where, what }) {
              return { code, where, what };
            }
          };
          const canvas = new OffscreenCanvas(100, 100);
          canvas.getContext('2d').fillRect(0, 0, 50, 50);
          const file = new File([await canvas.convertToBlob()], 'small.png');
          return {
            hostile: await refused([new File([new Uint8Array(bytes)], 'huge.png')]),
            limited: await refused([file], { memoryLimit: 39_999 }),
            canvas: await refused([canvas], { memoryLimit: 39_999 }),
            allowed: await refused([file], { memoryLimit: 40_000 }),
          };
        },
        [...header],
      );
      const small = { code: 'IMAGE_TOO_LARGE', what: 'Its 100 x 100 pixels take 40000 bytes; memoryLimit = 39999.' };
      assert.deepEqual(said, {
        hostile: { code: 'IMAGE_TOO_LARGE', where: 'huge.png', what: 'It has 100000 x 100000 pixels; at most 67108864 are read.' },
        limited: { ...small, where: 'small.png' },
        canvas: { ...small, where: 'picture 0' },
        allowed: 'read',
      });
    } finally {
      await close();
    }
  });

  test('a job on files of the user asks for nothing, not even of its own server; names in them stay text', async () => {
    const { page, requests, consoleErrors, close } = await openPage();
    const upload = async (input, ...paths) => (await page.$(input)).uploadFile(...paths);
    const shows = (selector, part) =>
      page.waitForFunction((where, what) => document.querySelector(where)?.textContent.includes(what), { timeout: 60_000 }, selector, part);
    const sent = () => requests.filter((address) => !/^(blob|data):/.test(address));
    try {
      await page.waitForNetworkIdle({ idleTime: 2000 }); // the engine's helpers load their script when it is ready already
      const before = sent();
      assert.ok(before.length > 0);
      await upload('#model-file', file('unsupported.onnx', named('Foo')));
      await shows('#model-out', hostile);
      await upload('#model-file', file('hostile.onnx', named('Conv')));
      await shows('#model-out', 'Parameters');
      await upload('#pictures-file', ...digits('train', 6).map(picture));
      await shows('#pictures-out', 'to calibrate');
      await page.$eval('#start', (button) => button.click());
      await page.waitForSelector('#download-model', { timeout: 60_000 });
      await shows('#result-out', hostile);
      assert.equal(await page.evaluate(() => window.attacked), undefined);
      assert.equal((await page.$$('img[onerror]')).length, 0);
      assert.deepEqual(sent(), before);
      assert.deepEqual(consoleErrors, []);
    } finally {
      await close();
    }
  });
});
