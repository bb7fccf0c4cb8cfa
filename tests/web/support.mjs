// Opens the built page in the real browser that OCTAVO_BROWSER names, served as `npm start` serves it.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';
import sirv from 'sirv';
import { serve } from '../../tools/serve.mjs';
import { browsers } from '../../tools/setup.mjs';
import { root } from '../js/support.mjs';

export const browserName = process.env.OCTAVO_BROWSER ?? 'chromium';
if (!(browserName in browsers)) throw new Error(`OCTAVO_BROWSER=${browserName}: use ${Object.keys(browsers).join(' or ')}`);

const args = {
  chromium: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--disable-dev-shm-usage',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
  firefox: ['--headless'],
};

/** Starts a browser, the tests' own unless told, with an empty profile. Returns { browser, close }. */
export async function launch({ extraArgs = [], name = browserName } = {}) {
  const executablePath = browsers[name].find();
  if (!executablePath) throw new Error(`There is no ${name} here; npm run setup installs it.`);
  const userDataDir = mkdtempSync(join(tmpdir(), 'octavo-browser-'));
  const browser = await puppeteer.launch({
    browser: name === 'firefox' ? 'firefox' : 'chrome',
    executablePath,
    userDataDir,
    args: [...args[name], ...extraArgs],
    protocolTimeout: 300_000,
  });
  return {
    browser,
    async close() {
      await browser.close();
      rmSync(userDataDir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/**
 * Serves the page (or another `folder`), starts a browser and opens `path` of it.
 *
 * Returns { page, browser, url, consoleErrors, requests, close }: consoleErrors are the texts of errors on the
 * console, of uncaught exceptions and of violations of the Content-Security-Policy; requests are the addresses asked for.
 */
export async function openPage({ path = '', width = 1280, height = 900, extraArgs, ready = true, folder } = {}) {
  const server = await serve(folder ? { folder } : {});
  const { browser, close: closeBrowser } = await launch({ extraArgs }).catch(async (error) => {
    await server.close();
    throw error;
  });
  const close = async () => {
    await closeBrowser();
    await server.close();
  };
  const consoleErrors = [];
  const requests = [];
  try {
    const page = await browser.newPage();
    await page.setViewport({ width, height });
    page.on('console', (message) => {
      if (message.type() === 'error') consoleErrors.push(message.text());
    });
    page.on('pageerror', (error) => consoleErrors.push(String(error)));
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(server.url + path);
    if (ready) await page.waitForSelector('html[data-ready=true]', { timeout: 60_000 });
    return { page, browser, url: server.url, consoleErrors, requests, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const bare = `<!doctype html><script type="importmap">{"imports":{"comlink":"/node_modules/comlink/dist/esm/comlink.mjs"}}</script>
<script type="module">
import * as octavo from '/dist/index.js';
window.octavo = octavo;
window.loaded = true;
</script>`;

/** Opens a tab whose `window.octavo` is the package as it is built; all files of the checkout are served. Returns { tab, close }. */
export async function openPackage() {
  const files = sirv(root, { dev: true });
  const server = createServer((request, response) => {
    if (request.url === '/') {
      response.writeHead(200, { 'content-type': 'text/html' }).end(bare);
      return;
    }
    files(request, response, () => response.writeHead(404).end());
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { browser, close } = await launch();
  const tab = await browser.newPage();
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.waitForFunction(() => window.loaded === true, { timeout: 60_000 });
  return {
    tab,
    async close() {
      await close();
      server.close();
    },
  };
}
