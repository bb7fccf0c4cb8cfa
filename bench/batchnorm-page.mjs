// The page's half of bench/batchnorm.mjs: loads the contenders and times them in interleaved rounds.

/** Ours, a copy and float: functions of one WebAssembly module. */
async function ownRows({ channels, size }) {
  const { default: factory } = await import('/build/wasm-relaxed/bench_batchnorm.mjs');
  const module = await factory();
  const count = module._bn_setup(channels, size * size);
  return Array.from({ length: count }, (_, i) => ({
    name: module.UTF8ToString(module._bn_name(i)),
    run: (calls) => module._bn_run(i, calls),
  }));
}

async function onnxRuntime({ channels, size }, models) {
  const ort = await import('/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs');
  ort.env.wasm.wasmPaths = '/node_modules/onnxruntime-web/dist/';
  ort.env.wasm.numThreads = 1;
  const data = Uint8Array.from({ length: channels * size * size }, (_, i) => (i * 37) & 255);
  const x = new ort.Tensor('uint8', data, [1, channels, size, size]);
  const chains = [];
  for (const { count, onnx } of models) {
    const session = await ort.InferenceSession.create(Uint8Array.from(onnx), { executionProviders: ['wasm'] });
    chains.push({ count, run: () => session.run({ x }) });
  }
  return { name: 'onnxruntime-web, QDQ', chains };
}

async function liteRt({ channels, size }, models) {
  const { loadLiteRt, loadAndCompile, Tensor } = await import('/node_modules/@litertjs/core/dist/index.js');
  await loadLiteRt('/node_modules/@litertjs/core/wasm/');
  const x = new Tensor(
    Float32Array.from({ length: channels * size * size }, (_, i) => Math.sin(i)),
    [1, size, size, channels],
  );
  const chains = [];
  for (const { count, tflite } of models) {
    const model = await loadAndCompile(Uint8Array.from(tflite), { accelerator: 'wasm', cpuOptions: { numThreads: 1 } });
    chains.push({
      count,
      async run() {
        for (const y of Object.values(await model.run(x))) y.delete();
      },
    });
  }
  return { name: 'LiteRT.js, int8 MUL and ADD', chains };
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function timed(work) {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** [{ name, median, best }], milliseconds of one layer. */
export async function race(shape, models, rounds) {
  const own = await ownRows(shape);
  for (const row of own) {
    row.run(200); // until the compiler has come to its last tier
    let calls = 1;
    while ((await timed(() => row.run(calls))) < 4) calls *= 2;
    Object.assign(row, { calls, times: [] });
  }
  const rivals = [await onnxRuntime(shape, models), await liteRt(shape, models)];
  for (const { chains } of rivals) {
    for (const chain of chains) {
      chain.times = [];
      for (let i = 0; i < 10; i++) await chain.run();
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const row of own) row.times.push((await timed(() => row.run(row.calls))) / row.calls);
    for (const { chains } of rivals) {
      for (const chain of chains) for (let i = 0; i < 3; i++) chain.times.push(await timed(chain.run));
    }
  }
  const fastest = (times) => Math.min(...times);
  const ofChains = ([one, many], summary) => (summary(many.times) - summary(one.times)) / (many.count - one.count);
  return [
    ...own.map(({ name, times }) => ({ name, median: median(times), best: fastest(times) })),
    ...rivals.map(({ name, chains }) => ({ name, median: ofChains(chains, median), best: ofChains(chains, fastest) })),
  ];
}
