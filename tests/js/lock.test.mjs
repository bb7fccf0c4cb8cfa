// Two builds in one folder take turns.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { root } from './support.mjs';

let folder;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'octavo-lock-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs `body` in a process of its own, with withLock, note(word) and sleep(ms) at hand. */
function start(body) {
  const script = `
    import { appendFileSync } from 'node:fs';
    import { spawnSync } from 'node:child_process';
    import { setTimeout as sleep } from 'node:timers/promises';
    import { withLock } from ${JSON.stringify(join(root, 'tools/project.mjs'))};
    const options = { file: ${JSON.stringify(join(folder, 'lock'))} };
    const note = (word) => appendFileSync(${JSON.stringify(join(folder, 'notes'))}, word + ' ');
    ${body}`;
  const { OCTAVO_LOCK: _, ...env } = process.env;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors += text;
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, errors })));
}
const notes = () => {
  const path = join(folder, 'notes');
  const text = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
  rmSync(path, { force: true });
  return text;
};

test('the second waits, says so once, and comes after the first', async () => {
  const body = "await withLock(async () => { note('in'); await sleep(700); note('out'); }, options);";
  const both = await Promise.all([start(body), start(body)]);
  assert.deepEqual(
    both.map(({ code }) => code),
    [0, 0],
  );
  assert.equal(notes(), 'in out in out');
  const waiting = both.map(({ errors }) => errors).join('');
  assert.equal(waiting.match(/waiting for process \d+/g)?.length, 1, waiting);
  assert.ok(!existsSync(join(folder, 'lock')));
});

test('it is let go after a failure and after an exit', async () => {
  await start(
    "await withLock(() => Promise.reject(new Error('no')), options).catch(() => note('failed')); await withLock(() => note('next'), options);",
  );
  assert.equal(notes(), 'failed next');
  await start('await withLock(() => process.exit(3), options);');
  assert.ok(!existsSync(join(folder, 'lock')));
});

test('one that a killed process left behind is taken over', async () => {
  const gone = await start("note(String(process.pid)); await withLock(() => process.kill(process.pid, 'SIGKILL'), options);");
  assert.equal(gone.code, null);
  assert.equal(readFileSync(join(folder, 'lock'), 'utf8'), notes());
  const { code, errors } = await start("await withLock(() => note('mine'), options);");
  assert.deepEqual([code, errors, notes()], [0, '', 'mine']);
});

test('it may be nested, in a process and in the processes that it starts', async () => {
  writeFileSync(
    join(folder, 'inner.mjs'),
    `import { withLock } from ${JSON.stringify(join(root, 'tools/project.mjs'))};
    await withLock(() => {}, { file: ${JSON.stringify(join(folder, 'lock'))} });`,
  );
  const { code, errors } = await start(`
    await withLock(() => withLock(async () => {
      note(String(spawnSync(process.execPath, [${JSON.stringify(join(folder, 'inner.mjs'))}], { timeout: 20_000 }).status));
    }, options), options);`);
  assert.deepEqual([code, errors, notes()], [0, '', '0']);
});
