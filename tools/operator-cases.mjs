// Small cases of our own for every operator: at least one for each attribute and each form of an input, in the first and the last opset
// that spell it so, in float (or whatever the operator works on) and, where it has an integer form, on codes. tests/js/operators.test.mjs
// runs them beside onnxruntime-node; docs/reference/operators.md counts them.

import { elements, random } from './conformance.mjs';
import { Float, onnx, typed } from './onnx.mjs';

export const firstOpset = 7;
export const lastOpset = 22;

// ---- the tensors of a case ----

/** An input of random numbers in [low, high). */
const x = (shape, low = -2, high = 2) => ({ type: 'float32', shape, low, high });
const of = (type, shape, data) => ({ type, shape, data: typed(type, data) });
const bools = (shape) => ({ type: 'bool', shape, low: 0, high: 2 });
const whole = (type, shape, low = -9, high = 10) => ({ type, shape, low, high });
/** The same as a constant of the model. */
const fixed = (tensor) => ({ ...tensor, constant: true });
const w = (shape, low = -1, high = 1) => fixed(x(shape, low, high));
const ints = (...values) => fixed(of('int64', [values.length], values));
const int = (value) => fixed(of('int64', [], [value]));
const number = (value) => fixed(of('float32', [], [value]));
const none = null;

// ---- the table ----

/**
 * `since` is the operator's first opset; a form is { in, attrs, out, from, to, codes }. `out` lists the outputs' types (one float), `from`
 * and `to` the opsets that spell it so. `codes` says which inputs have codes in the int8 form and which is a weight, false where this form
 * has none; `grid` that the output lies on the input's grid.
 */
const unary = (since, low = -3, high = 3, forms = [{}]) => ({
  since,
  codes: { data: [0] },
  forms: forms.map((form) => ({ in: [x([2, 3, 4, 5], low, high)], ...form })),
});
const F = (value) => new Float(value);
const image = x([1, 4, 6, 5]);
const two = (since, more = []) => ({
  since,
  codes: { data: [0, 1] },
  forms: [
    { in: [x([2, 3, 4]), x([2, 3, 4])] },
    { in: [x([2, 3, 4]), x([3, 1])] },
    { in: [x([4]), x([2, 3, 4])] },
    { in: [x([2, 3, 4]), w([1], 0.5, 1)] },
    { in: [x([2, 3, 4]), w([3, 1], 0.5, 1)] },
    ...more,
  ],
});
const integers = (list = ['int64', 'int32']) =>
  list.map((type) => ({ in: [whole(type, [2, 3]), whole(type, [3], 1, 5)], out: [type], codes: false }));
const compare = (since, integersSince = since) => ({
  since,
  forms: [
    { in: [x([2, 3]), x([3])], out: ['bool'] },
    { in: [whole('int64', [2, 3], 0, 3), whole('int64', [2, 1], 0, 3)], out: ['bool'], from: integersSince },
    { in: [whole('int32', [2, 3], 0, 3), whole('int32', [], 0, 3)], out: ['bool'], from: integersSince },
  ],
});
const logic = { since: 7, forms: [{ in: [bools([2, 3]), bools([3])], out: ['bool'] }] };
const reduction = (codes) => ({
  since: 1,
  ...(codes ?? { codes: false }),
  forms: [
    { in: [x([2, 3, 4, 5])], attrs: { axes: [1, -1] }, to: 17 },
    { in: [x([2, 3, 4])], attrs: { axes: [1], keepdims: 0 }, to: 17 },
    { in: [x([2, 3, 4])] },
    { in: [x([2, 3, 4]), ints(0, 2)], from: 18 },
    { in: [x([2, 3, 4]), ints(-1)], attrs: { keepdims: 0 }, from: 18 },
  ],
});
/** A recurrent operator over 5 steps, 2 sequences, 3 numbers and 4 units; `gates` of them, and the optional inputs behind the recurrent weight. */
const recurrent = (gates, states, more) => {
  const weights = (directions) => [w([directions, gates * 4, 3]), w([directions, gates * 4, 4])];
  const bias = (directions) => w([directions, 2 * gates * 4]);
  const sequences = x([5, 2, 3]);
  const lengths = fixed(of('int32', [2], [5, 3]));
  const start = (directions) => Array.from({ length: states }, () => x([directions, 2, 4]));
  const out = Array.from({ length: states + 1 }, () => 'float32');
  return {
    since: 7,
    forms: [
      { in: [sequences, ...weights(1)], attrs: { hidden_size: 4 }, out },
      { in: [sequences, ...weights(1), bias(1)], attrs: { hidden_size: 4, direction: 'reverse', clip: F(0.7) }, out },
      { in: [sequences, ...weights(2), bias(2), lengths, ...start(2)], attrs: { hidden_size: 4, direction: 'bidirectional' }, out },
      ...more({ sequences, weights, bias, lengths, start, out }),
    ],
  };
};
const moves = { codes: { data: [0] }, grid: true };
const pool = (extra = []) => [
  { in: [image], attrs: { kernel_shape: [3, 3] } },
  { in: [image], attrs: { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1] } },
  { in: [image], attrs: { kernel_shape: [3, 3], strides: [2, 2], auto_pad: 'SAME_UPPER' } },
  { in: [image], attrs: { kernel_shape: [2, 2], strides: [2, 2], auto_pad: 'SAME_LOWER' } },
  { in: [x([1, 3, 9])], attrs: { kernel_shape: [3], strides: [2] } },
  { in: [x([1, 2, 4, 5, 4])], attrs: { kernel_shape: [2, 2, 2] }, codes: false },
  { in: [image], attrs: { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 }, from: 10 },
  ...extra,
];
const weighted = { codes: { data: [0], weight: 1 } };
const arg = {
  since: 1,
  codes: { data: [0] },
  forms: [
    { in: [x([2, 3, 4])], out: ['int64'] },
    { in: [x([2, 3, 4])], attrs: { axis: 1, keepdims: 0 }, out: ['int64'] },
    { in: [x([2, 3, 4])], attrs: { axis: -1 }, out: ['int64'], from: 11 },
    { in: [of('float32', [2, 4], [1, 3, 3, 2, 5, 5, 5, 4])], attrs: { axis: 1, select_last_index: 1 }, out: ['int64'], from: 12 },
  ],
};
const scores = of('float32', [1, 2, 6], [0.9, 0.75, 0.6, 0.95, 0.5, 0.3, 0.2, 0.8, 0.8, 0.1, 0.7, 0.6]);
const boxes = of(
  'float32',
  [1, 6, 4],
  [0, 0, 1, 1, 0, 0.1, 1, 1.1, 0, -0.1, 1, 0.9, 0, 10, 1, 11, 1, 10.1, 0, 11.1, 0, 100, 1, 101].map(Number),
);
const centred = of(
  'float32',
  [1, 6, 4],
  [0.5, 0.5, 1, 1, 0.6, 0.5, 1, 1, 0.4, 0.5, 1, 1, 10.5, 0.5, 1, 1, 10.6, 0.5, 1, 1, 100.5, 0.5, 1, 1],
);
const resize = (attrs, scales, more = {}) => ({ in: [image, none, fixed(of('float32', [4], scales))], attrs, from: 13, ...more });

