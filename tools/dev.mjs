// Rebuilds on change and serves the page from its sources: `npm run dev`
//
// Changes below src, bindings and cmake are built (the changed part only); the page's own files are Vite's business.

import { existsSync, watch } from 'node:fs';
import { build } from './build.mjs';
import { CommandError, fail, inRoot, isMain, node24, run, seconds } from './project.mjs';
import { setup } from './setup.mjs';

const watched = ['src', 'bindings', 'cmake'];
const generated = /^octavo\..*\.d\.mts$/;

async function rebuild() {
  const from = performance.now();
  try {
    await build({ page: false });
    console.log(`dev: up to date after ${seconds(from)}`);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    console.error(`${error.output}\ndev: ${error.message}; waiting for the next change`);
  }
}

/** Builds now and after every change, one build at a time; changes during a build start one more. */
function watchAndBuild() {
  let running = false;
  let again = false;
  let timer;
  const start = async () => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    do {
      again = false;
      await rebuild();
    } while (again);
    running = false;
  };
  for (const folder of watched) {
    watch(inRoot(folder), { recursive: true }, (_, file) => {
      if (file && generated.test(file.split('/').at(-1))) return;
      clearTimeout(timer);
      timer = setTimeout(() => start().catch(fail), 100); // editors write in several steps
    });
  }
  return start();
}

if (isMain(import.meta.url)) {
  try {
    await setup();
    await watchAndBuild();
    if (!existsSync(inRoot('web/public/samples/digits_test.bin'))) await build();
    const { code } = await run([node24(), 'node_modules/vite/bin/vite.js', 'web', ...process.argv.slice(2)], { show: true });
    process.exit(typeof code === 'number' ? code : 1);
  } catch (error) {
    fail(error);
  }
}
