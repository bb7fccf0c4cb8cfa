// The page's half of bench/bench.mjs: loads engines, opens their sessions, times them in interleaved rounds. What needs no page
// runs in Node too.
//
// Each engine at its best: sessions and input tensors are made once. ONNX Runtime Web: its wasm backend, all graph optimizations (its
// default). LiteRT.js: XNNPACK, its module with relaxed SIMD (`compat`: the one without), the default signature with a tensor that stays.

import { compareOutputs } from './agreement.mjs';
import { sample } from './random.mjs';

/** A tensor in ONNX's order with its channels last, as .tflite wants it. */
function channelsLast({ data, shape }) {
  if (shape.length < 4) return { data, shape };
  const [batch, channels, height, width] = shape;
  const moved = new Float32Array(data.length);
  const area = height * width;
  for (let c = 0; c < channels; c++) for (let at = 0; at < area; at++) moved[at * channels + c] = data[c * area + at];
  return { data: moved, shape: [batch, height, width, channels] };
}

const bytesOf = async (url) => new Uint8Array(await (await fetch(url)).arrayBuffer());

// ---- engines: start(options) gives { open(model, x) }, and that { run, close, profile? } ----

/** Octavo, from its module's exports. In the caller's thread, as the others are, with helpers beside it. */
export async function startOctavo({ createEngine, InferenceSession }, { isa, threads = 1, worker = false } = {}) {
  const engine = await createEngine({ worker, threads, ...(isa ? { isa } : {}) });
  const { features } = engine;
  if (threads > 1 && features.threadCount !== threads) throw new Error(`Octavo did not start ${threads} threads here.`);
  return {
    features,
    async open(model, x) {
      const session = await InferenceSession.create(model, { engine });
      return {
        run: async () => Object.values(await session.run(x))[0].data,
        profile: () => session.profile(x),
        close: () => session.close(),
      };
    },
  };
}

async function startOrt({ threads = 1 }) {
  const ort = await import('/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs');
  ort.env.wasm.wasmPaths = '/node_modules/onnxruntime-web/dist/';
  ort.env.wasm.numThreads = threads;
  return {
    async open(model, { data, shape }) {
      const session = await ort.InferenceSession.create(model, { executionProviders: ['wasm'], graphOptimizationLevel: 'all' });
      const feeds = { x: new ort.Tensor('float32', data, shape) };
      return { run: async () => (await session.run(feeds)).y.data, close: () => session.release() };
    },
  };
}

async function startLiteRt({ threads = 1, compat = false }) {
  const { loadLiteRt, loadAndCompile, Tensor } = await import('/node_modules/@litertjs/core/dist/index.js');
  const folder = '/node_modules/@litertjs/core/wasm/';
  await loadLiteRt(compat ? `${folder}litert_wasm_compat_internal.js` : folder, { threads: threads > 1 });
  return {
    async open(model, x) {
      const compiled = await loadAndCompile(model, { accelerator: 'wasm', cpuOptions: { numThreads: threads } });
      const last = channelsLast(x);
      const tensor = new Tensor(last.data, last.shape);
      return {
        async run() {
          const [y] = await compiled.run([tensor]);
          const data = y.toTypedArray();
          y.delete();
          return data;
        },
        close() {
          tensor.delete();
          compiled.delete();
        },
      };
    },
  };
}

const starters = {
  octavo: async (options) => startOctavo(await import('/build/bench/octavo/index.js'), options),
  ort: startOrt,
  litert: startLiteRt,
};

/** One engine of each kind and settings in a page. */
const started = new Map();
function start({ engine, ...options }) {
  const key = JSON.stringify([engine, options]);
  if (!started.has(key)) started.set(key, starters[engine](options));
  return started.get(key);
}

// ---- timing ----

async function timed(work, calls) {
  const from = performance.now();
  for (let i = 0; i < calls; i++) await work();
  return (performance.now() - from) / calls;
}

/**
 * Times `runs`, functions, against each other: rounds in which each has a slice, in turn and from another one first each time.
 *
 * Before that each runs until a just-in-time compiler has come to its last tier. A slice is at least `slice` milliseconds: several calls
 * of what is quick. With `rest`, a slice begins after so many milliseconds in which nobody works, and a call that is not timed: idle
 * threads of some engines look for work so long that they take a core from whoever comes next. Returns the times of each, milliseconds of
 * one call by round.
 */
export async function interleave(runs, { rounds, slice = 15, warmUp = 10, rest = 0 }) {
  const calls = [];
  for (const run of runs) {
    const first = await timed(run, 1);
    await timed(run, Math.max(2, Math.min(warmUp, Math.ceil(1500 / first))));
    calls.push(Math.max(1, Math.min(200, Math.round(slice / (await timed(run, 2))))));
  }
  const times = runs.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < runs.length; i++) {
      const at = (i + round) % runs.length;
      if (rest > 0) {
        await new Promise((resolve) => setTimeout(resolve, rest));
        await runs[at]();
      }
      times[at].push(await timed(runs[at], calls[at]));
    }
  }
  return times;
}

/**
 * Opens `contenders`, [{ engine, type, group, open }], runs each once, compares the outputs within groups and times those that computed the
 * right thing. Returns [{ times, agreement, error }] in their order: the times, or why there are none.
 */
export async function raceOpened(contenders, timing) {
  const rows = contenders.map(({ engine, type, group }) => ({ engine, type, group }));
  const sessions = [];
  for (const [i, row] of rows.entries()) {
    try {
      sessions[i] = await contenders[i].open();
      row.output = [...(await sessions[i].run())];
    } catch (error) {
      row.error = String(error?.message ?? error);
    }
  }
  compareOutputs(rows);
  const sound = rows.filter(({ error }) => !error);
  const times = await interleave(
    sound.map((row) => sessions[rows.indexOf(row)].run),
    timing,
  );
  sound.forEach((row, i) => {
    row.times = times[i];
  });
  for (const session of sessions) await session?.close();
  return rows.map(({ times: own, agreement, error }) => ({ times: own, agreement, error }));
}

