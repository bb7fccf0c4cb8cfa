// The races of `npm run bench`, small: all engines compute the same network, int8 and float, before anyone is timed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { network } from '../../bench/architectures.mjs';
import { Browser, networkModels, race, settings } from '../../bench/bench.mjs';
import { createEngine } from '../../dist/index.js';
import { browserName } from './support.mjs';

test('Octavo, LiteRT.js and ONNX Runtime Web compute the same MobileNetV3', {
  skip: browserName !== 'chromium' && 'in Chromium',
}, async () => {
  await using engine = await createEngine({ worker: false });
  await using browser = await Browser.open('chromium');
  const { urls, inputShape, macs } = await networkModels(engine, 'mobilenetv3', { size: 64 });
  assert.equal(macs, network('mobilenetv3', { size: 64 }).macs);
  const rows = await race(browser, settings.one, urls, inputShape, { rounds: 2, slice: 1, warmUp: 3 });
  for (const { engine: name, type, error, times, agreement } of rows) {
    assert.equal(error, undefined, `${name} ${type}: ${error}`);
    assert.equal(times.length, 2);
    assert.ok(times.every((time) => time > 0));
    assert.ok(agreement.decibels >= (type === 'int8' ? 25 : 60), `${name} ${type}: ${agreement.decibels} dB`);
  }
  assert.equal(rows.length, 6);
});
