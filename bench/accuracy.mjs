// What each step of the quantizer is worth: `npm run accuracy [-- NAME... --pictures N --json FILE --defaults --markdown FILE]`.
// `--variant NAME` (repeatable) measures those and the default only, `--test SET` on other pictures (datasets.mjs). `--from FILE` (repeatable)
// takes the rows that a run wrote instead of measuring again, so that networks can be measured one by one.
//
// For every sample network: float; default options; each option switched off by itself or set otherwise; boxes are the share that a
// detector finds as the float network does (IoU 0.5); error is the relative RMS of the worst output; what ONNX Runtime's quantizer reaches
// on the same pictures, where that was measured. Calibration takes calibration pictures only.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
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
  ['pair-safe where it is cheap', { weight: { pairSafe: 'auto' } }],
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
 * own/README.md): top-1 on the 1,000 CIFAR pictures or on `pictures`, agreement with float in %, relative RMS error of the logits.
 */
const baselines = {
  resnet20: { pictures: 10000, top1: 81.06 },
  resnet20_skewed: { top1: 51.8 },
  squeezenet11: { pictures: 1000, top1: 60.9 },
  mobilenetv2_deq: { pictures: 1000, top1: 84 },
  mobilenetv2_cifar10: { top1: 83.2, agreement: 99.07, error: 0.0194 },
  densenet_tiny: { top1: 78.0, agreement: 97.5, error: 0.0396 },
  digits: { top1: 99.39, agreement: 99.95 },
};

/** What default options are to reach: of a row, and how far it has to be from the row of the float network. */
const aims = [
  ['resnet20', 'default', 'top-1 at least float - 0.2', (row, float) => row.top1 >= float.top1 - 0.2001],
  ['resnet20_skewed', 'default', 'top-1 at least 80.0, agreement at least 98 %', (row) => row.top1 >= 80 && row.agreement >= 98],
  ['resnet20_skewed', 'per-tensor weights', 'top-1 at least 79.0', (row) => row.top1 >= 79],
  ['squeezenet11', 'default', 'top-1 at least float - 0.5', (row, float) => row.top1 >= float.top1 - 0.5001],
  [
    'mobilenetv2_cifar10',
    'default',
    'agreement at least 99.5 %, error at most 0.0125',
    (row) => row.agreement >= 99.5 && row.error <= 0.0125,
  ],
  ['mobilenetv2_cifar10', 'target onnxruntime', 'error at most 0.0155', (row) => row.error <= 0.0155],
  ['densenet_tiny', 'default', 'agreement at least 98.8 %, error at most 0.0195', (row) => row.agreement >= 98.8 && row.error <= 0.0195],
  ['densenet_tiny', 'target onnxruntime', 'error at most 0.0305', (row) => row.error <= 0.0305],
  ['digits', 'default', 'top-1 at least float - 0.06 (99.30 where float has 99.36)', (row, float) => row.top1 >= float.top1 - 0.0601],
  [
    'digits',
    'default',
    "error at most 0.65 of that of ONNX Runtime's recipe ('none of them')",
    (row, _float, find) => row.error <= 0.65 * find('none of them').error,
  ],
  ['rfb320', 'default', 'box agreement at least 98 %', (row) => row.boxes >= 98],
  ['yunet', 'default', 'box agreement at least 98 %', (row) => row.boxes >= 98],
  ['rfb320 on imagenetTest', 'default', 'box agreement at least 98 %', (row) => row.boxes >= 98],
  ['yunet on imagenetTest', 'default', 'box agreement at least 98 %', (row) => row.boxes >= 98],
];
const mostPairSafe = 1.05; // of the default's error

const number = (value, digits) => (value === null || value === undefined ? '' : value.toFixed(digits));
const reached = (row) =>
  [
    [row.top1, 2, ''],
    [row.agreement, 2, ' % agree'],
    [row.boxes, 2, ' % of boxes'],
    [row.error, 4, ' error'],
  ]
    .filter(([value]) => value !== null && value !== undefined)
    .map(([value, digits, unit]) => `${value.toFixed(digits)}${unit}`)
    .join(', ');

