// The API as a caller uses it.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { compare, createEngine, InferenceSession, imageInput, images, Model, quantizeStatic, Tensor } from '../../dist/index.js';
import { convModel, digitFeeds, digits, digitsModel, onnx, rejects } from './support.mjs';

for (const worker of [false, true]) {
  describe(worker ? 'in a worker' : 'in this thread', () => {
    let engine;
    let model;
    before(async () => {
      engine = await createEngine({ worker });
      model = await Model.load(digitsModel(), { engine });
    });
    after(() => engine.close());

    test('the engine says what it is', () => {
      assert.equal(engine.features.worker, worker);
      assert.ok(['simd', 'relaxed'].includes(engine.features.isa));
      assert.match(engine.features.engineClass, /^(none|SDOT|USDOT|MADDUBS|WRAP)$/);
    });

    test('a model tells its inputs, outputs and plan', async () => {
      assert.deepEqual(model.inputs, [{ name: 'image', type: 'float32', shape: ['N', 1, 28, 28] }]);
      assert.deepEqual(model.outputs, [{ name: 'logits', type: 'float32', shape: ['N', 10] }]);
      assert.equal(model.quantized, false);
      const summary = await model.summary();
      assert.equal(summary.nodes.length, 55);
      const norms = summary.nodes.filter((node) => node.op === 'BatchNormalization');
      assert.equal(norms.filter((node) => node.plan === 'folded').length, 17);
      assert.equal(norms.filter((node) => node.plan === 'int8').length, 2);
      for (const node of norms) assert.match(node.reason, /folded into node|standalone/);
      assert.ok(summary.macs > 1e6 && summary.parameters > 30_000);
    });

    test('float classifies digits, by tensor, by object and by array', async () => {
      await using session = await InferenceSession.create(model);
      assert.deepEqual(session.inputNames, ['image']);
      assert.deepEqual(session.outputNames, ['logits']);
      const [{ feed, label }] = digits('test', 1);
      const answers = [];
      for (const given of [
        { image: feed },
        { image: new Tensor('float32', feed.data, feed.shape) },
        { image: feed.data },
        new Tensor('float32', feed.data, feed.shape),
      ]) {
        const { logits } = await session.run(given);
        assert.equal(logits.type, 'float32');
        assert.deepEqual(logits.shape, [1, 10]);
        answers.push([...logits.data]);
        assert.equal(logits.data.indexOf(Math.max(...logits.data)), label);
      }
      for (const answer of answers) assert.deepEqual(answer, answers[0]);
    });

    test('NHWC feeds are the same as NCHW ones', async () => {
      await using small = await Model.load(convModel(), { engine });
      await using session = await InferenceSession.create(small);
      const nhwc = Float32Array.from({ length: 32 }, (_, i) => i - 9);
      const nchw = Float32Array.from({ length: 32 }, (_, i) => nhwc[(i % 16) * 2 + Math.floor(i / 16)]);
      const a = await session.run({ x: { data: nhwc, shape: [1, 4, 4, 2], layout: 'NHWC' } });
      const b = await session.run({ x: { data: nchw, shape: [1, 2, 4, 4] } });
      assert.deepEqual(a.y.data, b.y.data);
    });

    test('quantizes, reports, exports, compares; the exported file runs with the same integers', async () => {
      const seen = [];
      const job = quantizeStatic(model, digitFeeds('train', 40));
      for await (const progress of job) seen.push(progress);
      const { model: int8, report } = await job.result;
      assert.deepEqual(seen.find(({ stage }) => stage === 'calibrate')?.total, 40);
      assert.deepEqual(seen.at(-1), { stage: 'evaluate', done: 8, total: 8 });
      assert.ok(int8.quantized);
      assert.equal(report.samples, 40);
      assert.equal(report.batchNorm.filter(({ fate }) => fate === 'folded').length, 17);
      assert.equal(report.batchNorm.filter(({ fate }) => fate === 'int8').length, 2);
      assert.ok(report.tensors.length >= 20);
      for (const tensor of report.tensors) {
        assert.ok(tensor.scale > 0 && tensor.min <= 0 && tensor.max >= 0, tensor.name);
        assert.ok(tensor.observedMin <= tensor.observedMax);
        assert.ok(tensor.sqnr === null || tensor.sqnr > 10, `${tensor.name}: ${tensor.sqnr} dB`);
      }
      assert.ok(report.outputs[0].sqnr > 25);

      const result = await compare(model, int8, digitFeeds('test', 100), { labels: digits('test', 100).map(({ label }) => label) });
      assert.equal(result.samples, 100);
      assert.ok(result.top1Agreement >= 0.99, `${result.top1Agreement}`);
      assert.ok(result.top1.b >= 0.97);
      assert.ok(result.layers.length > 10);

      const file = await int8.toONNX({ batchNorm: 'batchnorm' });
      assert.ok(file.length < digitsModel().length);
      await using again = await Model.load(file, { engine });
      assert.ok(again.quantized);
      await using before = await InferenceSession.create(int8);
      await using afterwards = await InferenceSession.create(again);
      for (const feed of digitFeeds('test', 5)) {
        assert.deepEqual((await before.run({ image: feed })).logits.data, (await afterwards.run({ image: feed })).logits.data);
      }
      await int8.close();
    });

    test('the report is one HTML file without scripts or requests, names escaped', async () => {
      const bad = `<img src=x onerror=alert(1)>"'&`;
      const named = new Uint8Array(convModel());
      const { report } = await quantizeStatic(await Model.load(named, { engine }), [new Float32Array(32).fill(0.5)]).result;
      report.model.name = bad;
      report.nodes[0].name = bad;
      const html = report.toHTML();
      assert.ok(!html.includes('<img') && !html.includes('<script') && !/https?:/.test(html));
      assert.ok(html.includes('&lt;img src=x onerror=alert(1)&gt;'));
      assert.deepEqual(JSON.parse(JSON.stringify(report)).samples, 1);
    });

    test('evaluation samples with labels put the accuracy into the report', async () => {
      const labelled = digits('test', 50);
      const { model: int8, report } = await quantizeStatic(model, digitFeeds('train', 20), {
        evaluation: { samples: labelled.map(({ feed }) => feed), labels: labelled.map(({ label }) => label) },
      }).result;
      assert.equal(report.evaluation.samples, 50);
      assert.ok(report.evaluation.top1.a >= 0.96 && report.evaluation.top1.b >= 0.94);
      assert.match(report.toHTML(), /right answers/);
      await int8.close();
    });

    test('feeds are copied, or moved where the caller says so', async () => {
      await using session = await InferenceSession.create(model);
      const [{ data, shape }] = digitFeeds('test', 1);
      const kept = await session.run({ image: { data, shape } });
      assert.equal(data.length, 784);
      const moved = await session.run({ image: { data, shape } }, { transfer: true });
      assert.deepEqual(moved.logits.data, kept.logits.data);
      if (worker) assert.equal(data.length, 0, "its memory is the worker's now");
      // A part of a large buffer goes alone: neither is all of it copied, nor does the caller lose the rest.
      const many = new Float32Array(3 * 784);
      const part = many.subarray(784, 2 * 784);
      part.set(digitFeeds('test', 1)[0].data);
      assert.deepEqual((await session.run({ image: part }, { transfer: true })).logits.data, kept.logits.data);
      assert.equal(many.length, 3 * 784);
      const file = new Uint8Array(digitsModel().length + 10);
      file.set(digitsModel(), 5);
      await using again = await Model.load(file.subarray(5, -5), { engine });
      assert.deepEqual(again.inputs, model.inputs);
      assert.equal(file.buffer.byteLength, digitsModel().length + 10);
    });

    test('the memory of feeds is used again, by one run at a time', async () => {
      await using session = await InferenceSession.create(model);
      const list = digitFeeds('test', 4);
      const alone = [];
      for (const image of list) alone.push((await session.run({ image })).logits.data);
      assert.notDeepEqual(alone[0], alone[1]);
      const [first, second] = await Promise.allSettled([session.run({ image: list[2] }), session.run({ image: list[3] })]);
      assert.deepEqual(first.value.logits.data, alone[2]);
      if (second.status === 'rejected') assert.equal(second.reason.code, 'INVALID_STATE');
      else assert.deepEqual(second.value.logits.data, alone[3]);
      for (const [i, image] of list.entries()) assert.deepEqual((await session.run({ image })).logits.data, alone[i]);
    });

    test('excluded nodes stay float, by name and by type', async () => {
      const byName = await quantizeStatic(model, digitFeeds('train', 4), { exclude: ['/stem/*'] }).result;
      assert.equal(byName.report.nodes.find(({ name }) => name === '/stem/Conv').fate, 'float');
      const byType = await quantizeStatic(model, digitFeeds('train', 4), { exclude: [{ opType: 'Gemm' }] }).result;
      const gemm = byType.report.nodes.find(({ op }) => op === 'Gemm');
      assert.equal(gemm.fate, 'float');
      assert.match(gemm.reason, /exclude/i);
    });

    test('each observer, weight scheme and batch norm option makes a network that works', async () => {
      const labelled = digits('test', 30);
      for (const options of [
        { activation: { observer: 'movingAverage' } },
        { activation: { observer: 'histogram' } },
        { activation: { observer: 'percentile', percentile: 99.99 } },
        { activation: { dtype: 'qint8' } },
        { weight: { scheme: 'per_tensor_symmetric' } },
        { activation: { observer: 'mse' } },
        { weight: { reduceRange: true } },
        { weight: { rounding: 'nearest' }, biasCorrection: false, equalize: false },
        { target: 'onnxruntime' },
        { batchNorm: 'fold' },
        { batchNorm: 'float' },
        { batchNorm: 'quantized' },
      ]) {
        const { model: int8 } = await quantizeStatic(model, digitFeeds('train', 40), options).result;
        const { top1 } = await compare(
          model,
          int8,
          labelled.map(({ feed }) => feed),
          { labels: labelled.map(({ label }) => label), layers: false },
        );
        assert.ok(top1.b >= 0.9, `${JSON.stringify(options)}: ${top1.b}`);
        await int8.close();
      }
    });

    test('samples may come from any iterable, sync or async, and from pictures', async () => {
      const list = digitFeeds('train', 6);
      const asynchronous = (async function* () {
        for (const feed of list) yield { image: feed };
      })();
      const pixels = list.map(({ data }) => ({
        width: 28,
        height: 28,
        data: Uint8Array.from({ length: 28 * 28 * 4 }, (_, i) => (i % 4 === 3 ? 255 : Math.round(data[i >> 2] * 255))),
      }));
      const ranges = [];
      for (const samples of [list, new Set(list), asynchronous, images(pixels, { channels: 'GRAY' }), pixels]) {
        const { report } = await quantizeStatic(model, samples).result;
        assert.equal(report.samples, 6);
        ranges.push(report.tensors[3].observedMax);
      }
      for (const range of ranges) assert.ok(Math.abs(range - ranges[0]) < 1e-3 * ranges[0], ranges.join());
    });

    test('a session profiles its steps and its memory', async () => {
      await using session = await InferenceSession.create(model);
      const { steps, memory } = await session.profile({ image: digitFeeds('test', 1)[0] });
      assert.ok(steps.some(({ op, kernel }) => op === 'Conv' && kernel.length > 0));
      assert.ok(memory.arenaBytes >= memory.lowerBoundBytes && memory.weightBytes > 0);
    });

    test('a batch is a shape like any other', async () => {
      await using session = await InferenceSession.create(model, { inputShapes: { image: [3, 1, 28, 28] } });
      await using single = await InferenceSession.create(model);
      const three = digitFeeds('test', 3);
      const data = new Float32Array(3 * 784);
      three.forEach((feed, i) => data.set(feed.data, i * 784));
      const { logits } = await session.run({ image: { data, shape: [3, 1, 28, 28] } });
      for (let i = 0; i < 3; i++) {
        const one = (await single.run({ image: three[i] })).logits.data;
        assert.deepEqual([...logits.data.subarray(10 * i, 10 * i + 10)], [...one]);
      }
    });

    test('two sessions and a job at once', async () => {
      const sessions = await Promise.all([InferenceSession.create(model), InferenceSession.create(model)]);
      const [feed] = digitFeeds('test', 1);
      const [, ...outputs] = await Promise.all([
        quantizeStatic(model, digitFeeds('train', 20)).result,
        ...Array.from({ length: 20 }, (_, i) => sessions[i % 2]).map((session, i) => (i < 2 ? session.run({ image: feed }) : undefined)),
      ]);
      assert.deepEqual(outputs[0].logits.data, outputs[1].logits.data);
      await Promise.all(sessions.map((session) => session.close()));
    });

    test('everything closed leaves nothing behind', async () => {
      await using own = await createEngine({ worker });
      const loaded = await Model.load(digitsModel(), { engine: own });
      const { model: int8 } = await quantizeStatic(loaded, digitFeeds('train', 2)).result;
      const session = await InferenceSession.create(int8);
      await compare(loaded, int8, digitFeeds('test', 1));
      for (const thing of [session, int8, loaded, loaded]) await thing.close();
      assert.equal(await own.call('liveObjects', []), 0);
    });
  });
}

