// The networks and single operators that `npm run bench` times: known architectures with seeded weights, written by tools/onnx.mjs.
//
// Nothing is downloaded and nothing was trained: speed does not depend on what a network has learnt. Weights have the variance that keeps
// the size of activations through the depth, or quantizing would meet ranges that no trained network has. Padding is TensorFlow's SAME
// (an odd pixel more below and at the right), so that the .tflite twin computes the same sums.

import { Float, onnx } from '../tools/onnx.mjs';
import { random } from './random.mjs';

/** `length` numbers of mean `mean` and variance `variance`, evenly distributed. */
const spread = (next, length, mean, variance) => {
  const width = Math.sqrt(12 * variance);
  return Float32Array.from({ length }, () => mean + (next() - 0.5) * width);
};

/** Padding before and after so that ceil(size / stride) windows fit (TensorFlow's SAME). */
function same(size, kernel, stride) {
  const total = Math.max(0, (Math.ceil(size / stride) - 1) * stride + kernel - size);
  return [total >> 1, total - (total >> 1)];
}

/** A network under construction: every method adds one layer and returns its output, { name, channels, size }. */
class Network {
  #next;
  #unfolded;
  nodes = [];
  weights = [];
  macs = 0;

  /** @param unfolded convolutions are followed by a BatchNormalization of their own; else they have its effect in them */
  constructor({ size = 224, channels = 3, seed = 1, unfolded = false }) {
    this.#next = random(seed);
    this.#unfolded = unfolded;
    this.x = { name: 'x', channels, size };
  }

  weight(shape, data) {
    const name = `w${this.weights.length}`;
    this.weights.push({ name, shape, data });
    return name;
  }
  add(op, inputs, { channels, size }, attrs = {}) {
    const name = `${op.toLowerCase()}${this.nodes.length}`;
    this.nodes.push({ op, name, inputs: inputs.map((input) => input.name ?? input), outputs: [name], attrs });
    return { name, channels, size };
  }