/** Every operator of the engine, and those that it spells as others. */
export const operators = {
  Abs: { ...unary(6), forms: [{ in: [x([2, 3, 4])] }, { in: [whole('int32', [2, 3])], out: ['int32'], codes: false }] },
  Acos: unary(7, -1, 1),
  Acosh: unary(9, 1, 6),
  Add: two(7, integers()),
  And: logic,
  ArgMax: arg,
  ArgMin: arg,
  Asin: unary(7, -1, 1),
  Asinh: unary(9),
  Atan: unary(7),
  Atanh: unary(9, -0.9, 0.9),
  AveragePool: {
    since: 1,
    codes: { data: [0] },
    forms: pool([
      { in: [image], attrs: { kernel_shape: [3, 3], pads: [1, 1, 1, 1], count_include_pad: 1 } },
      { in: [image], attrs: { kernel_shape: [2, 2], dilations: [2, 2] }, from: 19, codes: false },
    ]),
  },
  BatchNormalization: {
    since: 7,
    codes: { data: [0] },
    forms: [
      { in: [image, w([4]), w([4]), w([4]), w([4], 0.2, 2)] },
      { in: [x([3, 4]), w([4]), w([4]), w([4]), w([4], 0.2, 2)], attrs: { epsilon: F(0.01), momentum: F(0.5) } },
      { in: [image, ...Array.from({ length: 3 }, () => w([4, 6, 5])), w([4, 6, 5], 0.2, 2)], attrs: { spatial: 0 }, to: 8, codes: false },
    ],
  },
  Cast: {
    since: 6,
    forms: [
      { in: [x([2, 3], -9, 9)], attrs: { to: 7 }, out: ['int64'] },
      { in: [x([2, 3], -9, 9)], attrs: { to: 6 }, out: ['int32'] },
      { in: [x([2, 3], 0, 200)], attrs: { to: 2 }, out: ['uint8'] },
      { in: [whole('int64', [2, 3])], attrs: { to: 1 } },
      { in: [whole('int32', [2, 3], -1, 2)], attrs: { to: 9 }, out: ['bool'] },
      { in: [bools([4])], attrs: { to: 1 } },
      { in: [whole('int32', [2, 3], 0, 9)], attrs: { to: 12 }, out: ['uint32'] },
      { in: [whole('uint32', [2, 3], 0, 9)], attrs: { to: 6 }, out: ['int32'] },
      { in: [x([3])], attrs: { to: 1, saturate: 1 }, from: 19 },
    ],
  },
  Ceil: unary(6),
  Celu: unary(12, -3, 3, [{}, { attrs: { alpha: F(0.4) } }]),
  Clip: {
    since: 6,
    codes: { data: [0] },
    forms: [
      { in: [image], attrs: { min: F(-0.5), max: F(1) }, to: 10 },
      { in: [image], attrs: { max: F(1) }, to: 10 },
      { in: [image, number(-0.5), number(1)], from: 11 },
      { in: [image, none, number(1)], from: 11 },
      { in: [image, number(0)], from: 11 },
      { in: [image], from: 11 },
      { in: [image, of('float32', [], [-1]), of('float32', [], [0.5])], from: 11, codes: false },
      { in: [whole('int32', [2, 3]), fixed(of('int32', [], [-3])), fixed(of('int32', [], [4]))], out: ['int32'], from: 12, codes: false },
    ],
  },
  Concat: {
    since: 4,
    codes: { data: [0, 1] },
    forms: [
      { in: [x([2, 3, 4]), x([2, 2, 4])], attrs: { axis: 1 } },
      { in: [x([2, 3]), x([2, 1]), x([2, 2])], attrs: { axis: -1 }, codes: { data: [0, 1, 2] } },
      { in: [whole('int64', [2]), whole('int64', [3])], attrs: { axis: 0 }, out: ['int64'], codes: false },
    ],
  },
  Constant: {
    since: 1,
    forms: [
      { in: [], attrs: { value: { type: 'float32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) } } },
      { in: [], attrs: { value_float: F(2.5) }, from: 12 },
      { in: [], attrs: { value_int: 3 }, out: ['int64'], from: 12 },
      { in: [], attrs: { value_floats: Float32Array.of(1, 2) }, from: 12 },
      { in: [], attrs: { value_ints: [1, 2, 3] }, out: ['int64'], from: 12 },
    ],
  },
  ConstantOfShape: {
    since: 9,
    forms: [
      { in: [ints(2, 3)] },
      { in: [ints(2)], attrs: { value: { type: 'int64', shape: [1], data: BigInt64Array.of(7n) } }, out: ['int64'] },
    ],
  },
  Conv: {
    since: 1,
    ...weighted,
    forms: [
      { in: [image, w([3, 4, 3, 3])] },
      { in: [image, w([3, 4, 3, 3]), w([3])], attrs: { pads: [1, 1, 1, 1], strides: [2, 1], kernel_shape: [3, 3] } },
      { in: [image, w([4, 1, 3, 3]), w([4])], attrs: { group: 4, auto_pad: 'SAME_UPPER' } },
      { in: [image, w([6, 2, 2, 2])], attrs: { group: 2, auto_pad: 'SAME_LOWER' } },
      { in: [image, w([2, 4, 2, 2])], attrs: { dilations: [2, 2], auto_pad: 'VALID' } },
      { in: [x([2, 3, 9]), w([4, 3, 3])], attrs: { strides: [2] } },
      { in: [x([1, 2, 4, 5, 4]), w([3, 2, 2, 3, 2]), w([3])], attrs: { pads: [0, 1, 0, 1, 1, 0] } },
      { in: [image, x([3, 4, 3, 3]), x([3])], attrs: { pads: [1, 1, 1, 1] }, codes: false },
    ],
  },
  ConvInteger: {
    since: 10,
    forms: [
      {
        in: [
          whole('uint8', [1, 2, 5, 5], 0, 256),
          whole('uint8', [3, 2, 3, 3], 0, 256),
          fixed(of('uint8', [], [120])),
          fixed(of('uint8', [], [128])),
        ],
        out: ['int32'],
      },
      {
        in: [whole('uint8', [1, 2, 5, 5], 0, 256), whole('uint8', [2, 2, 3, 3], 0, 256)],
        attrs: { pads: [1, 1, 1, 1], strides: [2, 2] },
        out: ['int32'],
      },
      {
        in: [whole('uint8', [1, 4, 5], 0, 256), whole('uint8', [4, 2, 2], 0, 256)],
        attrs: { group: 2, dilations: [2], kernel_shape: [2] },
        out: ['int32'],
      },
    ],
  },
  ConvTranspose: {
    since: 1,
    ...weighted,
    forms: [
      { in: [x([1, 3, 4, 4]), w([3, 2, 3, 3])] },
      { in: [x([1, 3, 4, 4]), w([3, 2, 3, 3]), w([2])], attrs: { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] } },
      { in: [x([1, 4, 4, 3]), w([4, 2, 2, 2])], attrs: { group: 2, strides: [2, 2] } },
      { in: [x([1, 2, 4, 4]), w([2, 2, 2, 2])], attrs: { dilations: [2, 2], kernel_shape: [2, 2] } },
      { in: [x([1, 2, 4, 4]), w([2, 2, 3, 3])], attrs: { strides: [2, 2], output_shape: [8, 8] } },
      { in: [x([1, 2, 4, 4]), w([2, 2, 3, 3])], attrs: { strides: [2, 2], auto_pad: 'SAME_UPPER' }, from: 11 },
      { in: [x([2, 3, 5]), w([3, 2, 3])], attrs: { strides: [2] } },
      {
        in: [x([2, 4, 3, 3, 3]), w([4, 2, 2, 3, 2]), w([4])],
        attrs: { strides: [2, 1, 2], pads: [0, 1, 0, 1, 1, 0], group: 2 },
        codes: false,
      },
      { in: [x([1, 3, 4, 4]), x([3, 2, 3, 3])], attrs: { strides: [2, 2] }, codes: false },
    ],
  },
  Cos: unary(7),
  Cosh: unary(9),
  CumSum: {
    since: 11,
    forms: [
      { in: [x([2, 3, 4]), int(1)] },
      { in: [x([2, 3, 4]), int(-1)], attrs: { exclusive: 1 } },
      { in: [x([2, 3, 4]), int(0)], attrs: { reverse: 1 } },
      { in: [whole('int64', [5]), int(0)], out: ['int64'] },
    ],
  },
  DepthToSpace: {
    since: 1,
    ...moves,
    forms: [
      { in: [x([1, 8, 2, 3])], attrs: { blocksize: 2 } },
      { in: [x([1, 8, 2, 3])], attrs: { blocksize: 2, mode: 'CRD' }, from: 11 },
      { in: [x([1, 8, 2, 3])], attrs: { blocksize: 2, mode: 'DCR' }, from: 11 },
    ],
  },
  DequantizeLinear: {
    since: 10,
    forms: [
      { in: [whole('uint8', [2, 3], 0, 256), number(0.03), fixed(of('uint8', [], [100]))] },
      { in: [whole('int8', [2, 3], -128, 128), number(0.03)] },
      { in: [whole('int32', [2, 3], -9999, 9999), number(0.003)] },
      {
        in: [whole('int8', [2, 3], -128, 128), fixed(of('float32', [3], [0.1, 0.2, 0.3])), fixed(of('int8', [3], [1, 0, -7]))],
        attrs: { axis: 1 },
        from: 13,
      },
    ],
  },
  Div: {
    ...two(7, integers()),
    forms: two(7, integers()).forms.map((form, i) =>
      i < 3 ? { ...form, in: [form.in[0], { ...form.in[1], low: 0.5 }], codes: false } : form,
    ),
  },
  Dropout: {
    since: 7,
    forms: [{ in: [x([2, 3])] }, { in: [x([2, 3])], attrs: { ratio: F(0.3) }, to: 11 }, { in: [x([2, 3]), number(0.3)], from: 12 }],
  },
  DynamicQuantizeLinear: { since: 11, forms: [{ in: [x([3, 4])], out: ['uint8', 'float32', 'uint8'] }] },
  Einsum: {
    since: 12,
    forms: [
      { in: [x([2, 3]), x([3, 4])], attrs: { equation: 'ij,jk->ik' } },
      { in: [x([2, 3, 4]), x([2, 4, 5])], attrs: { equation: 'bij,bjk->bik' } },
      { in: [x([3, 4])], attrs: { equation: 'ij->ji' } },
      { in: [x([2, 3, 4])], attrs: { equation: '...j->...' } },
    ],
  },
  Elu: unary(6, -3, 3, [{}, { attrs: { alpha: F(0.4) } }]),
  Equal: { ...compare(7), forms: compare(7).forms.map((form, i) => (i === 0 ? { ...form, from: 11 } : form)) },
  Erf: unary(9),
  Exp: unary(6),
  Expand: { since: 8, ...moves, forms: [{ in: [x([3, 1]), ints(2, 3, 4)] }, { in: [x([2, 3]), ints(1, 1)] }] },
  Flatten: {
    since: 1,
    ...moves,
    forms: [{ in: [x([2, 3, 4])] }, { in: [x([2, 3, 4])], attrs: { axis: 0 } }, { in: [x([2, 3, 4])], attrs: { axis: -1 }, from: 11 }],
  },
  Floor: unary(6),
  GRU: recurrent(3, 1, ({ sequences, weights, bias, lengths, out }) => [
    { in: [sequences, ...weights(1), bias(1)], attrs: { hidden_size: 4, linear_before_reset: 1 }, out },
    { in: [sequences, ...weights(1), none, lengths], attrs: { hidden_size: 4, activations: ['Sigmoid', 'Relu'] }, out },
  ]),
  Gather: {
    since: 1,
    ...moves,
    forms: [
      { in: [x([3, 4]), ints(2, 0)] },
      { in: [x([3, 4]), int(1)], attrs: { axis: 1 } },
      { in: [x([3, 4]), of('int64', [2, 2], [0, 1, 2, 0])], attrs: { axis: 0 } },
      { in: [x([3, 4]), ints(-1, 0)], attrs: { axis: -1 }, from: 11 },
      { in: [x([3, 4]), fixed(of('int32', [2], [1, 2]))] },
    ],
  },
  GatherElements: {
    since: 11,
    ...moves,
    forms: [
      { in: [x([2, 3]), fixed(of('int64', [1, 3], [1, 0, 1]))] },
      { in: [x([2, 3]), fixed(of('int32', [2, 2], [0, 2, -1, 1]))], attrs: { axis: 1 } },
    ],
  },
  GatherND: {
    since: 11,
    ...moves,
    forms: [
      { in: [x([2, 3, 4]), fixed(of('int64', [2, 2], [0, 1, 1, 2]))] },
      { in: [x([2, 3, 4]), fixed(of('int64', [2, 1], [2, 0]))], attrs: { batch_dims: 1 }, from: 12 },
    ],
  },
  Gelu: unary(20, -3, 3, [{}, { attrs: { approximate: 'tanh' } }]),
  Gemm: {
    since: 7,
    ...weighted,
    forms: [
      { in: [x([2, 3]), w([3, 4]), w([4])] },
      { in: [x([2, 3]), w([4, 3]), w([4])], attrs: { transB: 1 } },
      { in: [x([2, 3]), w([3, 4])], from: 11 },
      { in: [x([3, 2]), w([3, 4]), w([2, 4])], attrs: { transA: 1, alpha: F(0.5), beta: F(2) }, codes: false },
      { in: [x([2, 3]), x([3, 4]), x([1, 4])], codes: false },
    ],
  },
  GlobalAveragePool: { since: 1, codes: { data: [0] }, forms: [{ in: [image] }, { in: [x([2, 3, 5])] }] },
  GlobalMaxPool: { since: 1, ...moves, forms: [{ in: [image] }, { in: [x([2, 3, 5])] }] },
  Greater: compare(7, 9),
  GreaterOrEqual: compare(12),
  GridSample: {
    since: 16,
    forms: [
      { in: [image, x([1, 3, 3, 2], -1.2, 1.2)], attrs: {} },
      ...['zeros', 'border', 'reflection'].map((padding_mode) => ({
        in: [image, x([1, 3, 3, 2], -1.5, 1.5)],
        attrs: { padding_mode, align_corners: 1 },
      })),
      { in: [image, x([1, 3, 3, 2], -1.2, 1.2)], attrs: { mode: 'nearest' } },
      { in: [image, x([1, 3, 3, 2], -1.2, 1.2)], attrs: { mode: 'bicubic' }, to: 19 },
      { in: [image, x([1, 3, 3, 2], -1.2, 1.2)], attrs: { mode: 'cubic' }, from: 20 },
    ],
  },
  GroupNormalization: {
    since: 18,
    forms: [
      { in: [image, w([2]), w([2])], attrs: { num_groups: 2 }, to: 20 },
      { in: [image, w([4]), w([4])], attrs: { num_groups: 2, epsilon: F(0.01) }, from: 21 },
    ],
  },
  HardSigmoid: unary(6, -4, 4, [{}, { attrs: { alpha: F(0.5), beta: F(0.3) } }]),
  HardSwish: unary(14, -4, 4),
  Identity: { since: 1, ...moves, forms: [{ in: [x([2, 3])] }, { in: [whole('int64', [3])], out: ['int64'], codes: false }] },
  InstanceNormalization: {
    since: 6,
    forms: [{ in: [image, w([4]), w([4])] }, { in: [x([2, 3, 7]), w([3]), w([3])], attrs: { epsilon: F(0.01) } }],
  },
  IsInf: {
    since: 10,
    forms: [{}, { detect_negative: 0 }, { detect_positive: 0 }].map((attrs) => ({
      in: [of('float32', [4], [1, Infinity, -Infinity, NaN])],
      attrs,
      out: ['bool'],
    })),
  },
  IsNaN: { since: 9, forms: [{ in: [of('float32', [3], [1, NaN, Infinity])], out: ['bool'] }] },
  LRN: {
    since: 1,
    forms: [
      { in: [image], attrs: { size: 3 } },
      { in: [image], attrs: { size: 5, alpha: F(0.1), beta: F(0.5), bias: F(2) } },
    ],
  },
  LayerNormalization: {
    since: 17,
    forms: [{ in: [x([2, 3, 4]), w([4]), w([4])] }, { in: [x([2, 3, 4]), w([3, 4])], attrs: { axis: 1, epsilon: F(0.01), stash_type: 1 } }],
  },
  LSTM: recurrent(4, 2, ({ sequences, weights, bias, out, start }) => [
    { in: [sequences, ...weights(1), bias(1), none, ...start(1), w([1, 12])], attrs: { hidden_size: 4 }, out },
    { in: [sequences, ...weights(1), bias(1)], attrs: { hidden_size: 4, activations: ['Sigmoid', 'Tanh', 'Relu'] }, out },
    { in: [sequences, ...weights(1), bias(1)], attrs: { hidden_size: 4, input_forget: 1 }, out },
  ]),
  LeakyRelu: unary(6, -3, 3, [{}, { attrs: { alpha: F(0.2) } }]),
  Less: compare(7, 9),
  LessOrEqual: compare(12),
  Log: unary(6, 0.1, 5),
  LogSoftmax: { since: 1, forms: [{ in: [x([2, 3, 4])] }, { in: [x([2, 3, 4])], attrs: { axis: 1 } }] },
  MatMul: {
    since: 1,
    ...weighted,
    forms: [
      { in: [x([2, 3]), w([3, 4])] },
      { in: [x([2, 5, 3]), w([3, 4])] },
      { in: [x([2, 5, 3]), x([2, 3, 4])], codes: false },
      { in: [x([3]), x([3, 2])], codes: false },
    ],
  },
  MatMulInteger: {
    since: 10,
    forms: [
      {
        in: [whole('uint8', [2, 3], 0, 256), whole('uint8', [3, 4], 0, 256), fixed(of('uint8', [], [120])), fixed(of('uint8', [], [128]))],
        out: ['int32'],
      },
      { in: [whole('uint8', [2, 3], 0, 256), fixed(whole('int8', [3, 4], -128, 128))], out: ['int32'] },
    ],
  },
  Max: {
    since: 6,
    forms: [
      { in: [x([2, 3]), x([3])], from: 8 },
      { in: [x([3]), x([3]), x([3])] },
      { in: [x([3])] },
      { in: [whole('int64', [3]), whole('int64', [3])], out: ['int64'], from: 12 },
    ],
  },
  MaxPool: {
    since: 1,
    ...moves,
    forms: pool([
      { in: [image], attrs: { kernel_shape: [2, 2], dilations: [2, 2] }, from: 10 },
      { in: [image], attrs: { kernel_shape: [2, 2] }, out: ['float32', 'int64'], from: 8, codes: false },
      { in: [image], attrs: { kernel_shape: [2, 2], storage_order: 1 }, out: ['float32', 'int64'], from: 8, codes: false },
    ]),
  },
  Mean: { since: 6, forms: [{ in: [x([3]), x([3]), x([3])] }, { in: [x([2, 3]), x([3])], from: 8 }] },
  Min: {
    since: 6,
    forms: [
      { in: [x([2, 3]), x([3])], from: 8 },
      { in: [x([3]), x([3]), x([3])] },
      { in: [whole('int32', [3]), whole('int32', [3])], out: ['int32'], from: 12 },
    ],
  },
  Mish: unary(18),
  Mod: {
    since: 10,
    forms: [
      { in: [whole('int64', [2, 3]), fixed(of('int64', [3], [3, -4, 5]))], out: ['int64'] },
      { in: [whole('int32', [2, 3]), fixed(of('int32', [3], [3, -4, 5]))], attrs: { fmod: 1 }, out: ['int32'] },
      { in: [whole('uint8', [2, 3], 0, 256), fixed(of('uint8', [3], [3, 4, 5]))], out: ['uint8'] },
      { in: [x([2, 3], -9, 9), x([3], 1, 3)], attrs: { fmod: 1 } },
    ],
  },
  Mul: two(7, integers()),
  Neg: { since: 6, codes: { data: [0] }, forms: [{ in: [x([2, 3, 4])] }, { in: [whole('int32', [2, 3])], out: ['int32'], codes: false }] },
  NonMaxSuppression: {
    since: 10,
    forms: [
      { in: [boxes, scores, int(3), number(0.5), number(0.25)], out: ['int64'] },
      { in: [centred, scores, int(3), number(0.5), number(0)], attrs: { center_point_box: 1 }, out: ['int64'] },
      { in: [boxes, scores, of('int64', [1], [2]), number(0.5)], out: ['int64'] },
      { in: [boxes, scores, int(2)], out: ['int64'] },
      { in: [boxes, scores], out: ['int64'] },
      { in: [boxes, scores, int(9), none, number(0.7)], out: ['int64'] },
      { in: [boxes, scores, int(2), of('float32', [], [0.4]), of('float32', [], [0.4])], out: ['int64'] },
    ],
  },
  NonZero: {
    since: 9,
    forms: [
      { in: [of('float32', [2, 3], [0, 1, 0, -2, 0.5, 0])], out: ['int64'] },
      { in: [bools([2, 2, 3])], out: ['int64'] },
      { in: [whole('int64', [5], 0, 2)], out: ['int64'] },
      { in: [of('float32', [2, 2], [0, 0, 0, 0])], out: ['int64'] },
      { in: [number(3)], out: ['int64'] },
    ],
  },
  Not: { since: 1, forms: [{ in: [bools([2, 3])], out: ['bool'] }] },
  OneHot: {
    since: 9,
    forms: [
      { in: [of('int64', [4], [0, 2, -1, 5]), int(3), fixed(of('float32', [2], [0, 1]))], from: 11 },
      { in: [of('int64', [2, 2], [0, 2, 1, 1]), ints(3), fixed(of('float32', [2], [-1, 4]))], attrs: { axis: 1 } },
      { in: [of('int64', [2], [0, 2]), int(4), fixed(of('int64', [2], [5, 7]))], attrs: { axis: 0 }, out: ['int64'] },
      { in: [of('float32', [2], [1, 2]), number(3), fixed(of('float32', [2], [0, 1]))] },
    ],
  },
  Or: logic,
  PRelu: {
    since: 7,
    codes: { data: [0] },
    forms: [{ in: [image, w([4, 1, 1])] }, { in: [image, w([1])] }, { in: [image, x([4, 1, 1])], codes: false }],
  },
  Pad: {
    since: 2,
    ...moves,
    forms: [
      { in: [image], attrs: { pads: [0, 0, 1, 2, 0, 0, 1, 0] }, to: 10 },
      { in: [image], attrs: { pads: [0, 1, 1, 2, 0, 0, 1, 0], mode: 'reflect' }, to: 10 },
      { in: [image], attrs: { pads: [0, 0, 1, 2, 0, 0, 1, 0], value: F(1.5) }, to: 10, codes: false },
      { in: [image, ints(0, 0, 1, 2, 0, 0, 1, 0)], from: 11 },
      { in: [image, ints(0, 0, 1, 2, 0, 0, 1, 0), number(1.5)], from: 11, codes: false },
      { in: [image, ints(0, 0, 1, 2, 0, 0, 1, 0)], attrs: { mode: 'edge' }, from: 11 },
      { in: [image, ints(0, 0, -1, 2, 0, 0, 1, 0)], from: 11 },
      { in: [image, ints(1, 1), none, ints(2)], from: 18 },
      { in: [image, ints(0, 0, 1, 2, 0, 0, 1, 0)], attrs: { mode: 'wrap' }, from: 19 },
    ],
  },
  Pow: {
    since: 7,
    forms: [
      { in: [x([2, 3], 0.5, 3), x([3])] },
      { in: [x([2, 3]), number(2)] },
      { in: [x([2, 3], 0, 4), number(0.5)] },
      { in: [whole('int64', [3]), fixed(of('int64', [], [2]))], out: ['int64'], from: 12 },
    ],
  },
  QuantizeLinear: {
    since: 10,
    forms: [
      { in: [x([2, 3]), number(0.02), fixed(of('uint8', [], [120]))], out: ['uint8'] },
      { in: [x([2, 3]), number(0.02), fixed(of('int8', [], [3]))], out: ['int8'] },
      { in: [x([2, 3], 0, 4), number(0.02)], out: ['uint8'] },
      {
        in: [x([2, 3]), fixed(of('float32', [3], [0.1, 0.2, 0.3])), fixed(of('int8', [3], [1, 0, -7]))],
        attrs: { axis: 1 },
        out: ['int8'],
        from: 13,
      },
    ],
  },
  RNN: recurrent(1, 1, ({ sequences, weights, bias, out }) => [
    { in: [sequences, ...weights(2), bias(2)], attrs: { hidden_size: 4, direction: 'bidirectional', activations: ['Relu', 'Tanh'] }, out },
  ]),
  Range: {
    since: 11,
    forms: [
      { in: [int(2), int(11), int(3)], out: ['int64'] },
      { in: [number(0.5), number(-2), number(-0.75)] },
      { in: [1, 9, 2].map((value) => fixed(of('int32', [], [value]))), out: ['int32'] },
    ],
  },
  Reciprocal: unary(6, 0.5, 4),
  ReduceL1: reduction(),
  ReduceL2: reduction(),
  ReduceLogSum: {
    ...reduction(),
    forms: reduction().forms.map((form) => ({ ...form, in: [{ ...form.in[0], low: 0.1 }, ...form.in.slice(1)] })),
  },
  ReduceLogSumExp: reduction(),
  ReduceMax: reduction(moves),
  ReduceMean: reduction({ codes: { data: [0] } }),
  ReduceMin: reduction(moves),
  ReduceProd: reduction(),
  ReduceSum: {
    since: 1,
    forms: [
      { in: [x([2, 3, 4])], attrs: { axes: [1] }, to: 12 },
      { in: [x([2, 3, 4])] },
      { in: [x([2, 3, 4]), ints(0, -1)], attrs: { keepdims: 0 }, from: 13 },
      { in: [x([2, 3, 4])], attrs: { noop_with_empty_axes: 1 }, from: 13 },
      { in: [whole('int64', [2, 3])], out: ['int64'] },
    ],
  },
  ReduceSumSquare: reduction(),
  Relu: {
    since: 6,
    codes: { data: [0] },
    forms: [{ in: [x([2, 3, 4])] }, { in: [whole('int32', [2, 3])], out: ['int32'], from: 14, codes: false }],
  },
  Reshape: {
    since: 5,
    ...moves,
    forms: [
      { in: [x([2, 3, 4]), ints(4, 6)] },
      { in: [x([2, 3, 4]), ints(0, -1)] },
      { in: [x([2, 3, 4]), ints(2, 12)], attrs: { allowzero: 1 }, from: 14 },
    ],
  },
  Resize: {
    since: 10,
    codes: { data: [0] },
    grid: true,
    forms: [
      { in: [image, fixed(of('float32', [4], [1, 1, 2, 2]))], to: 10 },
      { in: [image, fixed(of('float32', [4], [1, 1, 2, 3]))], attrs: { mode: 'linear' }, to: 10, codes: false },
      resize({ coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' }, [1, 1, 2, 2]),
      ...['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'].map((nearest_mode) => resize({ nearest_mode }, [1, 1, 1.5, 0.8])),
      ...['half_pixel', 'asymmetric', 'align_corners', 'pytorch_half_pixel'].map((coordinate_transformation_mode) =>
        resize({ mode: 'linear', coordinate_transformation_mode }, [1, 1, 2, 0.7]),
      ),
      resize({ mode: 'cubic', cubic_coeff_a: F(-0.5) }, [1, 1, 2, 1.5], { codes: false }),
      resize({ mode: 'cubic', exclude_outside: 1 }, [1, 1, 2, 1.5], { codes: false }),
      { in: [image, none, none, ints(1, 4, 9, 7)], attrs: { mode: 'linear' }, from: 13 },
      {
        in: [image, fixed(of('float32', [8], [0, 0, 0.1, 0.2, 1, 1, 0.9, 1.1])), none, ints(1, 4, 5, 5)],
        attrs: { mode: 'linear', coordinate_transformation_mode: 'tf_crop_and_resize', extrapolation_value: F(3) },
        from: 13,
        codes: false,
      },
      { in: [image, none, fixed(of('float32', [2], [2, 2]))], attrs: { axes: [2, 3], mode: 'linear' }, from: 18, codes: false },
      {
        in: [image, none, none, ints(9, 9)],
        attrs: { axes: [2, 3], keep_aspect_ratio_policy: 'not_larger', mode: 'linear' },
        from: 18,
        codes: false,
      },
      resize({ mode: 'linear', antialias: 1 }, [1, 1, 0.5, 0.6], { from: 18, codes: false }),
    ],
  },
  Round: unary(11),
  Scatter: { since: 9, forms: [{ in: [x([3, 3]), fixed(of('int64', [1, 3], [1, 0, 2])), x([1, 3])], to: 10 }] },
  ScatterElements: {
    since: 11,
    forms: [
      { in: [x([3, 3]), fixed(of('int64', [1, 3], [1, 0, 2])), x([1, 3])] },
      { in: [x([3, 3]), fixed(of('int32', [3, 1], [1, 0, -1])), x([3, 1])], attrs: { axis: 1 } },
      ...['add', 'mul', 'max', 'min'].map((reduction_) => ({
        in: [x([3, 3]), fixed(of('int64', [2, 2], [1, 0, 1, 2])), x([2, 2])],
        attrs: { reduction: reduction_ },
        from: reduction_.startsWith('m') && reduction_ !== 'mul' ? 18 : 16,
      })),
    ],
  },
  ScatterND: {
    since: 11,
    forms: [
      { in: [x([4, 3]), fixed(of('int64', [2, 1], [3, 0])), x([2, 3])] },
      ...['add', 'mul', 'max', 'min'].map((reduction_) => ({
        in: [x([4, 3]), fixed(of('int64', [2, 1], [3, 3])), x([2, 3])],
        attrs: { reduction: reduction_ },
        from: reduction_.startsWith('m') && reduction_ !== 'mul' ? 18 : 16,
      })),
    ],
  },
  Selu: unary(6, -3, 3, [{}, { attrs: { alpha: F(1.5), gamma: F(1.2) } }]),
  Shape: {
    since: 1,
    forms: [
      { in: [x([2, 3, 4])], out: ['int64'] },
      { in: [x([2, 3, 4])], attrs: { start: 1, end: -1 }, out: ['int64'], from: 15 },
    ],
  },
  Shrink: unary(9, -2, 2, [{}, { attrs: { lambd: F(1), bias: F(0.3) } }]),
  Sigmoid: unary(6),
  Sign: {
    since: 9,
    codes: { data: [0] },
    forms: [{ in: [x([2, 3, 4])] }, { in: [whole('int64', [5], -2, 3)], out: ['int64'], codes: false }],
  },
  Sin: unary(7),
  Sinh: unary(9),
  Size: { since: 1, forms: [{ in: [x([2, 3, 4])], out: ['int64'] }] },
  Slice: {
    since: 1,
    ...moves,
    forms: [
      { in: [x([4, 5])], attrs: { starts: [1, 0], ends: [3, 4] }, to: 9 },
      { in: [x([4, 5])], attrs: { starts: [-3], ends: [9], axes: [1] }, to: 9 },
      { in: [x([4, 5]), ints(1), ints(3)], from: 10 },
      { in: [x([4, 5]), ints(4), ints(0), ints(1), ints(-2)], from: 10 },
      { in: [x([4, 5]), ints(-2), ints(9), ints(-1)], from: 10 },
    ],
  },
  Softmax: {
    since: 1,
    codes: { data: [0] },
    share: true,
    forms: [{ in: [x([2, 3, 4])] }, { in: [x([2, 3, 4])], attrs: { axis: 1 } }, { in: [x([2, 9])], attrs: { axis: -1 }, from: 11 }],
  },
  Softplus: unary(1),
  Softsign: unary(1),
  SpaceToDepth: { since: 1, ...moves, forms: [{ in: [x([1, 2, 4, 6])], attrs: { blocksize: 2 } }] },
  Split: {
    since: 2,
    ...moves,
    forms: [
      { in: [x([4, 6])], attrs: { axis: 1, split: [2, 4] }, out: ['float32', 'float32'], to: 12 },
      { in: [x([4, 6])], out: ['float32', 'float32'], to: 17 },
      { in: [x([4, 6]), ints(1, 3)], out: ['float32', 'float32'], from: 13 },
      { in: [x([4, 7])], attrs: { axis: -1, num_outputs: 3 }, out: ['float32', 'float32', 'float32'], from: 18 },
    ],
  },
  Sqrt: unary(6, 0, 4),
  Squeeze: {
    since: 1,
    ...moves,
    forms: [{ in: [x([1, 3, 1, 2])] }, { in: [x([1, 3, 1])], attrs: { axes: [0] }, to: 12 }, { in: [x([1, 3, 1]), ints(-1)], from: 13 }],
  },
  Sub: two(7, integers()),
  Sum: {
    since: 6,
    codes: { data: [0, 1] },
    forms: [
      { in: [x([2, 3]), x([2, 3])] },
      { in: [x([2, 3]), x([3]), x([2, 1])], from: 8, codes: { data: [0, 1, 2] } },
      { in: [x([3])], codes: { data: [0] } },
    ],
  },
  Tan: unary(7, -1.4, 1.4),
  Tanh: unary(6),
  ThresholdedRelu: unary(10, -2, 2, [{}, { attrs: { alpha: F(0.5) } }]),
  Tile: { since: 6, ...moves, forms: [{ in: [x([2, 3]), ints(2, 1)] }, { in: [x([3]), ints(4)] }] },
  TopK: {
    since: 1,
    forms: [
      { in: [x([3, 5])], attrs: { k: 2 }, out: ['float32', 'int64'], to: 9 },
      { in: [x([3, 5]), ints(2)], out: ['float32', 'int64'], from: 10 },
      { in: [x([3, 5]), ints(2)], attrs: { axis: 0, largest: 0, sorted: 1 }, out: ['float32', 'int64'], from: 11 },
    ],
  },
  Transpose: { since: 1, ...moves, forms: [{ in: [x([2, 3, 4])] }, { in: [x([2, 3, 4])], attrs: { perm: [1, 0, 2] } }] },
  Trilu: {
    since: 14,
    forms: [
      { in: [x([4, 5])] },
      { in: [x([2, 4, 4]), int(1)] },
      { in: [x([4, 5]), int(-1)], attrs: { upper: 0 } },
      { in: [whole('int64', [3, 3]), of('int64', [], [-1])], out: ['int64'] },
    ],
  },
  Unsqueeze: {
    since: 1,
    ...moves,
    forms: [
      { in: [x([2, 3])], attrs: { axes: [0, 2] }, to: 12 },
      { in: [x([2, 3]), ints(-1)], from: 13 },
    ],
  },
  Upsample: {
    since: 7,
    forms: [
      { in: [image], attrs: { scales: Float32Array.of(1, 1, 2, 2), mode: 'nearest' }, to: 8 },
      { in: [image, fixed(of('float32', [4], [1, 1, 2, 2]))], attrs: { mode: 'linear' }, from: 9, to: 9 },
    ],
  },
  Where: {
    since: 9,
    forms: [{ in: [bools([2, 3]), x([3]), x([2, 1])] }, { in: [bools([3]), whole('int64', [3]), whole('int64', [3])], out: ['int64'] }],
  },
  Xor: logic,
};

// ---- their models ----

/** The values of a tensor of the table. */
const valuesOf = (tensor, next) =>
  tensor.data ??
  typed(
    tensor.type,
    Array.from({ length: elements(tensor.shape) }, () => {
      const value = tensor.low + (tensor.high - tensor.low) * next();
      return tensor.type === 'float32' ? value : Math.floor(value);
    }),
  );

function seedOf(text) {
  let hash = 2166136261;
  for (const letter of text) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619);
  return hash >>> 0;
}

/** Scale and zero point (uint8) for numbers from `low` to `high`. */
function gridFor(low, high) {
  const [least, most] = [Math.min(0, low), Math.max(0, high)];
  const scale = Math.fround(Math.max(most - least, 1e-3) / 255);
  return { scale, zero: Math.min(255, Math.max(0, Math.round(-least / scale))) };
}

/** A form in one opset: { name, op, opset, form, tensors }. */
function* instances(name, { since, forms, ...common }) {
  for (const [i, form] of forms.entries()) {
    const first = Math.max(firstOpset, since, form.from ?? 0);
    const last = Math.min(lastOpset, form.to ?? lastOpset);
    for (const opset of new Set([first, last])) {
      const next = random(seedOf(`${name} ${i}`));
      const tensors = form.in.map((tensor, k) => tensor && { name: `x${k}`, ...tensor, data: valuesOf(tensor, next) });
      yield { name: `${name} ${i + 1}, opset ${opset}`, op: name, opset, form: { ...common, ...form }, tensors };
    }
  }
}

/** The cases of all operators as models with their inputs: [{ name, op, opset, model, inputs, form, tensors }]. */
export function* operatorCases(names = Object.keys(operators)) {
  for (const name of names) {
    for (const instance of instances(name, operators[name])) {
      const { opset, form, tensors } = instance;
      const present = tensors.filter(Boolean);
      const outputs = (form.out ?? ['float32']).map((type, k) => ({ name: `y${k}`, type }));
      const inputs = present.filter(({ constant }) => !constant);
      const node = {
        op: name,
        name: 'node',
        inputs: tensors.map((tensor) => tensor?.name ?? ''),
        outputs: outputs.map((y) => y.name),
        attrs: form.attrs ?? {},
      };
      yield {
        ...instance,
        inputs,
        model: onnx({ nodes: [node], inputs, outputs, weights: present.filter(({ constant }) => constant), opset }),
      };
    }
  }
}

/** All codes in turn, or as many as the shape has room for. */
const codesFor = (shape, next) => {
  const n = elements(shape);
  const start = Math.floor(256 * next());
  return Uint8Array.from({ length: n }, (_, i) => (n >= 64 ? start + i * 37 : 256 * next()) % 256);
};

/**
 * The same case on codes: uint8 inputs and outputs around DequantizeLinear and QuantizeLinear, an int8 weight with a scale for each output
 * channel. `range` is [low, high] of the float outputs. Undefined where the form has no integer one.
 */
export function onCodes({ name, op, opset, form, tensors }, range) {
  if (!form.codes || opset < 10) return undefined;
  const { data, weight } = form.codes;
  // Scales per channel came with opset 13; before, a weight has one.
  const perChannel = opset >= 13;
  const next = random(seedOf(`${name} codes`));
  const [nodes, inputs, weights, outputs] = [[], [], [], []];
  const grids = [];
  const constant = (role, type, shape, values) => {
    weights.push({ name: role, type, shape, data: typed(type, values) });
    return role;
  };
  const dequantize = (codes, grid, type, attrs = {}, shape = []) => {
    const scale = constant(`${codes}_scale`, 'float32', shape, [grid.scale].flat());
    const zero = constant(`${codes}_zero`, type, shape, [grid.zero].flat());
    nodes.push({ op: 'DequantizeLinear', name: `${codes}_dq`, inputs: [codes, scale, zero], outputs: [`${codes}_real`], attrs });
    return `${codes}_real`;
  };
  const channelAxis = op === 'ConvTranspose' || op === 'MatMul' || (op === 'Gemm' && !form.attrs?.transB) ? 1 : 0;
  const names = tensors.map((tensor, k) => {
    if (!tensor) return '';
    if (data.includes(k)) {
      const spread = tensor.data.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [0, 0]);
      grids[k] = tensor.low === undefined ? gridFor(...spread) : gridFor(tensor.low, tensor.high);
      const values = codesFor(tensor.shape, next);
      if (tensor.constant)
        constant(
          tensor.name,
          'uint8',
          tensor.shape,
          values.map((code) => Math.max(code, 100)),
        );
      else inputs.push({ name: tensor.name, type: 'uint8', shape: tensor.shape, data: values });
      return dequantize(tensor.name, grids[k], 'uint8');
    }
    if (k === weight) {
      const channels = tensor.shape[channelAxis];
      grids[k] = {
        scale: Array.from({ length: perChannel ? channels : 1 }, () => Math.fround(0.002 + 0.008 * next())),
        zero: Array(perChannel ? channels : 1).fill(0),
      };
      constant(
        tensor.name,
        'int8',
        tensor.shape,
        Array.from(tensor.data, () => Math.floor(255 * next()) - 127),
      );
      return dequantize(tensor.name, grids[k], 'int8', perChannel ? { axis: channelAxis } : {}, perChannel ? [channels] : []);
    }
    if (k === 2 && weight !== undefined) {
      const scale = grids[weight].scale.map((of1) => Math.fround(Math.fround(grids[data[0]].scale) * of1));
      constant(
        tensor.name,
        'int32',
        tensor.shape,
        Array.from(tensor.data, () => Math.floor(20000 * next()) - 10000),
      );
      return dequantize(
        tensor.name,
        { scale, zero: scale.map(() => 0) },
        'int32',
        perChannel ? { axis: 0 } : {},
        perChannel ? [scale.length] : [],
      );
    }
    weights.push(tensor);
    return tensor.name;
  });
  const types = form.out ?? ['float32'];
  const made = types.map((_, k) => `y${k}_real`);
  const attrs = form.attrs ?? {};
  nodes.push({ op, name: 'node', inputs: names, outputs: types.map((type, k) => (type === 'float32' ? made[k] : `y${k}`)), attrs });
  const grid = form.grid ? grids[data[0]] : form.share ? { scale: 1 / 256, zero: 0 } : gridFor(...range);
  for (const [k, type] of types.entries()) {
    if (type !== 'float32') {
      outputs.push({ name: `y${k}`, type });
      continue;
    }
    const scale = constant(`y${k}_scale`, 'float32', [], [grid.scale]);
    const zero = constant(`y${k}_zero`, 'uint8', [], [grid.zero]);
    nodes.push({ op: 'QuantizeLinear', name: `y${k}_q`, inputs: [made[k], scale, zero], outputs: [`y${k}`], attrs: {} });
    outputs.push({ name: `y${k}`, type: 'uint8' });
  }
  return { name: `${name}, codes`, op, inputs, model: onnx({ nodes, inputs, outputs, weights, opset }) };
}
