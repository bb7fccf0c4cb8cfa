// The command line: every command, its output and its exit codes.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { convModel, digits, digitsModel, onnx, root } from '../js/support.mjs';

let folder;
const at = (...names) => join(folder, ...names);
/** Runs octavo; gives { code, out, err }. */
const octavo = (...args) =>
  new Promise((resolve) => {
    execFile(process.execPath, [join(root, 'dist/cli.js'), ...args], { cwd: folder }, (error, out, err) =>
      resolve({ code: error ? error.code : 0, out, err }),
    );
  });

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'octavo-cli-'));
  writeFileSync(at('digits.onnx'), digitsModel());
  for (const [set, count] of [
    ['train', 30],
    ['test', 20],
  ]) {
    mkdirSync(at(set));
    const lines = [];
    digits(set, count).forEach(({ feed, label }, i) => {
      const png = new PNG({ width: 28, height: 28 });
      feed.data.forEach((value, k) => png.data.set([value * 255, value * 255, value * 255, 255], 4 * k));
      const name = `${String(i).padStart(3, '0')}.png`;
      writeFileSync(at(set, name), PNG.sync.write(png));
      lines.push(`${name}\t${label}`);
    });
    writeFileSync(at(`${set}.tsv`), lines.join('\n'));
  }
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('octavo quantize writes a model and a report, octavo compare measures it', async () => {
  const made = await octavo(
    'quantize',
    'digits.onnx',
    '--calib',
    'train',
    '--out',
    'int8.onnx',
    '--report',
    'report.html',
    '--eval',
    'test',
    '--labels',
    'test.tsv',
    '--preset',
    'unit',
  );
  assert.equal(made.code, 0, made.err);
  assert.match(made.out, /int8\.onnx: 150\.7 kB -> \d+\.\d kB; nodes: .*int8/);
  assert.match(made.out, /output logits: \d+\.\d dB/);
  assert.match(made.err, /^calibrate\n/); // no terminal: a line a stage
  assert.ok(!made.err.includes('\r'));
  assert.match(made.out, /top-1 on --eval: float \d+\.\d\d %, int8 \d+\.\d\d %/);
  assert.match(readFileSync(at('report.html'), 'utf8'), /Quantization report[\s\S]*right answers/);

  const compared = await octavo(
    'compare',
    'digits.onnx',
    'int8.onnx',
    '--data',
    'test',
    '--labels',
    'test.tsv',
    '--preset',
    'unit',
    '--json',
  );
  assert.equal(compared.code, 0, compared.err);
  const result = JSON.parse(compared.out);
  assert.equal(result.samples, 20);
  assert.ok(result.top1.a >= 0.95 && result.top1.b >= 0.9, JSON.stringify(result.top1));
  assert.ok(result.outputs[0].kl >= 0 && result.outputs[0].kl < 0.05, `${result.outputs[0].kl}`);
  assert.match(result.worst.picture, /^0\d\d\.png$/);
  assert.equal(result.boxes, null);
  const shown = await octavo('compare', 'digits.onnx', 'int8.onnx', '--data', 'test', '--preset', 'unit', '--max-drop', '100');
  assert.equal(shown.code, 0);
  assert.match(shown.out, /20 pictures/);
  assert.match(shown.out, /KL divergence/);
  assert.match(shown.out, /largest difference on 0\d\d\.png/);
  assert.match(shown.out, /layer +op +type +SQNR/);
});

