// What networks give on a number of threads. Self-contained: the browser test sends its text to the page.

/** `network` is the bytes of a float model with one input; gives { threads, started, file, float, int8 }, the last three as hashes. */
export async function threadsWork(octavo, network, options) {
  const engine = await octavo.createEngine(options);
  try {
    const { threadCount: threads } = engine.features;
    let started = 0;
    for (const end = performance.now() + 60_000; performance.now() < end; ) {
      started = await engine.call('startedThreads', []);
      if (started >= threads) break;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const model = await octavo.Model.load(network, { engine });
    const { name, shape } = model.inputs[0];
    const size = shape.reduce((product, dim) => product * dim);
    const sample = (seed) => ({ [name]: { data: Float32Array.from({ length: size }, (_, i) => Math.sin(i * seed)), shape } });
    const hash = async (chunks) => {
      const digest = await crypto.subtle.digest('SHA-256', await new Blob(chunks).arrayBuffer());
      return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
    };
    const run = async (source) => {
      const session = await octavo.InferenceSession.create(source);
      const made = [];
      for (let i = 1; i <= 5; i++) made.push(...Object.values(await session.run(sample(i))).map(({ data }) => data));
      await session.close();
      return hash(made);
    };
    const { model: int8 } = await octavo.quantizeStatic(model, [1, 2, 3].map(sample), { evaluateSamples: 1 }).result;
    return { threads, started, file: await hash([await int8.toONNX()]), float: await run(model), int8: await run(int8) };
  } finally {
    await engine.close();
  }
}