test('a model loads from bytes, a Blob, a stream, a Response and a URL, with progress', async () => {
  await using engine = await createEngine({ worker: false });
  const bytes = digitsModel();
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/model.onnx' ? 200 : 404, { 'content-length': bytes.length });
    response.end(bytes);
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const url = `http://127.0.0.1:${server.address().port}/model.onnx`;
  try {
    for (const source of [bytes, bytes.buffer, new Blob([bytes]), new Blob([bytes]).stream(), new Response(bytes), url, new URL(url)]) {
      const progress = [];
      const model = await Model.load(source, { engine, onProgress: (p) => progress.push(p) });
      assert.equal(model.inputs[0].name, 'image');
      assert.equal(progress.at(-1).done, bytes.length);
      await model.close();
    }
    await rejects(Model.load(`${url}.gone`, { engine }), 'FETCH_FAILED', { what: /404/ });
  } finally {
    server.close();
  }
});

test('pictures are resized, cropped and normalized as the options say', async () => {
  const [height, width] = [6, 8];
  const data = Uint8Array.from({ length: height * width * 4 }, (_, i) => [10, 20, 30, 255][i % 4]);
  const pixels = { data, width, height };
  const [plain] = await Array.fromAsync(images([pixels]));
  assert.deepEqual(plain.shape, [1, 3, 6, 8]);
  assert.ok(Math.abs(plain.data[0] - 10 / 255) < 1e-6);
  const [bgr] = await Array.fromAsync(images([pixels], { channels: 'BGR', range: [0, 255], size: [3, 4] }));
  assert.deepEqual(bgr.shape, [1, 3, 3, 4]);
  assert.deepEqual([bgr.data[0], bgr.data[12], bgr.data[24]].map(Math.round), [30, 20, 10]);
  const [nhwc] = await Array.fromAsync(
    images([pixels], { layout: 'NHWC', range: [-1, 1], mean: [0.5], std: [2], size: [2, 2], resize: 4 }),
  );
  assert.deepEqual(nhwc.shape, [1, 2, 2, 3]);
  assert.ok(Math.abs(nhwc.data[1] - (20 / 127.5 - 1 - 0.5) / 2) < 1e-5);
});