test('octavo quantize takes its options and gives JSON', async () => {
  const { code, out, err } = await octavo(
    'quantize',
    'digits.onnx',
    '--calib',
    'train',
    '--out',
    'o.onnx',
    '--report',
    'o.json',
    '--preset',
    'unit',
    '--samples',
    '5',
    '--observer',
    'percentile',
    '--percentile',
    '99.9',
    '--per-tensor',
    '--bn',
    'fold',
    '--bn-export',
    'batchnorm',
    '--opset',
    '13',
    '--exclude',
    '/stem/*',
    '--exclude-op',
    'Gemm',
    '--json',
  );
  assert.equal(code, 0, err);
  const { report, bytes } = JSON.parse(out);
  assert.equal(report.samples, 5);
  assert.equal(report.nodes.find(({ name }) => name === '/stem/Conv').fate, 'float');
  assert.equal(report.nodes.find(({ op }) => op === 'Gemm').fate, 'float');
  assert.equal(bytes.int8, readFileSync(at('o.onnx')).length);
  assert.equal(JSON.parse(readFileSync(at('o.json'), 'utf8')).samples, 5);
});

test('octavo sensitivity lists what each layer costs, the worst first', async () => {
  const pictures = ['digits.onnx', '--calib', 'train', '--preset', 'unit', '--samples', '4'];
  const { code, out, err } = await octavo('sensitivity', ...pictures);
  assert.equal(code, 0, err);
  const shares = [...out.matchAll(/([\d.]+) % {2,}[\d.]+ % /g)].map(([, share]) => Number(share));
  assert.ok(shares.length > 5, out);
  assert.deepEqual(
    shares,
    [...shares].sort((a, b) => b - a),
  );
  const json = await octavo('sensitivity', ...pictures, '--exclude', '/stem/*', '--json');
  const layers = JSON.parse(json.out);
  assert.equal(layers.length, shares.length - 1);
  assert.ok(layers.every(({ alone, sequence }) => alone.relativeRms > 0 && sequence.relativeRms > 0));
});

test('octavo quantize --budget keeps layers float until no more is lost, or exits with 3', async () => {
  const quantize = (...more) =>
    octavo('quantize', 'digits.onnx', '--calib', 'train', '--samples', '4', '--preset', 'unit', '--out', 'b.onnx', ...more);
  const plain = await quantize('--budget', 'sqnr:0.9', '--json');
  assert.equal(plain.code, 0, plain.err);
  const { int8Drop, float } = JSON.parse(plain.out).report.budget;
  assert.deepEqual(float, []);
  const half = await quantize('--budget', `sqnr:${int8Drop / 2}`);
  assert.equal(half.code, 0, half.err);
  assert.match(half.out, /budget sqnr: loses .* in float \([\d.]+ ms more\)/);
  const missed = await quantize('--budget', 'sqnr:-1');
  assert.equal(missed.code, 3);
  assert.match(missed.err, /budget missed: sqnr loses [\d.e-]+ at best, allowed -1/);
  assert.equal((await quantize('--budget', 'speed:1')).code, 1);
});

