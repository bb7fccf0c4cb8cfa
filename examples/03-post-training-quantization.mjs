// A trained model with a BatchNorm through post-training quantization; then its quantized BatchNorm, called by itself.
import { init, nn, quantization, quantizePerTensor, tensor } from 'octavo/nn';

class Net extends nn.Module {
  quant = new nn.QuantStub();
  conv = new nn.Conv2d(1, 8, 3, { stride: 2, padding: 1 });
  bn = new nn.BatchNorm2d(8);
  relu = new nn.ReLU();
  dequant = new nn.DeQuantStub();

  forward(x) {
    const features = this.bn.forward(this.conv.forward(this.quant.forward(x)));
    return this.dequant.forward(this.relu.forward(features));
  }
}

await init();
const batch = (seed) =>
  tensor(
    Float32Array.from({ length: 4 * 16 * 16 }, (_, i) => Math.sin(i * 0.7 + seed) + 0.3 * Math.cos(i * i)),
    [4, 1, 16, 16],
  );
const model = new Net();
model.conv.weight = model.conv.weight.map((_, i) => Math.sin(i * 1.3)); // stands for training, as do the running statistics:
for (let i = 0; i < 20; i++) model.forward(batch(i));
model.eval();
const float = model.forward(batch(99));

model.qconfig = quantization.getDefaultQConfig('x86');
quantization.prepare(model);
for (let i = 0; i < 8; i++) model.forward(batch(i)); // calibration
quantization.convert(model);
console.log(`${model}`);

const int8 = model.forward(batch(99));
const noise = int8.data.reduce((sum, y, i) => sum + (y - float.data[i]) ** 2, 0);
const power = float.data.reduce((sum, y) => sum + y * y, 0);
console.log(`int8 is ${(10 * Math.log10(power / noise)).toFixed(1)} dB from float`);

const codes = quantizePerTensor(tensor(new Float32Array(8 * 4).fill(0.5), [1, 8, 2, 2]), model.conv.scale, model.conv.zeroPoint, 'quint8');
console.log(`${model.bn.forward(codes)}`);
