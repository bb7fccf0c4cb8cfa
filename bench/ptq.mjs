// How long a quantization takes in a page, and what memory it needs: `npm run bench:ptq [-- --pictures N --size N --network NAME --json FILE]`.
//
// MobileNetV2 at 224 with 100 generated pictures and default options, in Chromium on one thread. Wanted: under 5 s, under 2 s after calibration.

import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openPackage } from '../tests/web/support.mjs';
import { fail } from '../tools/project.mjs';
import { network, networks } from './architectures.mjs';

/** Runs in the page. Times in milliseconds by stage, memory in bytes. */
async function inPage({ file, shape, pictures }) {
  const { createEngine, Model, quantizeStatic } = window.octavo;
  const engine = await createEngine({ threads: 1 });
  const model = await Model.load(
    Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0)),
    { engine },
  );
  const before = await engine.call('heap', []);
  // Soft random fields, different in each picture and channel, between 0 and 1.
  const [, channels, height, width] = shape;
  const picture = (number) => {
    const data = new Float32Array(channels * height * width);
    for (let c = 0, at = 0; c < channels; c++) {
      const [a, b, d] = [1, 2, 3].map((k) => Math.sin(number * 12.9898 * k + c * 78.233) * 0.2);
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++)
          data[at++] = 0.5 + 0.25 * Math.sin(a * x + b * y + number) + 0.25 * Math.sin(d * x * (1 + a) - y * b);
    }
    return { data, shape };
  };
  const samples = Array.from({ length: pictures }, (_, i) => picture(i));

  const start = performance.now();
  const job = quantizeStatic(model, samples);
  const ends = {};
  let highest = 0;
  for await (const { stage } of job) {
    ends[stage] = performance.now() - start;
    if (stage !== 'calibrate') highest = Math.max(highest, (await engine.call('heap', [])).used);
  }
  await job.result;
  const total = performance.now() - start;
  const { bytes } = await engine.call('heap', []);
  await engine.close();
  return { total, ends, modelMemory: before.used, highest, heap: bytes };
}

async function main() {
  const { values } = parseArgs({
    options: {
      pictures: { type: 'string', default: '100' },
      size: { type: 'string', default: '224' },
      network: { type: 'string', default: 'mobilenetv2' },
      json: { type: 'string' },
    },
  });
  if (!networks[values.network]) throw new Error(`There is no network ${values.network}; there are ${Object.keys(networks).join(', ')}.`);
  const { file, inputShape } = network(values.network, { size: Number(values.size) });
  const pictures = Number(values.pictures);
  const { tab, close } = await openPackage();
  try {
    const options = { file: Buffer.from(file).toString('base64'), shape: inputShape, pictures };
    const { total, ends, modelMemory, highest, heap } = await tab.evaluate(inPage, options);
    const rows = {
      calibration: ends.calibrate,
      'ranges and fitting': ends.quantize - ends.calibrate,
      evaluation: (ends.evaluate ?? ends.quantize) - ends.quantize,
      'report and file': total - (ends.evaluate ?? ends.quantize),
      'after calibration': total - ends.calibrate,
      total,
    };
    console.log(`${values.network} at ${values.size}, ${pictures} pictures, default options, Chromium, one thread`);
    for (const [name, milliseconds] of Object.entries(rows))
      console.log(`${name.padEnd(20)} ${(milliseconds / 1000).toFixed(2).padStart(7)} s`);
    const sampleBytes = 4 * inputShape.reduce((a, b) => a * b, 1);
    const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
    console.log(
      `memory: ${megabytes(heap)} heap, ${megabytes(highest)} in use at most after calibration; the model ${megabytes(modelMemory)}, a sample ${megabytes(sampleBytes)}`,
    );
    if (values.json)
      writeFileSync(values.json, `${JSON.stringify({ ...values, milliseconds: rows, heap, highest, modelMemory }, null, 2)}\n`);
  } finally {
    await close();
  }
}

await main().catch(fail);