test('octavo quantize follows a recipe to the byte', async () => {
  const calib = ['--calib', 'train', '--out'];
  const made = await octavo(
    'quantize',
    'digits.onnx',
    ...calib,
    'first.onnx',
    '--preset',
    'unit',
    '--opset',
    '14',
    '--rounding',
    'nearest',
    '--no-equalize',
    '--no-bias-correction',
    '--save-recipe',
    'r.json',
    '--save-calibration',
    'c.json',
  );
  assert.equal(made.code, 0, made.err);
  const first = readFileSync(at('first.onnx'));
  const recipe = JSON.parse(readFileSync(at('r.json'), 'utf8'));
  assert.deepEqual(recipe.image, { size: [28, 28], range: [0, 1], layout: 'NCHW', channels: 'GRAY' });
  assert.equal(recipe.file.bytes, first.length);
  // Of no picture, or of some for the report; with other flags it is wrong usage.
  for (const more of [
    ['--out', 'second.onnx'],
    [...calib, 'second.onnx', '--eval', 'test', '--labels', 'test.tsv'],
  ]) {
    const again = await octavo('quantize', 'digits.onnx', '--recipe', 'r.json', ...more);
    assert.equal(again.code, 0, again.err);
    assert.ok(first.equals(readFileSync(at('second.onnx'))));
  }
  writeFileSync(at('odd.recipe'), '{');
  writeFileSync(at('two.recipe'), JSON.stringify({ ...recipe, version: 2 }));
  writeFileSync(at('conv.onnx'), convModel({ inChannels: 1, shape: [1, 1, 28, 28] }));
  for (const [args, code, says] of [
    [['digits.onnx', '--recipe', 'r.json', '--opset', '15'], 1, /--opset/],
    [['digits.onnx', '--recipe', 'r.json', '--preset', 'raw'], 1, /--preset/],
    [['digits.onnx', '--recipe', 'odd.recipe'], 1, /not JSON/],
    [['digits.onnx', '--recipe', 'two.recipe'], 1, /version 2/],
    [['conv.onnx', '--recipe', 'r.json'], 2, /RECIPE_MISMATCH.*another model/],
  ]) {
    const bad = await octavo('quantize', ...args, '--out', 'third.onnx');
    assert.equal(bad.code, code, bad.err);
    assert.match(bad.err, says);
  }
  assert.ok(!existsSync(at('third.onnx')));

  const flags = ['--preset', 'unit', '--opset', '14', '--rounding', 'nearest', '--no-equalize', '--no-bias-correction'];
  const loaded = await octavo('quantize', 'digits.onnx', ...calib, 'third.onnx', ...flags, '--load-calibration', 'c.json');
  assert.equal(loaded.code, 0, loaded.err);
  assert.ok(first.equals(readFileSync(at('third.onnx'))));
  const wrong = await octavo('quantize', 'digits.onnx', ...calib, 'third.onnx', '--load-calibration', 'r.json');
  assert.equal(wrong.code, 1);
  assert.match(wrong.err, /no calibration/);
});

test("octavo quantize knows ONNX Runtime's names", async () => {
  const quantize = async (...flags) => {
    const made = await octavo('quantize', 'digits.onnx', '--calib', 'train', '--samples', '4', '--out', 'n.onnx', '--json', ...flags);
    assert.equal(made.code, 0, made.err);
    return JSON.parse(made.out).report;
  };
  const fates = (report, wanted) => report.nodes.filter(wanted).map(({ fate }) => fate);
  let report = await quantize('--calibration-method', 'MinMax', '--activation-type', 'QInt8', '--weight-type', 'QInt8', '--per-channel');
  assert.equal(report.options.activation.observer, 'minmax');
  assert.equal(report.options.activation.dtype, 'qint8');
  report = await quantize('--calibration-method', 'MovingAverage', '--averaging-constant', '0.5', '--evaluate-samples', '2');
  assert.equal(report.options.activation.averagingConstant, 0.5);
  assert.equal(report.evaluatedSamples, 2);
  report = await quantize('--nodes-to-exclude', '/stem/Conv', '--observer-for', 'image=minmax');
  assert.deepEqual(
    fates(report, ({ name }) => name === '/stem/Conv'),
    ['float'],
  );
  assert.equal(report.tensors.find(({ name }) => name === 'image').observer, 'minmax');
  assert.deepEqual(report.options.observerOverrides, { image: 'minmax' });
  report = await quantize('--op-types-to-quantize', 'Conv');
  assert.ok(fates(report, ({ op }) => op === 'Conv').includes('int8'));
  assert.ok(!fates(report, ({ op }) => op === 'Gemm' || op === 'Add').includes('int8'));
  report = await quantize('--nodes-to-quantize', '/stem/Conv');
  assert.deepEqual(fates(report, ({ fate }) => fate === 'int8').length, 1);

  for (const [flags, says] of [
    [['--op-types-to-quantize', 'Konv'], /no 'Konv'.*Conv/],
    [['--nodes-to-quantize', 'stem'], /no 'stem'/],
    [['--observer-for', 'image'], /TENSOR=OBSERVER/],
    [['--observer-for', 'image=best'], /minmax/],
    [['--calibration-method', 'MinMax', '--observer', 'mse'], /cannot be used with/],
    [['--per-channel', '--per-tensor'], /cannot be used with/],
  ]) {
    const { code, err } = await octavo('quantize', 'digits.onnx', '--calib', 'train', '--out', 'n.onnx', ...flags);
    assert.equal(code, 1, err);
    assert.match(err, says);
  }
});

