// The sample networks with their preprocessing, calibration and test pictures, and a command that prints how float and
// int8 do on them: `npm run networks [-- NAME... --pictures N --json FILE]`.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { dataFolder, dataset, haveData, toTensor } from './datasets.mjs';

function countBy(items, key) {
  const counts = {};
  for (const item of items) counts[item[key]] = (counts[item[key]] ?? 0) + 1;
  return counts;
}

const cifarResnet = { height: 32, width: 32, scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const cifarOwn = { height: 32, width: 32, scale: 1 / 255, mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] };
const cifar = { calib: 'cifarCalib', test: 'cifarTest' };
const mnist = { calib: 'mnistCalib', test: 'mnistTest' };
const imagenet = { calib: 'imagenetCalib', test: 'imagenetTest' };
const unlabelled = { calib: 'imagenetCalib', test: 'misc', labelled: false };

/** file, input name comes from the model; `labelled: false` where top-1 has no meaning. */
export const networks = {
  resnet20: { file: 'models/resnet20_cifar10_bn.onnx', input: cifarResnet, ...cifar },
  resnet20_skewed: { file: 'models/resnet20_cifar10_skewed_bn.onnx', input: cifarResnet, ...cifar },
  mlperf_resnet8: { file: 'models/mlperf_resnet8_cifar10_bn.onnx', input: { height: 32, width: 32 }, ...cifar },
  mobilenetv2_cifar10: { file: 'own/mobilenetv2_cifar10_bn.onnx', input: cifarOwn, ...cifar },
  densenet_tiny: { file: 'own/densenet_tiny_cifar10_bn.onnx', input: cifarOwn, ...cifar },
  digits: { file: 'own/digits_mobilenet_bn.onnx', input: { height: 28, width: 28, channels: 1, scale: 1 / 255 }, ...mnist },
  mnist_cntk: { file: 'models/mnist_cntk_op7.onnx', input: { height: 28, width: 28, channels: 1 }, ...mnist },
  squeezenet11: {
    file: 'models/squeezenet11_fp32.onnx',
    input: { height: 224, width: 224, bgr: true, mean: [103.94, 116.78, 123.68] },
    ...imagenet,
  },
  mobilenetv2_deq: {
    file: 'models/mobilenetv2_deq.onnx',
    input: { height: 244, width: 244, scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
    ...imagenet,
  },
  vww: { file: 'models/vww_mobilenetv1_025_96_bn.onnx', input: { height: 96, width: 96, scale: 1 / 255 }, ...unlabelled },
  rfb320: { file: 'models/version-RFB-320.onnx', input: { height: 240, width: 320, mean: [127], std: [128] }, ...unlabelled },
  yunet: { file: 'models/yunet_n_320.onnx', input: { height: 320, width: 320, bgr: true }, ...unlabelled },
  ppocr_cls: {
    file: 'models/ch_ppocr_mobile_v2.0_cls_infer.onnx',
    input: { height: 48, width: 192, scale: 1 / 255, mean: [0.5], std: [0.5] },
    ...unlabelled,
  },
};

export const modelBytes = (network) => new Uint8Array(readFileSync(join(dataFolder, network.file)));

/** Feeds of a network's picture set, at most `limit`: an iterable of { [input]: { data, shape } }. */
export function* feeds(network, inputName, set, limit = Number.POSITIVE_INFINITY) {
  let n = 0;
  for (const picture of dataset(network[set])) {
    if (n++ >= limit) return;
    yield { [inputName]: toTensor(picture, network.input) };
  }
}

export const labels = (network, limit = Number.POSITIVE_INFINITY) =>
  network.labelled === false
    ? undefined
    : dataset(network.test)
        .slice(0, limit)
        .map((picture) => picture.label);

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { pictures: { type: 'string' }, json: { type: 'string' }, observer: { type: 'string', default: 'mse' } },
  });
  if (!haveData) {
    console.log(`skipped: no data folder at ${dataFolder} (set OCTAVO_DATA)`);
    return;
  }
  const { compare, createEngine, InferenceSession, Model, quantizeStatic } = await import('../dist/index.js');
  const ort = await import('onnxruntime-node');
  const limit = values.pictures ? Number(values.pictures) : Number.POSITIVE_INFINITY;
  const engine = await createEngine({ worker: false });
  const rows = [];
  console.log(`engine: ${engine.features.isa}, ${engine.features.engineClass}; observer ${values.observer}`);
  console.log(
    'network              pictures  float top-1  int8 top-1  agreement  output SQNR  float/ORT   ms float  ms int8  kB float  kB int8',
  );
  for (const [name, network] of Object.entries(networks)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    if (!existsSync(join(dataFolder, network.file))) continue;
    const bytes = modelBytes(network);
    const model = await Model.load(bytes, { engine });
    const input = model.inputs[0].name;
    const [first] = feeds(network, input, 'test', 1);
    const inputShapes = { [input]: first[input].shape };

    // Float against ONNX Runtime: the largest difference over the output's range.
    const reference = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 });
    const feed = { [input]: new ort.Tensor('float32', first[input].data, first[input].shape) };
    const expected = await reference.run(feed);
    const session = await InferenceSession.create(model, { inputShapes, engine });
    const actual = await session.run(first);
    let error = 0;
    for (const output of session.outputNames) {
      const [a, b] = [expected[output].data, actual[output].data];
      let [low, high, worst] = [0, 0, 0];
      for (let i = 0; i < a.length; i++) {
        low = Math.min(low, a[i]);
        high = Math.max(high, a[i]);
        worst = Math.max(worst, Math.abs(a[i] - b[i]));
      }
      error = Math.max(error, worst / (high - low || 1));
    }
    await session.close();

    const job = quantizeStatic(model, feeds(network, input, 'calib', 200), { inputShapes, activation: { observer: values.observer } });
    const { model: int8, report } = await job.result;
    const known = labels(network, limit);
    const result = await compare(model, int8, feeds(network, input, 'test', limit), {
      inputShapes,
      layers: false,
      ...(known ? { labels: known } : {}),
    });
    const exported = await int8.toONNX();
    const row = {
      network: name,
      pictures: result.samples,
      float: known ? result.top1.a * 100 : null,
      int8: known ? result.top1.b * 100 : null,
      agreement: result.top1Agreement === null ? null : result.top1Agreement * 100,
      sqnr: result.outputs[0].sqnr,
      floatError: error,
      floatMs: result.milliseconds.a,
      int8Ms: result.milliseconds.b,
      floatBytes: bytes.length,
      int8Bytes: exported.length,
      fates: countBy(report.nodes, 'fate'),
    };
    rows.push(row);
    const cell = (value, width, digits = 2) => (value === null ? '-' : value.toFixed(digits)).padStart(width);
    console.log(
      `${name.padEnd(20)} ${String(row.pictures).padStart(8)} ${cell(row.float, 12)} ${cell(row.int8, 11)} ${cell(row.agreement, 10)} ` +
        `${cell(row.sqnr, 12, 1)} ${row.floatError.toExponential(1).padStart(10)} ${cell(row.floatMs, 10)} ${cell(row.int8Ms, 8)} ` +
        `${cell(row.floatBytes / 1e3, 9, 0)} ${cell(row.int8Bytes / 1e3, 8, 0)}`,
    );
    await int8.close();
    await model.close();
  }
  await engine.close();
  if (values.json) writeFileSync(values.json, `${JSON.stringify(rows, null, 2)}\n`);
}

if (import.meta.main ?? process.argv[1]?.endsWith('networks.mjs')) await main();
