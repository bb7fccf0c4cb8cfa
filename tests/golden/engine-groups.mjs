// The groups whose cases are ONNX operators and files, through the JS API of the engine (`octavo`), as tests/golden/onnx_ops.cpp and
// onnx_models.cpp run them in C++: an operator becomes a model of that one node, over codes.

import { Float, onnx } from '../../tools/onnx.mjs';

const types = { u8: 'uint8', i8: 'int8', i32: 'int32', f32: 'float32' };

/** Constants and names of a model's node, as they are asked for. */
class Inputs {
  weights = [];

  constructor(c) {
    this.c = c;
  }
  /** A tensor of the case as a constant. */
  constant(key) {
    const { data, shape } = this.c.tensor(key);
    this.weights.push({ name: key, type: types[this.c.dtype(key)], shape: [...shape], data });
    return key;
  }
  scalar(name, data, type) {
    this.weights.push({ name, type, shape: [], data });
    return name;
  }
  scale(key) {
    return this.scalar(key, Float32Array.of(this.c.get(key)), 'float32');
  }
  /** A zero point, of the dtype of tensor `of`. */
  zero(key, of) {
    const type = types[this.c.dtype(of)];
    return this.scalar(key, (type === 'int8' ? Int8Array : Uint8Array).of(this.c.get(key)), type);
  }
  /** scale and zero point of attributes NAME_scale and NAME_zp. */
  grid(name) {
    return [this.scale(`${name}_scale`), this.zero(`${name}_zp`, name)];
  }
  /** A tensor of codes, and its grid. */
  codes(name) {
    return [name, ...this.grid(name)];
  }
}

/** Runs a model of one node on the case's tensors `from`, and compares its outputs with tensors `to`. */
async function expectNode(c, { op, domain = 'com.microsoft', from, inputs, to = ['y'], attrs = {} }) {
  const build = new Inputs(c);
  const info = (key) => ({ name: key, type: types[c.dtype(key)], shape: [...c.tensor(key).shape] });
  const bytes = onnx({
    nodes: [{ op, domain, inputs: inputs(build), outputs: to, attrs }],
    inputs: from.map(info),
    outputs: to.map(info),
    weights: build.weights,
    domains: domain ? { [domain]: 1 } : {},
  });
  const y = await c.run(
    bytes,
    from.map((key) => c.tensor(key)),
  );
  for (const key of to) c.expect(key, y[key]);
}

/** An operator whose inputs are tensors of codes with their grids, and then the grid of the result. */
const onCodes =
  (op, from, attrs = () => ({})) =>
  (c) =>
    expectNode(c, { op, from, inputs: (build) => [...from.flatMap((name) => build.codes(name)), ...build.grid('y')], attrs: attrs(c) });

/** An ONNX attribute of `times` numbers for each axis of x behind the channels, of which the case has one for all, or a list. */
function repeated(c, key, otherwise, times = 1) {
  const count = times * (c.tensor('x').shape.length - 2);
  const value = [c.getOr(key, otherwise)].flat();
  if (value.length !== count && value.length !== 1) throw new Error(`attribute ${key} has ${value.length} numbers`);
  return value.length === count ? value : new Array(count).fill(value[0]);
}

/** QuantizeLinear and back; `scale` and `zero` give their inputs. */
async function both(c, scale, zero, attrs) {
  const inputs = (first) => (build) => [first, scale(build), zero(build)];
  await expectNode(c, { op: 'QuantizeLinear', domain: '', from: ['x'], inputs: inputs('x'), attrs });
  await expectNode(c, { op: 'DequantizeLinear', domain: '', from: ['y'], inputs: inputs('y'), to: ['dq'], attrs });
}

