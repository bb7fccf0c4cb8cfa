// Writes a chain of int8 BatchNorms as a .tflite file: each a MUL and an ADD with a constant per channel, which is what TensorFlow Lite
// makes of a BatchNormalization that cannot be folded. Field numbers: tensorflow/lite/schema/schema.fbs.

import { Builder } from 'flatbuffers';

const types = { float32: 0, int32: 2, int8: 9 };
// Operator code, version and kind of its options (0: none).
const operators = { ADD: [0, 2, 11], DEQUANTIZE: [6, 2, 0], MUL: [18, 2, 21], SLICE: [65, 2, 0], QUANTIZE: [114, 1, 0] };

class Model {
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

  tensor(name, shape, type, { data, scale } = {}) {
    let buffer = 0;
    if (data) {
      const bytes = this.#vector(1, new Uint8Array(data.buffer), (value) => this.#b.addInt8(value));
      buffer = this.#buffers.push(this.#table(1, (b) => b.addFieldOffset(0, bytes, 0))) - 1;
    }
    let quantization = 0;
    if (scale) {
      const scales = this.#vector(4, [scale], (value) => this.#b.addFloat32(value));
      const zeros = this.#vector(8, [0n], (value) => this.#b.addInt64(value));
      quantization = this.#table(7, (b) => {
        b.addFieldOffset(2, scales, 0);
        b.addFieldOffset(3, zeros, 0);
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

  operator(name, inputs, output) {
    const options = operators[name][2];
    const ins = this.#ints(inputs);
    const outs = this.#ints([output]);
    const body = options ? this.#table(8, () => {}) : 0;
    this.#operators.push(
      this.#table(9, (b) => {
        b.addFieldInt32(0, Object.keys(operators).indexOf(name), 0);
        b.addFieldOffset(1, ins, 0);
        b.addFieldOffset(2, outs, 0);
        if (options) {
          b.addFieldInt8(3, options, 0);
          b.addFieldOffset(4, body, 0);
        }
      }),
    );
    return output;
  }

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
  const model = new Model();
  const shape = [1, size, size, channels];
  const codes = { scale: 0.05 };
  const input = model.tensor('x', shape, 'float32');
  let x = model.operator('QUANTIZE', [input], model.tensor('xq', shape, 'int8', codes));
  for (let i = 0; i < count; i++) {
    const constant = (name, from) =>
      model.tensor(`${name}${i}`, [channels], 'int8', {
        data: Int8Array.from({ length: channels }, (_, c) => from + (c % 40)),
        scale: 0.012,
      });
    x = model.operator('MUL', [x, constant('weight', 50)], model.tensor(`m${i}`, shape, 'int8', codes));
    x = model.operator('ADD', [x, constant('bias', -20)], model.tensor(`y${i}`, shape, 'int8', codes));
  }
  const begin = model.tensor('begin', [4], 'int32', { data: new Int32Array(4) });
  const sizes = model.tensor('size', [4], 'int32', { data: new Int32Array(4).fill(1) });
  const one = model.operator('SLICE', [x, begin, sizes], model.tensor('one', [1, 1, 1, 1], 'int8', codes));
  return model.bytes(input, model.operator('DEQUANTIZE', [one], model.tensor('y', [1, 1, 1, 1], 'float32')));
}
