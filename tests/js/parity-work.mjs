// The work whose result tests/data/parity.txt names, as tests/quantize/parity_test.cpp does it. Self-contained: the browser
// test sends its text to the page.

/** `octavo` is the module, `network` the bytes of the sample model; gives { file, logits } as hashes. */
export async function parityWork(octavo, network, isa) {
  const digit = (seed) =>
    Float32Array.from({ length: 784 }, (_, i) => {
      let h = (Math.imul(i, 2654435761) + seed) >>> 0;
      h ^= h >>> 15;
      h = Math.imul(h, 2246822519) >>> 0;
      h ^= h >>> 13;
      return (h & 255) / 256;
    });
  const fnv1a = (bytes) => {
    let hash = 0xcbf29ce484222325n;
    for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
    return hash.toString(16).padStart(16, '0');
  };
  const ten = (from) => Array.from({ length: 10 }, (_, i) => digit(from + i));
  const engine = await octavo.createEngine({ isa, worker: false });
  const model = await octavo.Model.load(network, { engine });
  const { model: int8 } = await octavo.quantizeStatic(model, ten(1), { evaluateSamples: 1 }).result;
  const session = await octavo.InferenceSession.create(int8);
  const logits = [];
  for (const image of ten(101)) logits.push(...(await session.run({ image })).logits.data);
  const result = { file: fnv1a(await int8.toONNX()), logits: fnv1a(new Uint8Array(Float32Array.from(logits).buffer)) };
  await engine.close();
  return result;
}

/** What parity.txt says. */
export const parseParity = (text) =>
  Object.fromEntries(
    text
      .split('\n')
      .filter((line) => line && !line.startsWith('#'))
      .map((line) => line.split(' ')),
  );
