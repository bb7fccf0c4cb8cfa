// What each step of the quantizer is worth: `npm run accuracy [-- NAME... --pictures N --json FILE --defaults]`.
//
// For every sample network: float; default options; each option switched off by itself or set otherwise; boxes are the share that a
// detector finds as the float network does (IoU 0.5); error is the relative RMS of the worst output; what ONNX Runtime's quantizer reaches
// on the same pictures, where that was measured. Calibration takes calibration pictures only.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { dataFolder, haveData } from './datasets.mjs';
import { feeds, labels, modelBytes, networks } from './networks.mjs';

/** Calibration pictures of a set. */
const calibrationPictures = { cifarCalib: 200, imagenetCalib: 47, mnistCalib: 100 };

/** Label and options, the default first. */
const variants = [
  ['default', {}],
  ['target onnxruntime', { target: 'onnxruntime' }],
  ['no equalization', { equalize: false }],
  ['no bias correction', { biasCorrection: false }],
  ['nearest rounding', { weight: { rounding: 'nearest' } }],
  ['percentile ranges', { activation: { observer: 'percentile' } }],
  ['minmax ranges', { activation: { observer: 'minmax' } }],
  ['entropy ranges', { activation: { observer: 'entropy' } }],
  ['auto ranges', { activation: { observer: 'auto' } }],
  ['pair-safe weights', { weight: { pairSafe: true } }],
  ['weight scale by mse', { weight: { scale: 'mse' } }],
  ['7-bit weights', { weight: { reduceRange: true } }],
  ['per-tensor weights', { weight: { scheme: 'per_tensor_symmetric' } }],
  [
    'none of them',
    { target: 'onnxruntime', equalize: false, biasCorrection: false, weight: { rounding: 'nearest' }, activation: { observer: 'minmax' } },
  ],
];

/**
 * ONNX Runtime 1.21, quantize_static, the best of its calibrations for each figure, on as many pictures (../shared/data: INDEX.md,
 * own/README.md): top-1 on the 1,000 CIFAR pictures, agreement with float in %, relative RMS error of the logits.
 */
const baselines = {
  resnet20_skewed: { top1: 51.8 },
  mobilenetv2_cifar10: { top1: 83.2, agreement: 99.07, error: 0.0194 },
  densenet_tiny: { top1: 78.0, agreement: 97.5, error: 0.0396 },
  digits: { top1: 99.39, agreement: 99.95 },
};

const cell = (value, width, digits) => (value === null || value === undefined ? '-' : value.toFixed(digits)).padStart(width);

function printRow({ network, variant, pictures, top1, agreement, boxes, error, seconds }) {
  console.log(
    `${network.padEnd(20)} ${variant.padEnd(20)} ${cell(pictures, 8, 0)} ${cell(top1, 8, 2)} ${cell(agreement, 10, 2)} ${cell(boxes, 6, 2)} ${cell(error, 8, 4)} ${cell(seconds, 8, 2)}`,
  );
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { pictures: { type: 'string' }, json: { type: 'string' }, defaults: { type: 'boolean', default: false } },
  });
  if (!haveData) {
    console.log(`skipped: no data folder at ${dataFolder} (set OCTAVO_DATA)`);
    return;
  }
  const { compare, createEngine, Model, quantizeStatic } = await import('../dist/index.js');
  const limit = values.pictures ? Number(values.pictures) : Number.POSITIVE_INFINITY;
  const engine = await createEngine({ worker: false });
  const rows = [];
  const add = (row) => {
    rows.push(row);
    printRow(row);
  };
  console.log('network              options              pictures    top-1  agreement  boxes    error  seconds');
  for (const [name, network] of Object.entries(networks)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    if (!existsSync(join(dataFolder, network.file))) continue;
    const model = await Model.load(modelBytes(network), { engine });
    const input = model.inputs[0].name;
    const [first] = feeds(network, input, 'test', 1);
    const inputShapes = { [input]: first[input].shape };
    const known = labels(network, limit);
    for (const [variant, options] of values.defaults ? variants.slice(0, 1) : variants) {
      const calibration = [...feeds(network, input, 'calib', calibrationPictures[network.calib])];
      const start = performance.now();
      const { model: int8 } = await quantizeStatic(model, calibration, { inputShapes, ...options }).result;
      const seconds = (performance.now() - start) / 1000;
      const result = await compare(model, int8, feeds(network, input, 'test', limit), {
        inputShapes,
        layers: false,
        ...(known ? { labels: known } : {}),
      });
      const { samples: pictures, top1, top1Agreement, boxes, outputs } = result;
      if (variant === 'default') add({ network: name, variant: 'float', pictures, top1: top1 ? 100 * top1.a : null });
      add({
        network: name,
        variant,
        pictures,
        top1: top1 ? 100 * top1.b : null,
        agreement: top1Agreement === null ? null : 100 * top1Agreement,
        boxes: boxes && boxes.agreement !== null ? 100 * boxes.agreement : null,
        error: Math.max(...outputs.map(({ relativeRms }) => relativeRms)),
        seconds,
      });
      await int8.close();
    }
    if (baselines[name]) add({ network: name, variant: 'ONNX Runtime, best', ...baselines[name] });
    await model.close();
  }
  await engine.close();
  if (values.json) writeFileSync(values.json, `${JSON.stringify(rows, null, 2)}\n`);
}

if (import.meta.main ?? process.argv[1]?.endsWith('accuracy.mjs')) await main();
