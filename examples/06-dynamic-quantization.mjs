// Dynamic quantization: int8 weights, inputs that take the grid of their own range; nothing to calibrate.
import { init, nn, quantization, tensor } from 'octavo/nn';

await init();
const model = new nn.Sequential(new nn.Linear(64, 32), new nn.ReLU(), new nn.Linear(32, 10)).eval();
for (const layer of [model[0], model[2]]) {
  layer.weight = layer.weight.map((_, i) => Math.sin(i * 0.7) / 8);
  layer.bias.fill(0.1);
}
const x = tensor(
  Float32Array.from({ length: 4 * 64 }, (_, i) => Math.cos(i * 0.3)),
  [4, 64],
);
const float = model.forward(x);

quantization.quantizeDynamic(model, [nn.Linear]);
console.log(`${model}`);
const int8 = model.forward(x);
const rms = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
const error = int8.data.map((value, i) => value - float.data[i]);
console.log(`int8 weights are ${(20 * Math.log10(rms(float.data) / rms(error))).toFixed(1)} dB from float`);
