// Sequential(QuantStub, BatchNorm2d(64), DeQuantStub) through quantization-aware training with a loop of our own.
import { init, nn, quantization, tensor } from 'octavo/nn';

await init();
const shape = [8, 64, 4, 4];
const size = shape.reduce((a, b) => a * b);
const batch = (seed) =>
  tensor(
    Float32Array.from({ length: size }, (_, i) => Math.sin(i * 0.37 + seed * 1.7) * 2 + Math.cos(i * 1.1)),
    shape,
  );
// What the layer shall learn: the normalized input times 1 + c / 64, plus 0.5.
const teacher = new nn.BatchNorm2d(64);
teacher.weight = teacher.weight.map((_, c) => 1 + c / 64);
teacher.bias.fill(0.5);

const model = new nn.Sequential(new nn.QuantStub(), new nn.BatchNorm2d(64), new nn.DeQuantStub());
model.train();
model.qconfig = quantization.getDefaultQatQConfig('fbgemm');
quantization.prepareQat(model);
const bn = model[1];
const fake = bn.activationPostProcess; // fake-quantizes what bn returns

const losses = [];
for (let step = 0; step < 60; step++) {
  const x = batch(step);
  const y = model.forward(x); // values of the grid that the int8 layer will have
  const target = teacher.forward(x).data;
  const gradient = y.data.map((value, i) => (2 * (value - target[i])) / size);
  losses.push(y.data.reduce((sum, value, i) => sum + (value - target[i]) ** 2, 0) / size);
  const { weight, bias } = bn.backward(fake.backward(tensor(gradient, shape)));
  bn.weight = bn.weight.map((value, c) => value - 12 * weight[c]);
  bn.bias = bn.bias.map((value, c) => value - 12 * bias[c]);
}
console.log(`loss ${losses[0].toFixed(3)} -> ${losses.at(-1).toFixed(4)}`);

quantization.convert(model.eval());
const x = batch(7);
const [int8, float] = [model.forward(x), teacher.eval().forward(x)];
const worst = int8.data.reduce((most, y, i) => Math.max(most, Math.abs(y - float.data[i])), 0);
console.log(`${model}`);
console.log(`int8 is at most ${worst.toFixed(2)} from the teacher`);
