// The page goes away in the middle of its work, as pages do, and comes back.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { browserName, openPage } from './support.mjs';

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
