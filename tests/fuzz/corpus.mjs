// The fuzzers' first inputs: small random networks, float and quantized, operators on codes, and the project's own small files.

import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { onnx } from '../../tools/onnx.mjs';
import { inRoot } from '../../tools/project.mjs';
import { randomGraph } from '../../tools/random-graphs.mjs';
import { quantizedForms } from '../js/quantized-forms.mjs';

const own = inRoot('tests/data/golden/onnx');
const largest = 4096; // bytes: small files are mutated and run many times a second

const floats = (name, ...shape) => ({
  name,
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => ((i * 37) % 16) / 16 - 0.5),
});
const bytes = (name, ...shape) => ({
  name,
  shape,
  type: 'uint8',
  data: Uint8Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i * 37) % 256),
});
const ints = (name, ...values) => ({ name, shape: [values.length], data: BigInt64Array.from(values, BigInt) });
const node = (op, inputs, attrs = {}, outputs = ['y']) => ({ op, name: op, inputs, outputs, attrs });
/** What the generator of random graphs does not make: recurrent nodes, three axes, integer products, indices, open sizes. Nodes, inputs, weights. */
const byHand = [
  [[node('LSTM', ['x', 'w', 'r'], { hidden_size: 2 }, ['y', 'h', 'c'])], { x: [3, 2, 2] }, [floats('w', 1, 8, 2), floats('r', 1, 8, 2)]],
  [
    [node('GRU', ['x', 'w', 'r'], { hidden_size: 2, linear_before_reset: 1 }, ['y', 'h'])],
    { x: [3, 1, 2] },
    [floats('w', 1, 6, 2), floats('r', 1, 6, 2)],
  ],
  [
    [node('RNN', ['x', 'w', 'r'], { hidden_size: 2, direction: 'bidirectional' })],
    { x: [3, 1, 2] },
    [floats('w', 2, 2, 2), floats('r', 2, 2, 2)],
  ],
  [[node('Conv', ['x', 'w'], { kernel_shape: [2, 2, 2], pads: [1, 0, 1, 0, 1, 0] })], { x: [1, 2, 3, 3, 3] }, [floats('w', 2, 2, 2, 2, 2)]],
  [
    [node('ConvTranspose', ['x', 'w'], { kernel_shape: [2, 2, 2], strides: [2, 1, 2] })],
    { x: [1, 2, 2, 2, 2] },
    [floats('w', 2, 2, 2, 2, 2)],
  ],
  [[node('MaxPool', ['x'], { kernel_shape: [2, 2, 2] }, ['y', 'places'])], { x: [1, 2, 3, 3, 3] }, []],
  [[node('AveragePool', ['x'], { kernel_shape: [2, 2, 2], count_include_pad: 1, pads: [1, 1, 1, 0, 0, 0] })], { x: [1, 2, 3, 3, 3] }, []],
  [[node('ConvInteger', ['x', 'w', 'z'], { kernel_shape: [2, 2] })], { x: [1, 2, 4, 4] }, [bytes('w', 3, 2, 2, 2), bytes('z')], 'uint8'],
  [[node('MatMulInteger', ['x', 'w', 'z'])], { x: [3, 4] }, [bytes('w', 4, 2), bytes('z')], 'uint8'],
  [[node('DynamicQuantizeLinear', ['x'], {}, ['q', 's', 'z']), node('MatMulInteger', ['q', 'w', 'z'])], { x: [3, 4] }, [bytes('w', 4, 2)]],
  [[node('TopK', ['x', 'k'], {}, ['y', 'places'])], { x: [2, 5] }, [ints('k', 3)]],
  [[node('NonMaxSuppression', ['x', 's', 'k'])], { x: [1, 4, 4] }, [floats('s', 1, 2, 4), ints('k', 3)]],
  [[node('Einsum', ['x', 'w'], { equation: 'ij,jk->ik' })], { x: [2, 3] }, [floats('w', 3, 2)]],
  [[node('GridSample', ['x', 'g'])], { x: [1, 2, 3, 3] }, [floats('g', 1, 2, 2, 2)]],
  [[node('ArgMax', ['x'], { axis: 1 }, ['i']), node('Gather', ['w', 'i'])], { x: [2, 3] }, [floats('w', 3, 2)]],
  [[node('NonZero', ['x'], {}, ['i']), node('Transpose', ['i'], {}, ['t']), node('GatherND', ['x', 't'])], { x: [2, 3] }, []],
  [
    [
      node('Conv', ['x', 'w'], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }, ['c']),
      node('Relu', ['c'], {}, ['r']),
      node('GlobalAveragePool', ['r']),
    ],
    { x: ['N', 2, 'H', 'W'] },
    [floats('w', 3, 2, 3, 3)],
  ],
  [
    [node('MaxPool', ['x'], { kernel_shape: [2, 2] }, ['p']), node('Resize', ['p', '', 's'], { mode: 'linear' })],
    { x: ['N', 2, 'H', 'W'] },
    [{ name: 's', shape: [4], data: Float32Array.of(1, 1, 2, 2) }],
  ],
];

/** Writes the files of a corpus into `folder`: `perOperator` networks for each operator of the generator. Says how many there are. */
export function writeCorpus(folder, perOperator = 4) {
  mkdirSync(folder, { recursive: true });
  let count = 0;
  for (const file of readdirSync(own).filter((name) => name.endsWith('.onnx'))) {
    copyFileSync(`${own}/${file}`, `${folder}/${file}`);
    count++;
  }
  for (const [index, [, { model }]] of quantizedForms.entries()) {
    writeFileSync(`${folder}/form-${index}.onnx`, model);
    count++;
  }
  for (const [index, [nodes, inputs, weights, type = 'float32']] of byHand.entries()) {
    const outputs = nodes.at(-1).outputs.map((name) => ({ name }));
    const given = Object.entries(inputs).map(([name, shape]) => ({ name, shape, type }));
    writeFileSync(`${folder}/hand-${index}.onnx`, onnx({ opset: 17, nodes, inputs: given, outputs, weights }));
    count++;
  }
  const seen = {};
  for (let seed = 1; seed < 3000; seed++) {
    const int8 = seed % 3 === 0;
    const { model, ops } = randomGraph(seed, { int8 });
    if (model.length > largest || ops.every((op) => seen[op] >= perOperator)) continue;
    for (const op of ops) seen[op] = (seen[op] ?? 0) + 1;
    writeFileSync(`${folder}/${int8 ? 'int8' : 'float'}-${seed}.onnx`, model);
    count++;
  }
  return count;
}
