import { readFile, writeFile } from 'node:fs/promises';
import { InferenceSession, Model, quantizeStatic } from 'octavo';

const at = (name) => new URL(`../web/public/samples/${name}`, import.meta.url);
const bytes = await readFile(at('digits_train.bin')); // records of a label and 28 x 28 grey bytes
const pictures = Array.from({ length: 100 }, (_, i) => Float32Array.from(bytes.subarray(i * 785 + 1, (i + 1) * 785), (grey) => grey / 255));

const model = await Model.load(at('digits_mobilenet_bn.onnx'));
const { model: int8, report } = await quantizeStatic(model, pictures).result;
await writeFile('digits.int8.onnx', await int8.toONNX());
const session = await InferenceSession.create(int8);
const { logits } = await session.run({ image: pictures[0] });
console.log(`a ${logits.data.indexOf(Math.max(...logits.data))}; int8 is ${report.outputs[0].sqnr.toFixed(1)} dB from float`);