test('octavo run prints classes, octavo inspect the plan, octavo bench the layers', async () => {
  const run = await octavo('run', 'digits.onnx', 'test', '--preset', 'unit', '--top', '1', '--samples', '3');
  assert.equal(run.code, 0, run.err);
  const answers = [...run.out.matchAll(/logits +top 1: (\d)/g)].map(([, answer]) => Number(answer));
  assert.deepEqual(
    answers,
    digits('test', 3).map(({ label }) => label),
  );
  const json = JSON.parse((await octavo('run', 'digits.onnx', 'test/000.png', '--preset', 'unit', '--json')).out);
  assert.deepEqual(json[0].outputs.logits.shape, [1, 10]);

  const inspect = await octavo('inspect', 'digits.onnx');
  assert.match(inspect.out, /opset 1\d/);
  assert.match(inspect.out, /\/stem\/Conv +Conv +\[.*\] +int8/);
  assert.equal(JSON.parse((await octavo('inspect', 'digits.onnx', '--json')).out).nodes.length, 55);

  const conv = { op: 'Conv', name: 'conv', inputs: ['x', 'w'], outputs: ['y'], attrs: { kernel_shape: [3, 3] } };
  const weights = [{ name: 'w', shape: [2, 2, 3, 3], data: new Float32Array(36) }];
  writeFileSync(at('wide.onnx'), onnx({ nodes: [conv], weights, inputs: [{ name: 'x', shape: ['N', 2, 'h', 'w'] }], opset: 9 }));
  assert.match((await octavo('inspect', 'wide.onnx')).out, /opset 9[\s\S]*sizes open[\s\S]*conv +Conv/);

  const bench = await octavo('bench', 'digits.onnx', '--runs', '3');
  assert.equal(bench.code, 0, bench.err);
  assert.match(bench.out, /median .* ms of 3 runs/);
  assert.match(bench.out, /GMAC\/s/);
  assert.equal(JSON.parse((await octavo('bench', 'digits.onnx', '--runs', '3', '--json')).out).runs, 3);
});

test('exit 1 for wrong usage, with what is allowed', async () => {
  writeFileSync(at('odd.json'), '{"000.png": 1,');
  for (const [args, says] of [
    [['quantize', 'digits.onnx'], /--calib/],
    [['quantise'], /unknown command/],
    [['quantize', 'digits.onnx', '--calib', 'train', '--out', 'x.onnx', '--observer', 'best'], /minmax/],
    [['run', 'digits.onnx', 'test', '--top', 'many'], /whole number/],
    [['run', 'digits.onnx', 'test', '--mean', '0.5,'], /Give a number/],
    [['quantize', 'digits.onnx', '--calib', 'train', '--out', 'x.onnx', '--percentile', 'most'], /Give a number/],
    [['quantize', 'digits.onnx', '--calib', 'train', '--out', 'no/such/x.onnx'], /no\/such\/x\.onnx.*cannot be written/],
    [['quantize', 'digits.onnx', '--calib', 'train', '--out', 'x.onnx', '--labels', 'test.tsv'], /--eval/],
    [['compare', 'digits.onnx', 'digits.onnx', '--data', 'test', '--labels', 'odd.json'], /odd\.json.*not JSON/],
  ]) {
    const { code, err } = await octavo(...args);
    assert.equal(code, 1, args.join(' '));
    assert.match(err, says);
  }
  assert.equal((await octavo('--help')).code, 0);
  assert.match((await octavo('quantize', '--help')).out, /--calib/);
  assert.match((await octavo('--version')).out, /^\d+\.\d+\.\d+/);
});

