// The .tflite twin of an ONNX file: the same layers with the same weights, float or int8 with the file's own scales, for LiteRT.js.
//
// TensorFlow Lite's int8 is ours with codes shifted from uint8 to int8. Two things differ, and a converter of theirs would do as is done
// here: what only moves codes (pools, Concat, Slice) has one grid for its inputs and outputs, and a HardSigmoid is relu6(x + 3) / 6.

import { readGraph } from '../tools/onnx.mjs';
import { TfliteModel } from './tflite.mjs';

/** Operators whose inputs and outputs share one grid. */
const movers = new Set(['MaxPool', 'AveragePool', 'Concat', 'Slice', 'Flatten']);

const rangeOf = ({ scale, zero }) => [(-128 - zero) * scale, (127 - zero) * scale];

/** The int8 grid that holds all ranges of `grids`; one of them where they are alike. */
export function commonGrid(grids) {
  const [first, ...rest] = grids;
  if (rest.every(({ scale, zero }) => scale === first.scale && zero === first.zero)) return first;
  const low = Math.min(...grids.map((grid) => rangeOf(grid)[0]));
  const high = Math.max(...grids.map((grid) => rangeOf(grid)[1]));
  const scale = Math.fround((high - low) / 255);
  return { scale, zero: Math.round(-low / scale) - 128 };
}

/** The file's layers without QuantizeLinear and DequantizeLinear: what those say is in `grids` and `constants`. */
function withoutQdq({ nodes, weights, inputs, outputs }) {
  const grids = new Map(); // of quantized values
  const constants = new Map([...weights].map(([name, { data, shape }]) => [name, { data, shape }]));
  const sources = new Map(); // of what QuantizeLinear and DequantizeLinear put out
  const source = (name) => (sources.has(name) ? source(sources.get(name)) : name);
  const layers = [];
  for (const { op, attrs, inputs: from, outputs: to } of nodes) {
    if (op === 'QuantizeLinear') {
      const zero = weights.get(from[2]);
      grids.set(source(from[0]), { scale: weights.get(from[1]).data[0], zero: zero.data[0] - (zero.type === 'uint8' ? 128 : 0) });
      sources.set(to[0], from[0]);
    } else if (op === 'DequantizeLinear' && weights.has(from[0])) {
      constants.set(to[0], { ...weights.get(from[0]), scales: [...weights.get(from[1]).data] });
    } else if (op === 'DequantizeLinear') {
      sources.set(to[0], from[0]);
    } else {
      layers.push({ op, attrs, inputs: from.map(source), output: to[0] });
    }
  }
  return { layers, constants, grids, input: inputs.find(({ name }) => !weights.has(name)), output: source(outputs[0].name) };
}

/** Makes the values that a mover connects have one grid. */
function unifyGrids(layers, grids) {
  const leaders = new Map();
  const leader = (name) => (leaders.has(name) ? leader(leaders.get(name)) : name);
  for (const { op, inputs, output } of layers) {
    if (!movers.has(op)) continue;
    for (const name of inputs) if (grids.has(name) && leader(name) !== leader(output)) leaders.set(leader(name), leader(output));
  }
  const groups = Map.groupBy(grids.keys(), leader);
  for (const names of groups.values()) {
    const common = commonGrid(names.map((name) => grids.get(name)));
    for (const name of names) grids.set(name, common);
  }
}

/** Float layers: an activation moves into what makes its input, if nothing else reads that. */
function fuseActivations(layers, grids) {
  const readers = Map.groupBy(
    layers.flatMap(({ inputs }) => inputs),
    (name) => name,
  );
  const fused = [];
  for (const layer of layers) {
    const kind = { Relu: 'relu', Clip: 'relu6' }[layer.op];
    const before = fused.at(-1);
    const fits = kind && before?.output === layer.inputs[0] && readers.get(before.output).length === 1 && !grids.has(before.output);
    if (fits && ['Conv', 'Gemm', 'Add', 'BatchNormalization'].includes(before.op)) {
      fused[fused.length - 1] = { ...before, output: layer.output, activation: kind };
    } else fused.push(layer);
  }
  return fused;
}

const product = (shape) => shape.reduce((all, dim) => all * dim, 1);

/** From [out, in, height, width] to [out, height, width, in], or for depthwise weights to [1, height, width, out]. */
function channelsLast(data, [outs, ins, height, width], depthwise) {
  const moved = new data.constructor(data.length);
  const area = height * width;
  for (let o = 0; o < outs; o++)
    for (let i = 0; i < ins; i++)
      for (let at = 0; at < area; at++) moved[depthwise ? at * outs + o : (o * area + at) * ins + i] = data[(o * ins + i) * area + at];
  return moved;
}

