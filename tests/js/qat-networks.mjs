// Networks as PyTorch writes them after training with fake quantization (torch.ao.quantization.prepare_qat, torch.onnx): weights are floats behind
// QuantizeLinear and DequantizeLinear, and what training needed is still there.

import { random, randomTensor } from '../../tools/conformance.mjs';
import { onnx } from '../../tools/onnx.mjs';

const inputShape = [1, 8, 12, 12];

/** Nodes and constants of one network. */
class Net {
  nodes = [];
  weights = [];
  #next;
  #count = 0;

  constructor(seed) {
    this.#next = random(seed);
  }
  /** A constant; returns its name. */
  constant(data, shape, type) {
    const name = `c${this.weights.length}`;
    this.weights.push({ name, shape, data, ...(type ? { type } : {}) });
    return name;
  }
  numbers(count, from, to) {
    return Float32Array.from({ length: count }, () => from + (to - from) * this.#next());
  }
  vector(count, from, to) {
    return this.constant(this.numbers(count, from, to), [count]);
  }
  add(op, inputs, attrs = {}) {
    const name = `${op}_${this.#count++}`;
    this.nodes.push({ op, name, inputs, outputs: [name], attrs });
    return name;
  }
  /** Fake quantization of a result: unsigned codes, of 7 bits with `most` = 127. */
  fake(x, { scale = 6 / 255, zero = 0, most = 255, clutter = false } = {}) {
    const grid = [this.constant(Float32Array.of(scale), []), this.constant(Uint8Array.of(zero), [], 'uint8')];
    let codes = this.add('QuantizeLinear', [x, ...grid]);
    if (clutter) codes = this.add('Identity', [codes]);
    if (most < 255) codes = this.add('Clip', [codes, '', this.constant(Uint8Array.of(most), [], 'uint8')]);
    const real = this.add('DequantizeLinear', [codes, ...grid]);
    return clutter ? this.add('Cast', [real], { to: 1 }) : real;
  }
  /** Of a weight (a constant's or a result's name), whose values are at most `largest` by channel. */
  fakeWeight(w, channels, largest, { perChannel = true, most = 127 } = {}) {
    const sizes = perChannel ? channels : 1;
    const shape = perChannel ? [channels] : [];
    const scale = this.constant(
      Float32Array.from({ length: sizes }, (_, c) => (largest * (1 + (c % 3) / 8)) / 127),
      shape,
    );
    const grid = [scale, this.constant(new Int8Array(sizes), shape, 'int8')];
    const attrs = perChannel ? { axis: 0 } : {};
    let codes = this.add('QuantizeLinear', [w, ...grid], attrs);
    if (most < 127)
      codes = this.add('Clip', [codes, this.constant(Int8Array.of(-most), [], 'int8'), this.constant(Int8Array.of(most), [], 'int8')]);
    return this.add('DequantizeLinear', [codes, ...grid], attrs);
  }
  /** The plain layer: fake-quantized weight, float bias. */
  conv(x, inputs, outputs, { kernel = 3, group = 1, bias = true, ...how } = {}) {
    const shape = [outputs, inputs / group, kernel, kernel];
    const fan = shape[1] * kernel * kernel;
    const largest = 1.5 / Math.sqrt(fan);
    const w = this.constant(this.numbers(outputs * fan, -largest, largest), shape);
    const fields = { kernel_shape: [kernel, kernel], pads: Array(4).fill((kernel - 1) / 2), group };
    return this.add('Conv', [x, this.fakeWeight(w, outputs, largest, how), ...(bias ? [this.vector(outputs, -0.3, 0.3)] : [])], fields);
  }
  /** torch.ao.nn.intrinsic.qat.ConvBn2d._forward_approximate, node by node. */
  convBn(x, inputs, outputs, { kernel = 3, group = 1, bias = false, negative = false, ...how } = {}) {
    const shape = [outputs, inputs / group, kernel, kernel];
    const fan = shape[1] * kernel * kernel;
    const largest = 1.5 / Math.sqrt(fan);
    const w = this.constant(this.numbers(outputs * fan, -largest, largest), shape);
    const gamma = this.numbers(outputs, 0.6, 1.4);
    if (negative) gamma[1] = -gamma[1];
    const [scale, shift, mean, variance] = [
      this.constant(gamma, [outputs]),
      this.vector(outputs, -0.3, 0.6),
      this.vector(outputs, -0.1, 0.1),
      this.vector(outputs, 0.5, 1.5),
    ];
    const list = (...values) => this.constant(BigInt64Array.from(values, BigInt), [values.length]);
    const epsilon = this.constant(Float32Array.of(1e-5), []);
    const factor = this.add('Div', [scale, this.add('Sqrt', [this.add('Add', [variance, epsilon])])]);
    const scaled = this.add('Mul', [w, this.add('Reshape', [factor, list(-1, 1, 1, 1)])]);
    const fields = { kernel_shape: [kernel, kernel], pads: Array(4).fill((kernel - 1) / 2), group };
    const zeros = this.constant(new Float32Array(outputs), [outputs]);
    let y = this.add('Conv', [x, this.fakeWeight(scaled, outputs, 2 * largest, how), zeros], fields);
    y = this.add('Div', [y, this.add('Reshape', [factor, list(1, -1, 1, 1)])]);
    if (bias) y = this.add('Add', [y, this.constant(this.numbers(outputs, -0.2, 0.2), [1, outputs, 1, 1])]);
    return this.add('BatchNormalization', [y, scale, shift, mean, variance], { epsilon: 1e-5 });
  }
  relu(x) {
    return this.add('Relu', [x]);
  }
  /** Means of all pixels, then a layer of `outputs` as torch.ao.nn.qat.Linear is written: its weight is transposed behind its fake quantization. */
  linear(x, inputs, outputs, { asMatMul = false } = {}) {
    const flat = this.fake(this.add('Flatten', [this.add('GlobalAveragePool', [x])]), { scale: 0.00813 }); // means on this grid are no ties
    const w = this.constant(this.numbers(inputs * outputs, -0.4, 0.4), [outputs, inputs]);
    const transposed = this.add('Transpose', [this.fakeWeight(w, outputs, 0.4)], { perm: [1, 0] });
    const bias = this.vector(outputs, -0.3, 0.3);
    return asMatMul ? this.add('Add', [this.add('MatMul', [flat, transposed]), bias]) : this.add('Gemm', [flat, transposed, bias]);
  }
}

const signed = { scale: 8 / 255, zero: 128 };
const input = { scale: 2 / 255, zero: 128 };

/** name: what it builds behind the fake-quantized input of 8 channels; returns the last result and its grid. */
const forms = {
  'one scale a weight': (net, x) => [
    net.conv(net.fake(net.relu(net.conv(x, 8, 16, { perChannel: false }))), 16, 16, { perChannel: false }),
    signed,
  ],
  'a scale a channel': (net, x) => [net.conv(net.fake(net.relu(net.conv(x, 8, 16))), 16, 16), signed],
  'codes of 7 bits': (net, x) => {
    const narrow = { scale: 6 / 127, most: 127 };
    const y = net.fake(net.relu(net.conv(x, 8, 16, { most: 63 })), narrow);
    return [
      net.conv(net.fake(net.add('MaxPool', [y], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }), narrow), 16, 16, { most: 63 }),
      { ...narrow, zero: 64 },
    ];
  },
  'codes of 7 bits behind what takes no bounds': (net, x) => {
    const pooled = net.add('AveragePool', [net.fake(net.relu(net.conv(x, 8, 16)))], { kernel_shape: [2, 2] });
    return [net.conv(net.fake(pooled, { scale: 3 / 255, most: 127 }), 16, 16), signed];
  },
  ConvBn2d: (net, x) => [net.convBn(net.fake(net.convBn(x, 8, 16), signed), 16, 16), signed],
  'ConvBnReLU2d with a bias and one scale a weight': (net, x) => [
    net.relu(
      net.convBn(net.fake(net.relu(net.convBn(x, 8, 16, { bias: true, perChannel: false }))), 16, 16, { bias: true, perChannel: false }),
    ),
    {},
  ],
  'ConvBnReLU2d, depthwise': (net, x) => {
    const wide = net.fake(net.relu(net.convBn(x, 8, 24, { kernel: 1 })));
    const deep = net.fake(net.relu(net.convBn(wide, 24, 24, { group: 24 })));
    return [net.convBn(deep, 24, 8, { kernel: 1 }), signed];
  },
  'ConvBnReLU2d of 7 bits': (net, x) => {
    const narrow = { scale: 6 / 127, most: 127 };
    return [net.relu(net.convBn(net.fake(net.relu(net.convBn(x, 8, 16)), narrow), 16, 16)), narrow];
  },
  'a residual sum': (net, x) => {
    const y = net.fake(net.relu(net.convBn(x, 8, 8)));
    const z = net.fake(net.convBn(y, 8, 8), signed);
    return [net.relu(net.add('Add', [z, y])), {}];
  },
  'ReLU6, Identity and Cast between': (net, x) => {
    const six = (y) => net.add('Clip', [y, net.constant(Float32Array.of(0), []), net.constant(Float32Array.of(6), [])]);
    const y = net.fake(six(net.conv(net.add('Identity', [x]), 8, 16)), { clutter: true });
    return [six(net.conv(y, 16, 16)), {}];
  },
  'Linear as a Gemm': (net, x) => [net.linear(net.fake(net.relu(net.conv(x, 8, 64))), 64, 1200), signed],
  'Linear as a MatMul and an Add': (net, x) => [net.linear(net.fake(net.relu(net.conv(x, 8, 64))), 64, 1200, { asMatMul: true }), signed],
};

function build(make, seed) {
  const net = new Net(seed);
  const [last, grid] = make(net, net.fake('x', input));
  const { scale = 6 / 255 } = grid;
  const y = net.fake(last, grid);
  const model = onnx({
    nodes: net.nodes,
    weights: net.weights,
    inputs: [{ name: 'x', shape: inputShape }],
    outputs: [{ name: y }],
  });
  return { model, scale, x: randomTensor({ name: 'x', type: 'float32', shape: inputShape }, random(seed + 1)) };
}

/** [name, { model, x, scale, normalizes }] of each form; `scale` is a step of the output. */
export const qatNetworks = Object.entries(forms).map(([name, make], i) => [
  name,
  { ...build(make, 100 + i), normalizes: make.toString().includes('convBn') },
]);

/** A ConvBn2d with a negative factor, which no scale can be. */
export const negativeFactor = build(
  (net, x) => [net.convBn(net.fake(net.relu(net.convBn(x, 8, 16, { negative: true }))), 16, 16), signed],
  200,
);
