import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { root } from '../../tools/project.mjs';

function run(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

test('the page type-checks against the package', () => {
  const { status, output } = run('node_modules/typescript/bin/tsc', '-p', 'web');
  assert.equal(status, 0, output);
});

test('Biome has nothing to say about the TypeScript and JavaScript', () => {
  const { status, output } = run('node_modules/@biomejs/biome/bin/biome', 'check', '.', '--error-on-warnings');
  assert.equal(status, 0, output);
});
