// A browser makes the same int8 file and the same logits as Node and the native build, in both modules.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parityWork, parseParity } from '../js/parity-work.mjs';
import { root } from '../js/support.mjs';
import { browserName, openPackage } from './support.mjs';

test(`${browserName} makes the file and the logits that tests/data/parity.txt names`, async () => {
  const { tab, close } = await openPackage();
  try {
    const wanted = parseParity(readFileSync(join(root, 'tests/data/parity.txt'), 'utf8'));
    for (const isa of ['simd', 'relaxed']) {
      const made = await tab.evaluate(
        async (source, level) => {
          const work = new Function(`return (${source})`)();
          const network = await (await fetch('/web/public/samples/digits_mobilenet_bn.onnx')).arrayBuffer();
          return work(window.octavo, new Uint8Array(network), level);
        },
        parityWork.toString(),
        isa,
      );
      assert.deepEqual(made, wanted, `${browserName} with ${isa}`);
    }
  } finally {
    await close();
  }
});