/** The same for contenders whose `start` says which engine with what settings, and `model` the address of a file. */
export function race(contenders, shape, timing) {
  const x = sample(shape);
  const opened = contenders.map((one) => ({ ...one, open: async () => (await start(one.start)).open(await bytesOf(one.model), x) }));
  return raceOpened(opened, timing);
}

/** What each step of a model takes in Octavo: the least of a few runs. */
export async function profile(how, model, shape, runs = 5) {
  const x = sample(shape);
  const session = await (await start({ engine: 'octavo', ...how })).open(await bytesOf(model), x);
  for (let i = 0; i < 10; i++) await session.run();
  let best;
  for (let i = 0; i < runs; i++) {
    const { steps, memory } = await session.profile();
    best ??= { steps, memory };
    best.steps.forEach((step, at) => {
      step.milliseconds = Math.min(step.milliseconds, steps[at].milliseconds);
    });
  }
  await session.close();
  return best;
}

// ---- threads ----

/** The mean of the middle half. */
function middleMean(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.slice(Math.floor(values.length / 4), Math.ceil((3 * values.length) / 4));
  return middle.reduce((sum, value) => sum + value, 0) / middle.length;
}

/**
 * A model in Octavo on one thread and on several, milliseconds a run by round: `page` one thread in the page's own, `worker` one in a worker,
 * `shared` all threads on one run, `together` as many engines of one thread at the same time, a run each. `steps` have `one` and `many`,
 * the milliseconds of each step on one thread and on all.
 */
export async function scaling(model, shape, threads, timing) {
  const runsOfTogether = 8; // so that waiting for the last one does not count
  const x = sample(shape);
  const bytes = await bytesOf(model);
  const open = async (how) => (await start({ engine: 'octavo', ...how })).open(bytes.slice(), x);
  const page = await open({ threads: 1 });
  const shared = await open({ threads });
  const workers = [];
  for (let copy = 0; copy < threads; copy++) workers.push(await open({ threads: 1, worker: true, copy }));
  const several = async (session) => {
    for (let i = 0; i < runsOfTogether; i++) await session.run();
  };
  const runs = [page.run, workers[0].run, shared.run, () => Promise.all(workers.map(several))];
  const [ofPage, ofWorker, ofShared, together] = await interleave(runs, timing);

  const profiles = { one: [], many: [] };
  for (let i = 0; i < 40; i++) {
    profiles.one.push((await workers[0].profile()).steps);
    profiles.many.push((await shared.profile()).steps);
  }
  const steps = profiles.one[0].map(({ node, op, kernel, macs }, at) => {
    const mean = (list) => middleMean(list.map((profiled) => profiled[at].milliseconds));
    return { node, op, kernel, macs, one: mean(profiles.one), many: mean(profiles.many) };
  });
  return { page: ofPage, worker: ofWorker, shared: ofShared, together: together.map((time) => time / runsOfTogether), steps };
}

// ---- start-up ----

/** Notes the memory of every module that is instantiated from now on; returns what counts its bytes. */
function watchMemory() {
  const memories = new Set();
  const note = (imports, instance) => {
    const values = [...Object.values(imports ?? {}).flatMap((module) => Object.values(module)), ...Object.values(instance.exports)];
    for (const value of values) if (value instanceof WebAssembly.Memory) memories.add(value);
  };
  for (const name of ['instantiate', 'instantiateStreaming']) {
    const original = WebAssembly[name];
    WebAssembly[name] = async (source, imports, ...rest) => {
      const made = await original.call(WebAssembly, source, imports, ...rest);
      note(imports, made.instance ?? made);
      return made;
    };
  }
  return () => [...memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
}

/**
 * Of an engine in a new page, milliseconds: until it is ready, from the model's bytes to the first result; and its memory in bytes then.
 */
export async function startUp(how, model, shape) {
  const memory = watchMemory();
  const bytes = await bytesOf(model);
  const x = sample(shape);
  const from = performance.now();
  const engine = await start(how);
  const ready = performance.now();
  const session = await engine.open(bytes, x);
  await session.run();
  const first = performance.now();
  for (let i = 0; i < 3; i++) await session.run();
  return { ready: ready - from, first: first - ready, memory: memory(), features: engine.features };
}

/**
 * What Octavo does between a model's bytes and the first result, part by part, in a new page whose engine is up; and then all of it again,
 * when the browser has compiled what it needs. Milliseconds; bytes of memory after the first result.
 */
export async function startUpParts({ threads }, model, shape) {
  const { createEngine, InferenceSession, Model } = await import('/build/bench/octavo/index.js');
  const bytes = await bytesOf(model);
  const x = sample(shape);
  const from = performance.now();
  const engine = await createEngine({ worker: threads > 1, threads });
  const ready = performance.now() - from;
  const once = async () => {
    const times = [performance.now()];
    const lap = () => times.push(performance.now());
    const loaded = await Model.load(bytes, { engine });
    lap();
    const session = await InferenceSession.create(loaded);
    lap();
    await session.run(x);
    lap();
    const heap = await engine.call('heap', []);
    await session.close();
    await loaded.close();
    const [load, create, run] = times.slice(1).map((time, i) => time - times[i]);
    return { load, create, run, first: load + create + run, memory: heap.bytes };
  };
  const cold = await once();
  const warm = await once();
  await engine.close();
  return { ready, cold, warm };
}