/** docs/accuracy.md of measured rows. */
export function accuracyPage(rows) {
  const find = (network, variant) => rows.find((row) => row.network === network && row.variant === variant);
  const aimRows = aims.flatMap(([network, variant, words, holds]) => {
    const [row, float] = [find(network, variant), find(network, 'float')];
    return row
      ? [
          `| ${network} | ${variant} | ${words} | ${reached(row)} | ${holds(row, float, (name) => find(network, name)) ? 'yes' : '**no**'} |`,
        ]
      : [];
  });
  const pairRows = [...new Set(rows.map(({ network }) => network))].flatMap((network) => {
    const [plain, safe] = [find(network, 'default'), find(network, 'pair-safe weights')];
    if (!plain || !safe) return [];
    const words = `error at most ${mostPairSafe} of the default's`;
    const ratio = safe.error / plain.error;
    return [`| ${network} | pair-safe weights | ${words} | ${ratio.toFixed(3)} | ${ratio <= mostPairSafe ? 'yes' : '**no**'} |`];
  });
  const table = rows.map(
    (row) =>
      `| ${row.network} | ${row.variant} | ${number(row.pictures, 0)} | ${number(row.top1, 2)} | ${number(row.agreement, 2)} | ${number(row.boxes, 2)} | ${number(row.error, 4)} | ${number(row.seconds, 1)} |`,
  );
  return `# Accuracy

What int8 keeps of the sample networks, with default options and with each option set otherwise by itself. Calibration takes 200 CIFAR pictures, 47 of
ImageNet or 100 digits, never test pictures. Written by

    npm run accuracy -- --json rows.json
    npm run accuracy -- rfb320 yunet --test imagenetTest --json wild.json
    npm run accuracy -- --from rows.json --from wild.json --markdown docs/accuracy.md

"Agreement" is the share of pictures with the float network's answer, "boxes" that of the float network's boxes with a partner of the same class at
IoU 0.5, "error" the relative RMS error of the worst output. "ONNX Runtime, best" is the best of its calibrations on the same pictures, "none of them"
what its recipe gives here (MinMax, weights to the nearest code, Q and DQ where its quantizer puts them).

The detectors have two pictures with faces, and so have the two networks without labels (vww, ppocr_cls): their errors there tell little. 200 of ImageNet,
which are none of faces, are the detectors' harder test. Where an option has no row, it was not measured for that network (\`--variant\` chooses). Of the
digits there are 5,000 test pictures here; the float network gets 99.36 of all 10,000. ONNX Runtime's figures for resnet20, squeezenet11 and
mobilenetv2_deq are of more pictures than are here, on which the float networks get 81.03, 61.5 and 83.7. "Seconds" are those of quantizing, report
included, in Node on one thread beside other work: what an option costs beside another, not how fast it is (\`npm run bench:ptq\`).

## What is to be reached

| network | options | wanted | measured | reached |
| --- | --- | --- | --- | --- |
${[...aimRows, ...pairRows].join('\n')}

## All

| network | options | pictures | top-1 | agreement % | boxes % | error | seconds |
| --- | --- | --- | --- | --- | --- | --- | --- |
${table.join('\n')}
`;
}

const cell = (value, width, digits) => (value === null || value === undefined ? '-' : value.toFixed(digits)).padStart(width);

function printRow({ network, variant, pictures, top1, agreement, boxes, error, seconds }) {
  console.log(
    `${network.padEnd(20)} ${variant.padEnd(20)} ${cell(pictures, 8, 0)} ${cell(top1, 8, 2)} ${cell(agreement, 10, 2)} ${cell(boxes, 6, 2)} ${cell(error, 8, 4)} ${cell(seconds, 8, 2)}`,
  );
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      pictures: { type: 'string' },
      json: { type: 'string' },
      markdown: { type: 'string' },
      from: { type: 'string', multiple: true, default: [] },
      defaults: { type: 'boolean', default: false },
      variant: { type: 'string', multiple: true, default: [] },
      test: { type: 'string' },
    },
  });
  const finish = (rows) => {
    if (values.json) writeFileSync(values.json, `${JSON.stringify(rows, null, 2)}\n`);
    if (values.markdown) writeFileSync(values.markdown, accuracyPage(rows));
  };
  if (values.from.length > 0) {
    finish(values.from.flatMap((file) => JSON.parse(readFileSync(file, 'utf8'))));
    return;
  }
  if (!haveData) {
    console.log(`skipped: no data folder at ${dataFolder} (set OCTAVO_DATA)`);
    return;
  }
  const { compare, createEngine, Model, quantizeStatic } = await import('../dist/index.js');
  const limit = values.pictures ? Number(values.pictures) : Number.POSITIVE_INFINITY;
  const named = ['default', ...values.variant];
  const chosen = values.variant.length === 0 && !values.defaults ? variants : variants.filter(([variant]) => named.includes(variant));
  const engine = await createEngine({ worker: false });
  const rows = [];
  const add = (row) => {
    rows.push(row);
    printRow(row);
  };
  console.log('network              options              pictures    top-1  agreement  boxes    error  seconds');
  for (const [plain, own] of Object.entries(networks)) {
    if (positionals.length > 0 && !positionals.includes(plain)) continue;
    const network = values.test ? { ...own, test: values.test } : own;
    const name = values.test ? `${plain} on ${values.test}` : plain;
    if (!existsSync(join(dataFolder, network.file))) continue;
    const model = await Model.load(modelBytes(network), { engine });
    const input = model.inputs[0].name;
    const [first] = feeds(network, input, 'test', 1);
    const inputShapes = { [input]: first[input].shape };
    const known = labels(network, limit);
    for (const [variant, options] of chosen) {
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
  finish(rows);
}

if (import.meta.main ?? process.argv[1]?.endsWith('accuracy.mjs')) await main();