const operators = {
  QuantizeLinear: (c) =>
    both(
      c,
      (build) => build.scale('scale'),
      (build) => build.zero('zero_point', 'y'),
      {},
    ),
  QuantizeLinearAxis: (c) =>
    both(
      c,
      (build) => build.constant('scales'),
      (build) => build.constant('zero_points'),
      { axis: c.get('axis') },
    ),
  async DynamicQuantizeLinear(c) {
    const outputs = ['y', 'scale', 'zero_point'];
    const bytes = onnx({
      nodes: [{ op: 'DynamicQuantizeLinear', inputs: ['x'], outputs }],
      inputs: [{ name: 'x', shape: [...c.tensor('x').shape] }],
      outputs: outputs.map((name, i) => ({ name, type: ['uint8', 'float32', 'uint8'][i], shape: i ? [] : [...c.tensor('y').shape] })),
    });
    const found = await c.run(bytes, [c.tensor('x')]);
    c.expect('y', found.y);
    for (const key of ['scale', 'zero_point']) c.expectEqual(key, found[key].data[0], c.get(key));
  },
  QLinearConv: (c) =>
    expectNode(c, {
      op: 'QLinearConv',
      domain: '',
      from: ['x'],
      inputs: (build) => [
        ...build.codes('x'),
        ...['w', 'w_scale', 'w_zp'].map((key) => build.constant(key)),
        ...build.grid('y'),
        ...(c.has('bias') ? [build.constant('bias')] : []),
      ],
      attrs: {
        group: c.getOr('groups', 1),
        strides: repeated(c, 'stride', 1),
        pads: repeated(c, 'pad', 0, 2),
        dilations: repeated(c, 'dilation', 1),
      },
    }),
  QLinearMatMul: (c) =>
    expectNode(c, {
      op: 'QLinearMatMul',
      domain: '',
      from: ['a'],
      inputs: (build) => [...build.codes('a'), build.constant('b'), ...build.grid('b'), ...build.grid('y')],
    }),
  QLinearAdd: onCodes('QLinearAdd', ['a', 'b']),
  QLinearMul: onCodes('QLinearMul', ['a', 'b']),
  QLinearConcat: (c) =>
    expectNode(c, {
      op: 'QLinearConcat',
      from: ['a', 'b'],
      inputs: (build) => [...build.grid('y'), ...build.codes('a'), ...build.codes('b')],
      attrs: { axis: c.get('axis') },
    }),
  QLinearGlobalAveragePool: onCodes('QLinearGlobalAveragePool', ['x']),
  QLinearAveragePool: onCodes('QLinearAveragePool', ['x'], (c) => ({
    kernel_shape: repeated(c, 'k', 1),
    strides: repeated(c, 'stride', 1),
    pads: repeated(c, 'pad', 0, 2),
    ceil_mode: c.getOr('ceil', 0),
    count_include_pad: c.getOr('count_include_pad', 0),
  })),
  QLinearSigmoid: onCodes('QLinearSigmoid', ['x']),
  QLinearLeakyRelu: onCodes('QLinearLeakyRelu', ['x'], (c) => ({ alpha: new Float(c.get('alpha')) })),
};

async function onnxOps(c) {
  const kind = c.get('kind');
  if (!Object.hasOwn(operators, kind)) throw new Error(`kind ${kind} is not understood`);
  await operators[kind](c);
}

const files = {
  'qdq_quint8.onnx': 'y_QDQ_QUInt8',
  'qdq_qint8.onnx': 'y_QDQ_QInt8',
  'qoperator_quint8.onnx': 'y_QOperator_QUInt8',
  'qoperator_qint8.onnx': 'y_QOperator_QInt8',
};

/**
 * A small CNN that ONNX Runtime quantized, bit by bit. Float sums have another order here, so y_float is compared within 1e-5 of its
 * largest number. We follow ONNX Runtime with its graph optimizations, which is what its users get, not the _noopt results.
 */
async function onnxModels(c) {
  if (c.get('kind') !== 'onnx_model') throw new Error(`kind ${c.get('kind')} is not understood`);
  const x = c.tensor('x');
  const outputOf = async (file) => {
    const [y] = Object.values(await c.run(await c.file(`onnx/${file}`), [x]));
    return y.data;
  };
  for (const [file, key] of Object.entries(files)) {
    c.expect(key, await outputOf(file));
    c.ignore(`${key}_noopt`);
  }
  const want = c.tensor('y_float').data;
  const got = await outputOf('float.onnx');
  const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const near = got.length === want.length && want.every((value, i) => Math.abs(got[i] - value) <= 1e-5 * largest);
  c.expectEqual('y_float within 1e-5', near ? 'near' : 'far', 'near');
  for (let i = 0; c.has(`cal${i}`); i++) c.ignore(`cal${i}`); // tests/quantize/golden_test.cpp quantizes with them
}

/** The groups by their files' names. */
export const engineGroups = { onnx_ops: onnxOps, onnx_models: onnxModels };
