// Loaded once, the page works without its server.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serve } from '../../tools/serve.mjs';
import { browserName, launch } from './support.mjs';

test(`the page works offline once loaded, in ${browserName}`, async () => {
  const server = await serve();
  const { browser, close } = await launch();
  let open = true;
  try {
    const page = await browser.newPage();
    await page.goto(server.url);
    await page.waitForSelector('html[data-ready=true]', { timeout: 60_000 });
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
    // The worker of the first visit is started; the second visit is the one it serves.
    await page.reload();
    await page.waitForSelector('html[data-ready=true]', { timeout: 60_000 });
    await server.close();
    open = false;
    await page.reload();
    await page.waitForSelector('html[data-ready=true]', { timeout: 60_000 });
    await page.$eval('#sample', (button) => button.click());
    await page.waitForSelector('#put-sample', { timeout: 120_000 });
    assert.match(await page.$eval('#result-out', (element) => element.textContent), /times smaller/);
  } finally {
    await close();
    if (open) await server.close();
  }
});