class Writer {
  model = new TfliteModel();
  #tensors = new Map();
  #shapes = new Map(); // channels last
  #constants;
  #grids;

  constructor({ constants, grids }) {
    this.#constants = constants;
    this.#grids = grids;
  }

  shape = (name) => this.#shapes.get(name);
  tensor = (name) => this.#tensors.get(name);

  /** The tensor of a value that a layer computes. */
  value(name, shape) {
    const grid = this.#grids.get(name);
    this.#shapes.set(name, shape);
    const tensor = this.model.tensor(name, shape, grid ? 'int8' : 'float32', grid ? { scales: [grid.scale], zero: grid.zero } : {});
    this.#tensors.set(name, tensor);
    return tensor;
  }
  alias(name, of) {
    this.#shapes.set(name, this.shape(of));
    this.#tensors.set(name, this.tensor(of));
  }

  /** The file's input in float; int8 behind a QUANTIZE where the file quantizes it. */
  input({ name, shape }) {
    const [batch, channels, height, width] = shape;
    const dims = height === undefined ? shape : [batch, height, width, channels];
    const outside = this.model.tensor('input', dims, 'float32');
    if (!this.#grids.has(name)) {
      this.#shapes.set(name, dims);
      this.#tensors.set(name, outside);
    } else this.model.operator('QUANTIZE', [outside], this.value(name, dims));
    return outside;
  }
  output(name) {
    if (!this.#grids.has(name)) return this.tensor(name);
    return this.model.operator('DEQUANTIZE', [this.tensor(name)], this.model.tensor('output', this.shape(name), 'float32'));
  }

  /**
   * Weights and bias of a product, laid out by `arrange`. The bias is brought to the grid that TensorFlow Lite asks for: input times
   * weights.
   */
  #product([x, w, b], shape, arrange, axis) {
    const { data, scales } = this.#constants.get(w);
    const bias = this.#constants.get(b);
    if (!scales) {
      return [this.model.tensor(w, shape, 'float32', { data: arrange(data) }), this.model.tensor(b, bias.shape, 'float32', bias)];
    }
    const wanted = scales.map((scale) => scale * this.#grids.get(x).scale);
    const codes = bias.data.map((code, c) => Math.round((code * bias.scales[c]) / wanted[c]));
    return [
      this.model.tensor(w, shape, 'int8', { data: arrange(data), scales, axis }),
      this.model.tensor(b, bias.shape, 'int32', { data: codes, scales: wanted }),
    ];
  }

  Conv({ inputs, output, attrs: { strides: [stride] = [1], pads = [0, 0, 0, 0], group }, activation }) {
    const [x, w] = inputs;
    const [outs, ins, kernel] = this.#constants.get(w).shape;
    const [batch, size] = this.shape(x);
    const depthwise = group > 1;
    const padding = pads.some((pad) => pad > 0) || kernel === 1 ? 'same' : 'valid';
    const to = Math.floor((size + pads[0] + pads[2] - kernel) / stride) + 1;
    const shape = depthwise ? [1, kernel, kernel, outs] : [outs, kernel, kernel, ins];
    const arrange = (data) => channelsLast(data, [outs, ins, kernel, kernel], depthwise);
    const constants = this.#product(inputs, shape, arrange, depthwise ? 3 : 0);
    const name = depthwise ? 'DEPTHWISE_CONV_2D' : 'CONV_2D';
    this.model.operator(name, [this.tensor(x), ...constants], this.value(output, [batch, to, to, outs]), { stride, padding, activation });
  }
  Gemm({ inputs, output, activation }) {
    const { shape } = this.#constants.get(inputs[1]);
    const constants = this.#product(inputs, shape, (data) => data, 0);
    this.model.operator('FULLY_CONNECTED', [this.tensor(inputs[0]), ...constants], this.value(output, [1, shape[0]]), { activation });
  }
  BatchNormalization({ inputs: [x, ...rest], output, activation, attrs: { epsilon = 1e-5 } }) {
    const [scale, bias, mean, variance] = rest.map((name) => this.#constants.get(name).data);
    const factor = scale.map((value, c) => value / Math.sqrt(variance[c] + epsilon));
    const shift = bias.map((value, c) => value - mean[c] * factor[c]);
    const vector = (name, data) => this.model.tensor(`${output}_${name}`, [data.length], 'float32', { data });
    const between = this.value(`${output}_product`, this.shape(x));
    this.model.operator('MUL', [this.tensor(x), vector('factor', factor)], between);
    this.model.operator('ADD', [between, vector('shift', shift)], this.value(output, this.shape(x)), { activation });
  }
  #binary(name, { inputs, output, activation }) {
    const shapes = inputs.map(this.shape);
    const shape = shapes[0].map((dim, axis) => Math.max(dim, shapes[1][axis]));
    this.model.operator(name, inputs.map(this.tensor), this.value(output, shape), { activation });
  }
  Add = (layer) => this.#binary('ADD', layer);
  Mul = (layer) => this.#binary('MUL', layer);

  #unary(name, { inputs: [x], output }) {
    this.model.operator(name, [this.tensor(x)], this.value(output, this.shape(x)));
  }
  Relu = (layer) => this.#unary('RELU', layer);
  Clip = (layer) => this.#unary('RELU6', layer);
  HardSwish(layer) {
    const { inputs, output } = layer;
    if (!this.#grids.has(output)) return this.#unary('HARD_SWISH', layer);
    // LiteRT.js has no fast int8 HARD_SWISH: three operators that XNNPACK has take a third of its time.
    const gate = `${output}_gate`;
    this.#grids.set(gate, { scale: 1 / 255, zero: -128 });
    this.HardSigmoid({ inputs, output: gate });
    return this.Mul({ inputs: [inputs[0], gate], output });
  }
  HardSigmoid({ inputs: [x], output }) {
    const int8 = this.#grids.has(output);
    const constant = (name, value) =>
      int8
        ? this.model.tensor(`${output}_${name}`, [1], 'int8', { data: Int8Array.of(127), scales: [value / 127] })
        : this.model.tensor(`${output}_${name}`, [1], 'float32', { data: Float32Array.of(value) });
    const shape = this.shape(x);
    if (int8) this.#grids.set(`${output}_relu6`, { scale: 6 / 255, zero: -128 });
    const between = this.value(`${output}_relu6`, shape);
    this.model.operator('ADD', [this.tensor(x), constant('three', 3)], between, { activation: 'relu6' });
    this.model.operator('MUL', [between, constant('sixth', 1 / 6)], this.value(output, shape));
  }

  #pool(
    name,
    {
      inputs: [x],
      output,
      attrs: {
        kernel_shape: [kernel],
        strides: [stride],
        pads,
      },
    },
  ) {
    const [batch, size, , channels] = this.shape(x);
    const to = Math.floor((size + pads[0] + pads[2] - kernel) / stride) + 1;
    const padding = pads.some((pad) => pad > 0) ? 'same' : 'valid';
    this.model.operator(name, [this.tensor(x)], this.value(output, [batch, to, to, channels]), { kernel, stride, padding });
  }
  MaxPool = (layer) => this.#pool('MAX_POOL_2D', layer);
  AveragePool = (layer) => this.#pool('AVERAGE_POOL_2D', layer);
  GlobalAveragePool({ inputs: [x], output }) {
    const axes = this.model.tensor(`${output}_axes`, [2], 'int32', { data: Int32Array.of(1, 2) });
    this.model.operator('MEAN', [this.tensor(x), axes], this.value(output, [1, 1, 1, this.shape(x)[3]]));
  }
  Flatten({ inputs: [x], output }) {
    if (product(this.shape(x)) !== this.shape(x).at(-1)) throw new Error(`${output}: only what has one pixel is flattened.`);
    this.alias(output, x); // the same bytes, and FULLY_CONNECTED takes either
  }
  Concat({ inputs, output }) {
    const shape = [...this.shape(inputs[0])];
    shape[shape.length - 1] = inputs.reduce((sum, name) => sum + this.shape(name).at(-1), 0);
    this.model.operator('CONCATENATION', inputs.map(this.tensor), this.value(output, shape), { axis: shape.length - 1 });
  }
  /** The first pixel: the one Slice that the benchmarks have. */
  Slice({ inputs: [x], output }) {
    const channels = this.shape(x)[3];
    const begin = this.model.tensor(`${output}_begin`, [4], 'int32', { data: new Int32Array(4) });
    const size = this.model.tensor(`${output}_size`, [4], 'int32', { data: Int32Array.of(1, 1, 1, channels) });
    this.model.operator('SLICE', [this.tensor(x), begin, size], this.value(output, [1, 1, 1, channels]));
  }
}

/** The bytes of the twin of an ONNX file (float, or QDQ with every activation quantized). Float32 in, channels last, and out. */
export function tfliteTwin(file) {
  const graph = withoutQdq(readGraph(file));
  unifyGrids(graph.layers, graph.grids);
  const writer = new Writer(graph);
  const input = writer.input(graph.input);
  for (const layer of fuseActivations(graph.layers, graph.grids)) {
    if (!writer[layer.op]) throw new Error(`${layer.op}: no operator of TensorFlow Lite is known for it here.`);
    writer[layer.op](layer);
  }
  return writer.model.bytes(input, writer.output(graph.output));
}
