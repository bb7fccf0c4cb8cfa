// npm test counts what the test programs say, in colour or not, and takes silence for a failure.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { doctestCounts, nodeTestCounts } from '../../tools/test.mjs';

const counted = ({ passed, failed, skipped }) => [passed, failed, skipped];
const summary = (passed, failed) => `[doctest] test cases: ${passed + failed} | ${passed} passed | ${failed} failed | 0 skipped\n`;

test('doctest: counts, in the colours of a wasm build too', () => {
  assert.deepEqual(counted(doctestCounts({ code: 0, output: summary(4, 0) })), [4, 0, 0]);
  assert.deepEqual(counted(doctestCounts({ code: 1, output: summary(4, 2) })), [4, 2, 0]);
  const coloured =
    '\u001b[0;36m[doctest] \u001b[0mtest cases:  4 | \u001b[0;32m 4 passed\u001b[0m | \u001b[0m0 failed\u001b[0m | \u001b[0m0 skipped\u001b[0m\n';
  assert.deepEqual(counted(doctestCounts({ code: 0, output: coloured })), [4, 0, 0]);
});

test('doctest: a case that lacks data is skipped once, however much it lacks', () => {
  const block = (name, ...messages) =>
    `====\nfile.cpp:1:\nTEST CASE:  ${name}\n\n${messages.map((m) => `file.cpp:2: MESSAGE: ${m}\n`).join('')}\n`;
  const output = block('networks', 'skipped: a', 'skipped: b', 'skipped: c') + block('tells', 'all is well') + summary(9, 0);
  assert.deepEqual(counted(doctestCounts({ code: 0, output })), [8, 0, 1]);
});

test('a program that ends badly or says nothing has failed', () => {
  assert.deepEqual(counted(doctestCounts({ code: 'SIGSEGV', output: '' })), [0, 1, 0]);
  assert.deepEqual(counted(doctestCounts({ code: 134, output: summary(3, 0) })), [3, 1, 0]);
  assert.deepEqual(counted(nodeTestCounts({ code: 1, output: '' })), [0, 1, 0]);
});

test('node --test: counts', () => {
  const output = 'ℹ tests 7\nℹ pass 4\nℹ fail 1\nℹ cancelled 1\nℹ skipped 1\nℹ todo 0\n';
  assert.deepEqual(counted(nodeTestCounts({ code: 1, output })), [4, 2, 1]);
});