test('a picture fits an input of either layout, in colour or grey', async () => {
  assert.deepEqual(imageInput({ type: 'float32', shape: ['N', 3, 'h', 8] }), { layout: 'NCHW', channels: 3, width: 8 });
  assert.deepEqual(imageInput({ type: 'float32', shape: [1, 5, 8, 1] }), { layout: 'NHWC', channels: 1, height: 5, width: 8 });
  assert.equal(imageInput({ type: 'uint8', shape: [1, 3, 4, 4] }), undefined);
  assert.equal(imageInput({ type: 'float32', shape: [1, 784] }), undefined);

  const pixels = { data: Uint8Array.from({ length: 5 * 7 * 4 }, (_, i) => [255, 0, 51, 255][i % 4]), width: 7, height: 5 };
  await using engine = await createEngine({ worker: false });
  for (const shape of [
    [1, 3, 2, 4],
    ['N', 2, 4, 3],
    [1, 1, 2, 4],
    [1, 2, 4, 1],
  ]) {
    const tensor = { name: 'x', shape };
    const nodes = [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }];
    const model = await Model.load(onnx({ nodes, inputs: [tensor], outputs: [{ ...tensor, name: 'y' }] }), { engine });
    assert.equal((await compare(model, model, [pixels])).samples, 1, `${shape}`);
  }
});