test('exit 2 for bad input, with code, place and hint', async () => {
  writeFileSync(at('text.onnx'), '<html>');
  writeFileSync(
    at('foo.onnx'),
    onnx({
      nodes: [
        { op: 'Foo', name: 'first', inputs: ['x'], outputs: ['a'] },
        { op: 'Bar', name: 'second', inputs: ['a'], outputs: ['y'] },
      ],
    }),
  );
  writeFileSync(at('picture.onnx'), readFileSync(at('test/000.png')));
  writeFileSync(at('endless.onnx'), new Uint8Array(2_000_000).fill(255));
  writeFileSync(at('backwards.onnx'), Uint8Array.of(0x08, 0x08, 0x3a, 0xfe, ...new Uint8Array(8).fill(255), 0x01));
  writeFileSync(at('open.onnx'), convModel({ shape: ['N', 2, 'h', 'w'] }));
  mkdirSync(at('bad'));
  writeFileSync(at('bad/a.png'), 'no picture');
  mkdirSync(at('none'));
  for (const [args, says] of [
    [['inspect', 'gone.onnx'], /FETCH_FAILED.*gone\.onnx/],
    [['inspect', 'text.onnx'], /INVALID_MODEL: text\.onnx: .*web page/],
    [['inspect', 'picture.onnx'], /INVALID_MODEL: picture\.onnx: /],
    // Numbers that do not end, and a length that leads backwards.
    [['inspect', 'endless.onnx'], /INVALID_MODEL: endless\.onnx: /],
    [['inspect', 'backwards.onnx'], /TRUNCATED_MODEL: backwards\.onnx, field 7: /],
    [['inspect', 'foo.onnx'], /UNSUPPORTED_OP.*'first'.*Foo[\s\S]*also node 'second'/],
    [['quantize', 'digits.onnx', '--calib', 'bad', '--out', 'x.onnx'], /BAD_IMAGE.*a\.png/],
    [['quantize', 'digits.onnx', '--calib', 'none', '--out', 'x.onnx'], /NO_SAMPLES.*none/],
    [['quantize', 'digits.onnx', '--calib', 'nowhere', '--out', 'x.onnx'], /NO_SAMPLES.*nowhere/],
    [['run', 'open.onnx', 'test'], /DYNAMIC_DIMENSION.*--size/],
    [['run', 'digits.onnx', 'test', '--size', '32,32'], /SAMPLE_SHAPE.*28/],
    [['compare', 'digits.onnx', 'digits.onnx', '--data', 'test', '--labels', 'train.tsv.gone'], /FETCH_FAILED/],
  ]) {
    const { code, err } = await octavo(...args);
    assert.equal(code, 2, `${args.join(' ')}: ${err}`);
    assert.match(err, says);
  }
  assert.ok(!existsSync(at('x.onnx')), 'nothing is written when it fails');
});

test('a terminal is not commanded by the names in a model', async () => {
  const nasty = 'a\u001b[2J\u0007\nerror FAKE: b\u009b1m';
  const names = (op) => onnx({ nodes: [{ op, name: nasty, inputs: ['x'], outputs: ['y'] }] });
  writeFileSync(at('nasty.onnx'), names('Relu'));
  writeFileSync(at('nastier.onnx'), names('Foo'));
  const spelled = 'a\\x1b[2J\\x07\\x0aerror FAKE: b\\x9b1m';
  const { out } = await octavo('inspect', 'nasty.onnx');
  const { code, err } = await octavo('inspect', 'nastier.onnx');
  assert.equal(code, 2);
  for (const text of [out, err]) assert.ok(text.includes(spelled) && !text.includes('\u001b') && !text.includes('\u009b'), text);
});

