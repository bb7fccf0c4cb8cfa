// Writes .tflite files: flatbuffers of tensors and operators, as far as the benchmarks need them.
// Field numbers, operator codes and kinds of options: tensorflow/lite/schema/schema.fbs.

import { Builder } from 'flatbuffers';

const types = { float32: 0, int32: 2, int8: 9 };

/** Of an operator: code, version, and the kind of its options (0: none). */
const operators = {
  ADD: [0, 2, 11],
  AVERAGE_POOL_2D: [1, 2, 5],
  CONCATENATION: [2, 2, 10],
  CONV_2D: [3, 3, 1],
  DEPTHWISE_CONV_2D: [4, 3, 2],
  DEQUANTIZE: [6, 2, 0],
  FULLY_CONNECTED: [9, 5, 8],
  MAX_POOL_2D: [17, 2, 5],
  MUL: [18, 2, 21],
  RELU: [19, 2, 0],
  RELU6: [21, 2, 0],
  MEAN: [40, 2, 27],
  SLICE: [65, 2, 0],
  QUANTIZE: [114, 1, 0],
  HARD_SWISH: [117, 1, 0],
};
const activations = { none: 0, relu: 1, relu6: 3 };
const int8 = (value) => (b, field) => b.addFieldInt8(field, value, 0);
const int32 = (value) => (b, field) => b.addFieldInt32(field, value, 0);
const padding = ({ padding: kind = 'same' }) => int8(kind === 'same' ? 0 : 1);
const activation = ({ activation: kind = 'none' }) => int8(activations[kind]);
const window = ({ kernel, stride, ...rest }) => [
  padding(rest),
  int32(stride),
  int32(stride),
  int32(kernel),
  int32(kernel),
  activation(rest),
];

/** The fields of an operator's options, in their order. */
const options = {
  ADD: (given) => [activation(given)],
  AVERAGE_POOL_2D: window,
  CONCATENATION: ({ axis }) => [int32(axis)],
  CONV_2D: ({ stride, ...rest }) => [padding(rest), int32(stride), int32(stride), activation(rest)],
  DEPTHWISE_CONV_2D: ({ stride, multiplier = 1, ...rest }) => [
    padding(rest),
    int32(stride),
    int32(stride),
    int32(multiplier),
    activation(rest),
  ],
  FULLY_CONNECTED: (given) => [activation(given)],
  MAX_POOL_2D: window,
  MEAN: () => [int8(1)], // keep_dims
  MUL: (given) => [activation(given)],
};

/** A model under construction: tensors and operators in the order of their calls. */
export class TfliteModel {
  #b = new Builder(1 << 16);
  #tensors = [];
  #buffers = [this.#table(1, () => {})]; // buffer 0 is empty
  #operators = [];

