// A scheme of our own: scales are powers of two, ranges are three standard deviations. An observer is any object with forward(x) and
// calculateQParams(); prepare() and convert() take it, and the low-level functions do without them.
import { init, makePerTensorQuantizedTensor, nn, quantization, tensor } from 'octavo/nn';

class ThreeSigmaObserver {
  dtype = 'qint8';
  count = 0;
  sum = 0;
  squares = 0;

  forward(x) {
    for (const value of x.data) {
      this.count++;
      this.sum += value;
      this.squares += value * value;
    }
    return x;
  }
  observed() {
    return this.count > 0;
  }
  calculateQParams() {
    const mean = this.sum / this.count;
    const reach = Math.abs(mean) + 3 * Math.sqrt(this.squares / this.count - mean * mean);
    return { scale: [2 ** Math.ceil(Math.log2(reach / 127))], zeroPoint: [0] };
  }
}

await init();
const x = tensor(
  Float32Array.from({ length: 2 * 16 * 6 * 6 }, (_, i) => Math.sin(i) * 3 + Math.cos(i * i)),
  [2, 16, 6, 6],
);
const model = new nn.Sequential(new nn.QuantStub(), new nn.BatchNorm2d(16).eval(), new nn.DeQuantStub());
model.qconfig = { activation: () => new ThreeSigmaObserver(), weight: () => new quantization.MinMaxObserver() };
quantization.prepare(model);
const float = model.forward(x);
quantization.convert(model);
const int8 = model.forward(x);
const worst = int8.data.reduce((most, y, i) => Math.max(most, Math.abs(y - float.data[i])), 0);
console.log(`${model}`);
console.log(`at most ${worst.toFixed(3)} from float, with a step of ${model[1].scale}`);

// By hand: codes of a rounding of our own (away from zero), and the layer that takes them.
const scale = 2 ** -5;
const codes = Int8Array.from(x.data, (value) =>
  Math.max(-128, Math.min(127, Math.sign(value) * Math.floor(Math.abs(value) / scale + 0.5))),
);
const q = makePerTensorQuantizedTensor({ data: codes, shape: [...x.shape] }, scale, 0);
const bn = nn.quantized.BatchNorm2d.fromFloat(new nn.BatchNorm2d(16), { scale, zeroPoint: 0 });
console.log(`${bn.forward(q)}`);