test('octavo run prints the range of an output as large as a picture', async () => {
  const side = 28 * 50;
  writeFileSync(
    at('large.onnx'),
    onnx({
      nodes: [{ op: 'Resize', name: 'resize', inputs: ['x', '', 'scales'], outputs: ['y'] }],
      inputs: [{ name: 'x', shape: [1, 1, 28, 28] }],
      outputs: [{ name: 'y', shape: [1, 1, side, side] }],
      weights: [{ name: 'scales', shape: [4], data: Float32Array.of(1, 1, 50, 50) }],
    }),
  );
  const { code, out, err } = await octavo('run', 'large.onnx', 'test/000.png', '--preset', 'unit');
  assert.equal(code, 0, err);
  assert.match(out, /000\.png {2}y {2}\[1, 1, 1400, 1400\], 0\.000 to (1\.000|0\.9\d+)/);
});

test("the layout is told by the model's shape", async () => {
  const shape = ['N', 28, 28, 1];
  const nodes = [{ op: 'Flatten', inputs: ['x'], outputs: ['y'] }];
  writeFileSync(at('nhwc.onnx'), onnx({ nodes, inputs: [{ name: 'x', shape }], outputs: [{ name: 'y', shape: ['N', 784] }] }));
  const { code, out, err } = await octavo('run', 'nhwc.onnx', 'test/000.png', '--preset', 'raw', '--json');
  assert.equal(code, 0, err);
  assert.deepEqual(
    JSON.parse(out)[0].outputs.y.data.map(Math.round),
    [...digits('test', 1)[0].feed.data].map((x) => Math.round(x * 255)),
  );
});

test('exit 3 when a budget is missed', async () => {
  writeFileSync(
    at('wrong.tsv'),
    readFileSync(at('test.tsv'), 'utf8')
      .split('\n')
      .map((line) => line.replace(/\d$/, (d) => String((Number(d) + 1) % 10)))
      .join('\n'),
  );
  const drop = await octavo('compare', 'digits.onnx', 'digits.onnx', '--data', 'test', '--preset', 'unit', '--max-drop', '-1');
  assert.equal(drop.code, 3);
  assert.match(drop.err, /budget missed/);
  const agreement = await octavo(
    'quantize',
    'digits.onnx',
    '--calib',
    'train',
    '--out',
    'b.onnx',
    '--preset',
    'unit',
    '--min-agreement',
    '101',
  );
  assert.equal(agreement.code, 3);
  assert.match(agreement.err, /budget missed.*101/);
});

test('JPEG pictures are read too', async () => {
  mkdirSync(at('jpeg'));
  const [{ feed, label }] = digits('test', 1);
  const data = Uint8Array.from({ length: 28 * 28 * 4 }, (_, i) => (i % 4 === 3 ? 255 : feed.data[i >> 2] * 255));
  writeFileSync(at('jpeg/a.jpg'), jpeg.encode({ data, width: 28, height: 28 }, 95).data);
  const { out } = await octavo('run', 'digits.onnx', 'jpeg', '--preset', 'unit', '--top', '1');
  assert.match(out, new RegExp(`top 1: ${label} `));
});