  #table(fields, fill) {
    this.#b.startObject(fields);
    fill(this.#b);
    return this.#b.endObject();
  }
  #vector(size, values, add) {
    this.#b.startVector(size, values.length, size);
    for (const value of [...values].reverse()) add(value);
    return this.#b.endVector();
  }
  #ints = (values) => this.#vector(4, values, (value) => this.#b.addInt32(value));
  #offsets = (values) => this.#vector(4, values, (value) => this.#b.addOffset(value));

  /**
   * @returns the tensor's number. `scales` (one, or one for each index of `axis`) and `zero` make it a quantized one, `data` a constant.
   */
  tensor(name, shape, type, { data, scales, zero = 0, axis = 0 } = {}) {
    let buffer = 0;
    if (data) {
      this.#b.prep(16, data.byteLength); // kernels read constants where they lie: aligned
      const bytes = this.#b.createByteVector(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      buffer = this.#buffers.push(this.#table(1, (b) => b.addFieldOffset(0, bytes, 0))) - 1;
    }
    let quantization = 0;
    if (scales) {
      const values = this.#vector(4, scales, (value) => this.#b.addFloat32(value));
      const zeros = this.#vector(8, Array(scales.length).fill(BigInt(zero)), (value) => this.#b.addInt64(value));
      quantization = this.#table(7, (b) => {
        b.addFieldOffset(2, values, 0);
        b.addFieldOffset(3, zeros, 0);
        b.addFieldInt32(6, axis, 0);
      });
    }
    const dims = this.#ints(shape);
    const label = this.#b.createString(name);
    const table = this.#table(9, (b) => {
      b.addFieldOffset(0, dims, 0);
      b.addFieldInt8(1, types[type], 0);
      b.addFieldInt32(2, buffer, 0);
      b.addFieldOffset(3, label, 0);
      if (quantization) b.addFieldOffset(4, quantization, 0);
    });
    return this.#tensors.push(table) - 1;
  }

  /** `given`: what the operator's options say by name (kernel, stride, padding, activation, axis). Returns `output`. */
  operator(name, inputs, output, given = {}) {
    const kind = operators[name][2];
    const ins = this.#ints(inputs);
    const outs = this.#ints([output]);
    const fields = options[name]?.(given) ?? [];
    const body = kind ? this.#table(8, (b) => fields.forEach((write, field) => write(b, field))) : 0;
    this.#operators.push(
      this.#table(9, (b) => {
        b.addFieldInt32(0, Object.keys(operators).indexOf(name), 0);
        b.addFieldOffset(1, ins, 0);
        b.addFieldOffset(2, outs, 0);
        if (kind) {
          b.addFieldInt8(3, kind, 0);
          b.addFieldOffset(4, body, 0);
        }
      }),
    );
    return output;
  }

  /** The file; `input` and `output` are tensors' numbers. */
  bytes(input, output) {
    const b = this.#b;
    const codes = this.#offsets(
      Object.values(operators).map(([code, version]) =>
        this.#table(4, () => {
          b.addFieldInt8(0, code, 0);
          b.addFieldInt32(2, version, 1);
          b.addFieldInt32(3, code, 0);
        }),
      ),
    );
    const fields = [this.#offsets(this.#tensors), this.#ints([input]), this.#ints([output]), this.#offsets(this.#operators)];
    const graph = this.#table(5, () => fields.forEach((field, i) => b.addFieldOffset(i, field, 0)));
    const graphs = this.#offsets([graph]);
    const buffers = this.#offsets(this.#buffers);
    const model = this.#table(8, () => {
      b.addFieldInt32(0, 3, 0);
      b.addFieldOffset(1, codes, 0);
      b.addFieldOffset(2, graphs, 0);
      b.addFieldOffset(4, buffers, 0);
    });
    b.finish(model, 'TFL3');
    return b.asUint8Array();
  }
}

/** `count` BatchNorms one after the other over [1, size, size, channels]; float32 in, one element of the result as float32 out. */
export function batchNormChain(channels, size, count) {
  const model = new TfliteModel();
  const shape = [1, size, size, channels];
  const codes = { scales: [0.05] };
  const input = model.tensor('x', shape, 'float32');
  let x = model.operator('QUANTIZE', [input], model.tensor('xq', shape, 'int8', codes));
  for (let i = 0; i < count; i++) {
    const constant = (name, from) =>
      model.tensor(`${name}${i}`, [channels], 'int8', {
        data: Int8Array.from({ length: channels }, (_, c) => from + (c % 40)),
        scales: [0.012],
      });
    x = model.operator('MUL', [x, constant('weight', 50)], model.tensor(`m${i}`, shape, 'int8', codes));
    x = model.operator('ADD', [x, constant('bias', -20)], model.tensor(`y${i}`, shape, 'int8', codes));
  }
  const begin = model.tensor('begin', [4], 'int32', { data: new Int32Array(4) });
  const sizes = model.tensor('size', [4], 'int32', { data: new Int32Array(4).fill(1) });
  const one = model.operator('SLICE', [x, begin, sizes], model.tensor('one', [1, 1, 1, 1], 'int8', codes));
  return model.bytes(input, model.operator('DEQUANTIZE', [one], model.tensor('y', [1, 1, 1, 1], 'float32')));
}