  /**
   * A convolution, its BatchNormalization and an activation.
   *
   * @param gain the standard deviation of what comes out, for an input of variance 1; small for the branch that a residual sum adds
   * @param normalized false: there is none, as in SqueezeNet
   * @param padding 'same', or 'valid': none
   */
  conv(x, channels, kernel, { stride = 1, groups = 1, activation, gain = 1, normalized = true, padding = 'same' } = {}) {
    const inputs = x.channels / groups;
    const fan = inputs * kernel * kernel;
    const weights = spread(this.#next, channels * fan, 0, (gain * gain * 2) / fan);
    const norm = normalized ? this.#normalization(channels) : { factor: undefined, shift: spread(this.#next, channels, 0, 0.01) };
    const separate = normalized && this.#unfolded;
    if (normalized && !separate) for (let i = 0; i < weights.length; i++) weights[i] *= norm.factor[Math.floor(i / fan)];
    const w = this.weight([channels, inputs, kernel, kernel], weights);
    const bias = separate ? [] : [this.weight([channels], norm.shift)];
    const [before, after] = padding === 'same' ? same(x.size, kernel, stride) : [0, 0];
    const size = Math.floor((x.size + before + after - kernel) / stride) + 1;
    this.macs += size * size * channels * fan;
    const attrs = { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [before, before, after, after], group: groups };
    const y = this.add('Conv', [x, w, ...bias], { channels, size }, attrs);
    return this.activate(separate ? this.#normalize(y, norm) : y, activation);
  }
  depthwise(x, kernel, options) {
    return this.conv(x, x.channels, kernel, { ...options, groups: x.channels });
  }
  batchNorm(x) {
    return this.#normalize(x, this.#normalization(x.channels));
  }
  /** The numbers of a BatchNormalization, and what it comes to: y = factor * x + shift. */
  #normalization(channels) {
    const vector = (mean) => spread(this.#next, channels, mean, 0.01);
    const [scale, bias, mean, variance] = [vector(1), vector(0), vector(0), vector(1)];
    const factor = scale.map((value, c) => value / Math.sqrt(variance[c] + 1e-5));
    return { inputs: [scale, bias, mean, variance], factor, shift: bias.map((value, c) => value - mean[c] * factor[c]) };
  }
  #normalize(x, { inputs }) {
    const names = inputs.map((data) => this.weight([x.channels], data));
    return this.add('BatchNormalization', [x, ...names], x);
  }
  activate(x, activation) {
    if (!activation) return x;
    if (activation !== 'relu6') return this.add({ relu: 'Relu', hardswish: 'HardSwish' }[activation], [x], x);
    const bound = (value) => this.weight([], Float32Array.of(value));
    return this.add('Clip', [x, bound(0), bound(6)], x);
  }
  sum(a, b) {
    return this.add('Add', [a, b], a);
  }
  concat(parts) {
    const channels = parts.reduce((sum, part) => sum + part.channels, 0);
    return { ...this.add('Concat', parts, { channels, size: parts[0].size }, { axis: 1 }), flat: parts[0].flat };
  }
  pool(x, kind, kernel, { stride = 2, padding = 'same' } = {}) {
    const [before, after] = padding === 'same' ? same(x.size, kernel, stride) : [0, 0];
    const size = Math.floor((x.size + before + after - kernel) / stride) + 1;
    const attrs = { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [before, before, after, after] };
    return this.add(kind, [x], { channels: x.channels, size }, attrs);
  }
  globalPool(x) {
    return this.add('GlobalAveragePool', [x], { channels: x.channels, size: 1 });
  }
  flatten(x) {
    return { ...this.add('Flatten', [x], x), flat: true };
  }
  dense(x, channels) {
    const w = this.weight([channels, x.channels], spread(this.#next, channels * x.channels, 0, 2 / x.channels));
    const b = this.weight([channels], spread(this.#next, channels, 0, 0.01));
    this.macs += channels * x.channels;
    return { ...this.add('Gemm', [x, w, b], { channels, size: 1 }, { transB: 1 }), flat: true };
  }
  classifier(x, classes = 1000) {
    return this.dense(this.flatten(this.globalPool(x)), classes);
  }
  /** The weights of channels by what they hold on average (squeeze and excitation of MobileNetV3). */
  excite(x, squeezed) {
    let gate = this.conv(this.globalPool(x), squeezed, 1, { activation: 'relu', normalized: false });
    gate = this.conv(gate, x.channels, 1, { normalized: false });
    gate = this.add('HardSigmoid', [gate], gate, { alpha: new Float(1 / 6), beta: 0.5 });
    return this.add('Mul', [x, gate], x);
  }

  /** { file, inputShape, macs } of the network that ends in `y`, for pictures of `rows`. */
  finish(y, rows = this.x.size) {
    this.nodes.at(-1).outputs = ['y'];
    const shape = (value) => (value.flat ? [1, value.channels] : [1, value.channels, value.size, value.size]);
    const inputShape = shape(this.x).with(2, rows);
    return {
      file: onnx({
        nodes: this.nodes,
        weights: this.weights,
        inputs: [{ name: 'x', shape: inputShape }],
        outputs: [{ name: 'y', shape: shape(y) }],
      }),
      inputShape,
      macs: this.macs,
    };
  }
}

// ---- networks ----

/** Expand, depthwise, project, and the sum with the input where the shapes are alike. */
function invertedResidual(net, x, { expand, channels, kernel = 3, stride = 1, activation = 'relu6', squeezed = 0 }) {
  let y = expand === x.channels ? x : net.conv(x, expand, 1, { activation });
  y = net.depthwise(y, kernel, { stride, activation });
  if (squeezed) y = net.excite(y, squeezed);
  y = net.conv(y, channels, 1, { gain: 0.5 });
  return stride === 1 && channels === x.channels ? net.sum(x, y) : y;
}

function mobilenetV1(net) {
  let x = net.conv(net.x, 32, 3, { stride: 2, activation: 'relu6' });
  for (const [channels, stride] of [
    [64, 1],
    [128, 2],
    [128, 1],
    [256, 2],
    [256, 1],
    [512, 2],
    ...Array(5).fill([512, 1]),
    [1024, 2],
    [1024, 1],
  ]) {
    x = net.depthwise(x, 3, { stride, activation: 'relu6' });
    x = net.conv(x, channels, 1, { activation: 'relu6' });
  }
  return net.classifier(x);
}

/** Blocks as [factor, channels, repetitions, stride, kernel]. */
function mobileBlocks(net, blocks) {
  let x = net.conv(net.x, 32, 3, { stride: 2, activation: 'relu6' });
  for (const [factor, channels, repetitions, stride, kernel = 3] of blocks) {
    for (let i = 0; i < repetitions; i++)
      x = invertedResidual(net, x, { expand: x.channels * factor, channels, kernel, stride: i === 0 ? stride : 1 });
  }
  return net.classifier(net.conv(x, 1280, 1, { activation: 'relu6' }));
}
const mobilenetV2 = (net) =>
  mobileBlocks(net, [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
  ]);
const efficientNetLite0 = (net) =>
  mobileBlocks(net, [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 40, 2, 2, 5],
    [6, 80, 3, 2],
    [6, 112, 3, 1, 5],
    [6, 192, 4, 2, 5],
    [6, 320, 1, 1],
  ]);

function mobilenetV3(net) {
  let x = net.conv(net.x, 16, 3, { stride: 2, activation: 'hardswish' });
  for (const [kernel, expand, channels, squeezed, activation, stride] of [
    [3, 16, 16, 0, 'relu', 1],
    [3, 64, 24, 0, 'relu', 2],
    [3, 72, 24, 0, 'relu', 1],
    [5, 72, 40, 24, 'relu', 2],
    [5, 120, 40, 32, 'relu', 1],
    [5, 120, 40, 32, 'relu', 1],
    [3, 240, 80, 0, 'hardswish', 2],
    [3, 200, 80, 0, 'hardswish', 1],
    [3, 184, 80, 0, 'hardswish', 1],
    [3, 184, 80, 0, 'hardswish', 1],
    [3, 480, 112, 120, 'hardswish', 1],
    [3, 672, 112, 168, 'hardswish', 1],
    [5, 672, 160, 168, 'hardswish', 2],
    [5, 960, 160, 240, 'hardswish', 1],
    [5, 960, 160, 240, 'hardswish', 1],
  ])
    x = invertedResidual(net, x, { expand, channels, kernel, stride, activation, squeezed });
  x = net.globalPool(net.conv(x, 960, 1, { activation: 'hardswish' }));
  x = net.activate(net.dense(net.flatten(x), 1280), 'hardswish');
  return net.dense(x, 1000);
}

/** `bottleneck`: 1x1, 3x3, 1x1 with four times the channels; else two 3x3. */
function resnet(net, bottleneck, repetitions) {
  let x = net.conv(net.x, 64, 7, { stride: 2, activation: 'relu' });
  x = net.pool(x, 'MaxPool', 3);
  repetitions.forEach((count, stage) => {
    const width = 64 << stage;
    const channels = bottleneck ? 4 * width : width;
    for (let i = 0; i < count; i++) {
      const stride = stage > 0 && i === 0 ? 2 : 1;
      let y = x;
      if (bottleneck) y = net.conv(y, width, 1, { activation: 'relu' });
      y = net.conv(y, width, 3, { stride, activation: 'relu' });
      y = bottleneck ? net.conv(y, channels, 1, { gain: 0.3 }) : net.conv(y, channels, 3, { gain: 0.3 });
      const shortcut = x.channels === channels ? x : net.conv(x, channels, 1, { stride, gain: 0.7 });
      x = net.activate(net.sum(y, shortcut), 'relu');
    }
  });
  return net.classifier(x);
}

/** SqueezeNet 1.1. */
function squeezenet(net) {
  const plain = { activation: 'relu', normalized: false };
  let x = net.conv(net.x, 64, 3, { ...plain, stride: 2, padding: 'valid' });
  const fires = [[16, 64], [16, 64], 'pool', [32, 128], [32, 128], 'pool', [48, 192], [48, 192], [64, 256], [64, 256]];
  for (const fire of ['pool', ...fires]) {
    if (fire === 'pool') {
      x = net.pool(x, 'MaxPool', 3, { padding: 'valid' });
      continue;
    }
    const [squeezed, expanded] = fire;
    const narrow = net.conv(x, squeezed, 1, plain);
    x = net.concat([net.conv(narrow, expanded, 1, plain), net.conv(narrow, expanded, 3, plain)]);
  }
  return net.flatten(net.globalPool(net.conv(x, 1000, 1, plain)));
}

/** DenseNet-121: its BatchNormalizations stand before the convolutions, behind a Concat, where nothing can fold them. */
function densenet121(net) {
  const normalized = (x) => net.activate(net.batchNorm(x), 'relu');
  const plain = { normalized: false };
  let x = net.pool(net.conv(net.x, 64, 7, { stride: 2, activation: 'relu' }), 'MaxPool', 3);
  [6, 12, 24, 16].forEach((layers, block) => {
    if (block > 0) x = net.pool(net.conv(normalized(x), x.channels / 2, 1, plain), 'AveragePool', 2);
    for (let i = 0; i < layers; i++) {
      const narrow = net.conv(normalized(x), 128, 1, { activation: 'relu' });
      x = net.concat([x, net.conv(narrow, 32, 3, plain)]);
    }
  });
  return net.classifier(normalized(x));
}

/**
 * By name: what builds it, and how it is quantized. `unfolded` networks keep their BatchNormalizations: as int8 operators of their own in
 * the quantized model, as nodes behind the convolutions in the float one.
 */
export const networks = {
  mobilenetv1: { title: 'MobileNetV1', build: mobilenetV1 },
  mobilenetv2: { title: 'MobileNetV2', build: mobilenetV2 },
  mobilenetv3: { title: 'MobileNetV3 Large', build: mobilenetV3 },
  resnet18: { title: 'ResNet-18', build: (net) => resnet(net, false, [2, 2, 2, 2]) },
  'resnet18-bn': { title: 'ResNet-18, BN unfolded', build: (net) => resnet(net, false, [2, 2, 2, 2]), unfolded: true },
  resnet50: { title: 'ResNet-50', build: (net) => resnet(net, true, [3, 4, 6, 3]) },
  'resnet50-bn': { title: 'ResNet-50, BN unfolded', build: (net) => resnet(net, true, [3, 4, 6, 3]), unfolded: true },
  squeezenet: { title: 'SqueezeNet 1.1', build: squeezenet },
  densenet121: { title: 'DenseNet-121', build: densenet121 },
  efficientnetlite0: { title: 'EfficientNet-Lite0', build: efficientNetLite0 },
};

/**
 * { file, inputShape, macs } of a network for pictures of `size` pixels, or of strips of them with `rows`, a multiple of 32; folded or
 * not, it computes the same. The products are those of a whole picture.
 */
export function network(name, { size = 224, rows = size, unfolded = networks[name].unfolded ?? false } = {}) {
  const { build } = networks[name];
  const net = new Network({ size, unfolded });
  return net.finish(build(net), rows);
}

// ---- single operators ----

/** `copies` of a layer on one input, each with weights of its own; one pixel of each goes to the output. */
const beside = (layer) => (net, copies) => {
  const outputs = Array.from({ length: copies }, () => corner(net, layer(net, net.x)));
  return outputs.length === 1 ? outputs[0] : net.concat(outputs);
};
function corner(net, x) {
  if (x.size === 1) return x;
  const list = (...values) => net.weight([values.length], BigInt64Array.from(values, BigInt));
  return net.add('Slice', [x, list(0, 0), list(1, 1), list(2, 3)], { channels: x.channels, size: 1 });
}
/** `copies` of a layer one after the other. */
const chained = (layer) => (net, copies) => {
  let x = net.x;
  for (let i = 0; i < copies; i++) x = layer(net, x);
  return corner(net, x);
};

/** Sums with one other tensor, whose grid is its own as a residual's is: sums of x with itself have quotients of small numbers, and ties everywhere. */
function residuals(net, copies) {
  const { macs } = net;
  const other = net.depthwise(net.x, 1);
  net.macs = macs; // as of a sum alone
  return chained((_, x) => net.sum(x, other))(net, copies);
}

const conv = (channels, size, out, kernel, stride = 1) => ({
  channels,
  size,
  build: beside((net, x) => net.conv(x, out, kernel, { stride })),
});
const depthwise = (channels, size, stride = 1) => ({ channels, size, build: beside((net, x) => net.depthwise(x, 3, { stride })) });

/** Layers by title: the time of one is that of `copies` less that of one copy, so that no engine pays for the border. */
export const operators = {
  'Conv 1x1 16→96 @112': conv(16, 112, 96, 1),
  'Conv 1x1 64→256 @56': conv(64, 56, 256, 1),
  'Conv 1x1 256→64 @56': conv(256, 56, 64, 1),
  'Conv 1x1 512→512 @14': conv(512, 14, 512, 1),
  'Conv 3x3 64→64 @56': conv(64, 56, 64, 3),
  'Conv 3x3 256→256 @14': conv(256, 14, 256, 3),
  'First layer 3x3 s2 3→32 @224': conv(3, 224, 32, 3, 2),
  'Depthwise 3x3 32 @112': depthwise(32, 112),
  'Depthwise 3x3 s2 144 @56': depthwise(144, 56, 2),
  'Depthwise 3x3 576 @14': depthwise(576, 14),
  'FC 1280→1000': { channels: 1280, size: 1, build: beside((net, x) => net.dense(net.flatten(x), 1000)) },
  'Add 64 @56': { channels: 64, size: 56, build: residuals },
};

/** { file, inputShape, macs } of `copies` of an operator. */
export function operator(name, copies) {
  const { channels, size, build } = operators[name];
  const net = new Network({ channels, size, seed: 7 });
  return net.finish(build(net, copies));
}