test('octavo calibrate saves what pictures show, and quantize goes on from it and merges', async () => {
  const unfitted = ['--preset', 'unit', '--observer', 'minmax', '--rounding', 'nearest', '--no-bias-correction', '--no-equalize'];
  const run = async (...args) => {
    const done = await octavo(...args);
    assert.equal(done.code, 0, done.err);
    return done;
  };
  await run('quantize', 'digits.onnx', '--calib', 'train', '--out', 'whole.onnx', ...unfitted);
  const { out } = await run('calibrate', 'digits.onnx', '--data', 'train', '--out', 'a.state', ...unfitted);
  assert.match(out, /a\.state: 30 pictures, \d+\.\d kB/);
  await run('quantize', 'digits.onnx', '--calibration', 'a.state', '--out', 'same.onnx', ...unfitted);
  assert.ok(readFileSync(at('whole.onnx')).equals(readFileSync(at('same.onnx'))));

  await run('calibrate', 'digits.onnx', '--data', 'test', '--out', 'b.state', ...unfitted);
  await run('calibrate', 'digits.onnx', '--data', 'test', '--from', 'a.state', '--out', 'both.state', ...unfitted);
  await run('quantize', 'digits.onnx', '--calibration', 'a.state', '--calibration', 'b.state', '--out', 'merged.onnx', ...unfitted);
  await run('quantize', 'digits.onnx', '--calibration', 'both.state', '--out', 'on.onnx', ...unfitted);
  assert.ok(readFileSync(at('merged.onnx')).equals(readFileSync(at('on.onnx'))));
  assert.ok(!readFileSync(at('merged.onnx')).equals(readFileSync(at('whole.onnx'))));

  const basis = await octavo(
    'calibrate',
    'digits.onnx',
    '--data',
    'train',
    '--out',
    'c.state',
    '--save-basis',
    'c.basis',
    '--preset',
    'unit',
  );
  assert.equal(basis.code, 1);
  assert.match(basis.err, /--save-basis: weights are fitted to 32 pictures/);
  const odd = await octavo('quantize', 'digits.onnx', '--calibration', 'whole.onnx', '--out', 'x.onnx', ...unfitted);
  assert.equal(odd.code, 2);
  assert.match(odd.err, /INVALID_STATE.*whole\.onnx.*not a saved calibration/);
  // Of several the one that is damaged.
  writeFileSync(at('cut.state'), readFileSync(at('b.state')).subarray(0, -9));
  const cut = await octavo(
    'quantize',
    'digits.onnx',
    '--calibration',
    'a.state',
    '--calibration',
    'cut.state',
    '--out',
    'x.onnx',
    ...unfitted,
  );
  assert.equal(cut.code, 2);
  assert.match(cut.err, /INVALID_STATE.*cut\.state/);
  const from = await octavo('calibrate', 'digits.onnx', '--data', 'test', '--from', 'cut.state', '--out', 'x.state', ...unfitted);
  assert.match(from.err, /INVALID_STATE.*cut\.state/);
});

test('octavo quantize --dynamic and --weight-only look at no pictures', async () => {
  for (const [flag, op] of [
    ['--dynamic', 'ConvInteger'],
    ['--weight-only', 'DequantizeLinear'],
  ]) {
    const made = await octavo('quantize', 'digits.onnx', flag, '--out', 'dynamic.onnx', '--exclude-op', 'Gemm', '--weight-scale', 'mse');
    assert.equal(made.code, 0, made.err);
    assert.match(made.out, /dynamic\.onnx: 150\.7 kB -> \d+\.\d kB/);
    const { nodes } = JSON.parse((await octavo('inspect', 'dynamic.onnx', '--json')).out);
    assert.ok(nodes.some((node) => node.op === op) && nodes.some((node) => node.op === 'Gemm'));
  }
  const both = await octavo('quantize', 'digits.onnx', '--dynamic', '--calib', 'train', '--out', 'dynamic.onnx');
  assert.equal(both.code, 1);
  assert.match(both.err, /--calib says nothing about --dynamic/);
});

test("octavo quantize takes ONNX Runtime's names, and what else there is to say about weights and ranges", async () => {
  const quantize = async (...flags) => {
    const done = await octavo('quantize', 'digits.onnx', '--calib', 'train', '--out', 'named.onnx', '--preset', 'unit', '--json', ...flags);
    assert.equal(done.code, 0, done.err);
    return JSON.parse(done.out).report.options;
  };
  const { activation, weight } = await quantize(
    ...['--calibrate-method', 'Entropy', '--num-bins', '512', '--num-quantized-bins', '64', '--pair-safe', '--weight-scale', 'mse'],
  );
  assert.deepEqual([activation.observer, activation.numBins, activation.numQuantizedBins], ['entropy', 512, 64]);
  assert.deepEqual([weight.pairSafe, weight.scale], [true, 'mse']);
  assert.equal((await quantize('--pair-safe-auto')).weight.pairSafe, 'auto');
  const plain = await quantize('--calibration-method', 'Percentile');
  assert.deepEqual([plain.activation.observer, plain.weight.pairSafe, plain.weight.scale], ['percentile', false, 'max']);
});
