// The fuzzers' first inputs: small random networks, float and quantized, operators on codes, and the project's own small files.

import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { inRoot } from '../../tools/project.mjs';
import { randomGraph } from '../../tools/random-graphs.mjs';
import { quantizedForms } from '../js/quantized-forms.mjs';

const own = inRoot('tests/data/golden/onnx');
const largest = 4096; // bytes: small files are mutated and run many times a second

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
