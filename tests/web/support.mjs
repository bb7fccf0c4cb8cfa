// Opens the built page in the real browser that OCTAVO_BROWSER names, served as `npm start` serves it.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import puppeteer from 'puppeteer-core';
import sirv from 'sirv';
import { inRoot } from '../../tools/project.mjs';
import { serve } from '../../tools/serve.mjs';
import { browsers } from '../../tools/setup.mjs';

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

/** Waits until the page's engine has started; where it does not, the error says how far it came. */
async function isReady(page, seen) {
  try {
    await page.waitForSelector('html[data-ready=true]', { timeout: 60_000 });
  } catch (error) {
    const looked = page.evaluate(() => ({
      ready: document.documentElement.dataset.ready,
      document: document.readyState,
      isolated: window.crossOriginIsolated,
      engine: document.querySelector('#engine')?.textContent,
      loaded: performance.getEntriesByType('resource').map(({ name, responseEnd }) => `${name} ${Math.round(responseEnd)}`),
    }));
    const unanswered = new Promise((resolve) => setTimeout(resolve, 10_000, 'the page does not answer'));
    const state = await Promise.race([looked, unanswered]).catch(String);
    throw new Error(`The page did not get ready: ${JSON.stringify({ state, ...seen() }, null, 1)}`, { cause: error });
  }
}

/**
 * Serves the page (or another `folder`, with other `headers`), starts a browser and opens `path` of it.
 *
 * Returns { page, browser, url, consoleErrors, requests, close }: consoleErrors are the texts of errors on the
 * console, of uncaught exceptions and of violations of the Content-Security-Policy; requests are the addresses asked for.
 */
export async function openPage({ path = '', width = 1280, height = 900, extraArgs, ready = true, folder, headers } = {}) {
  const server = await serve({ ...(folder ? { folder } : {}), ...(headers ? { headers } : {}) });
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
    if (ready) await isReady(page, () => ({ consoleErrors, requests }));
    return { page, browser, url: server.url, consoleErrors, requests, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Serves the project's folder with `headers`, so that pages can use dist/ as it is: what it imports by name, which workers cannot
 * look up, is named by its address. Returns { url, close }.
 */
export async function servePackage(headers = {}) {
  const comlink = '/node_modules/comlink/dist/esm/comlink.mjs';
  const files = sirv(inRoot(), { dev: true });
  const server = createServer((request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (/^\/dist\/[\w-]+\.js$/.test(request.url)) {
      const text = readFileSync(inRoot(`.${request.url}`), 'utf8').replace("from 'comlink'", `from '${comlink}'`);
      response.setHeader('Content-Type', 'text/javascript');
      response.end(text);
    } else files(request, response, () => response.writeHead(404).end());
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    url: `http://localhost:${server.address().port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}

/** Opens a tab whose `window.octavo` is the package as it is built. Returns { tab, close }. */
export async function openPackage() {
  const server = await servePackage();
  const { browser, close } = await launch();
  const tab = await browser.newPage();
  await tab.goto(`${server.url}tests/web/blank.html`);
  await tab.evaluate(async () => {
    window.octavo = await import('/dist/index.js');
  });
  return {
    tab,
    async close() {
      await close();
      await server.close();
    },
  };
}

/** A folder for one file of tests: file(name, bytes) and picture(sample, i), a PNG of a digit, give paths in it; close() removes it. */
export function temporaryFiles() {
  const folder = mkdtempSync(join(tmpdir(), 'octavo-files-'));
  const file = (name, bytes) => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    return path;
  };
  const picture = ({ feed }, i) => {
    const png = new PNG({ width: 28, height: 28 });
    feed.data.forEach((value, at) => png.data.set([value * 255, value * 255, value * 255, 255], at * 4));
    return file(`digit${i}.png`, PNG.sync.write(png));
  };
  return { folder, file, picture, close: () => rmSync(folder, { recursive: true, force: true }) };
}
