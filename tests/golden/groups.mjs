// The golden vectors through the JS API: groups of cases as tests/golden/*.cpp runs them, in Node and in a page alike; octavo/nn has most
// of them, the engine (`octavo`) those of engine-groups.mjs.
//
// Nothing passes silently: a kind without code here, and an attribute or tensor of a case that nobody read, are problems.

import { engineGroups } from './engine-groups.mjs';

const arrays = { u8: Uint8Array, i8: Int8Array, i32: Int32Array, f32: Float32Array, f64: Float64Array };

const toNumber = (text) => ({ inf: Infinity, '-inf': -Infinity })[text] ?? Number(text);

/** The records of a GROUP.idx (see the format's FORMAT.md): its header, and its cases in order. */
export function parseIndex(text) {
  const header = new Map();
  const cases = [];
  for (const line of text.split('\n')) {
    const [tag, ...words] = line.trimEnd().split(' ');
    const current = cases.at(-1);
    if (tag === 'h') {
      header.set(words[0], words.slice(1).join(' '));
    } else if (tag === 'case') {
      cases.push({ name: words[0], attributes: new Map(), tensors: new Map() });
    } else if (tag === 'a' && current) {
      const [key, type, ...value] = words;
      current.attributes.set(key, type === 's' ? value.join(' ') : type === 'L' ? value.slice(1).map(toNumber) : toNumber(value[0]));
    } else if (tag === 't' && current) {
      const [key, dtype, offset, count, , ...shape] = words;
      current.tensors.set(key, { dtype, offset: Number(offset), count: Number(count), shape: shape.map(Number) });
    }
  }
  return { header, cases, find: (name) => cases.find((one) => one.name === name) };
}

/** One case: what it reads, and what it compares. */
class Case {
  compared = 0;
  comparisons = 0; // of tensors and numbers; a tensor may be empty
  mismatches = 0;
  problems = [];
  #read = new Set();

  /** `apis`: { nn, octavo, engine }, both packages, the first after init(), and an engine of the second. */
  constructor(apis, group, record) {
    this.apis = apis;
    this.api = apis.nn;
    this.group = group;
    this.record = record;
  }
  has(key) {
    return this.record.attributes.has(key) || this.record.tensors.has(key);
  }
  get(key) {
    this.#read.add(key);
    if (!this.record.attributes.has(key)) throw new Error(`no attribute ${key}`);
    return this.record.attributes.get(key);
  }
  /** The attribute, or what torch takes where it is not given. */
  getOr(key, otherwise) {
    return this.record.attributes.has(key) ? this.get(key) : otherwise;
  }
  /** The tensor's numbers and shape; `record` names another case. */
  tensor(key, record = this.record) {
    this.#read.add(key);
    const found = record.tensors.get(key);
    if (!found) throw new Error(`no tensor ${key}`);
    const type = arrays[found.dtype];
    if (!type) throw new Error(`tensor ${key} has dtype ${found.dtype}`);
    const end = found.offset + found.count * type.BYTES_PER_ELEMENT;
    if (found.count !== found.shape.reduce((a, b) => a * b, 1) || end > this.group.bytes.length)
      throw new Error(`tensor ${key} lies beyond the file`);
    const bytes = this.group.bytes.slice(found.offset, end);
    return { data: new type(bytes.buffer), shape: found.shape };
  }
  /** 'u8', 'i8', 'i32', 'f32', 'f64' */
  dtype(key) {
    return this.record.tensors.get(key)?.dtype;
  }
  /** Another file of the folder. */
  file(name) {
    return this.group.read(name);
  }
  /** The outputs of an ONNX model's bytes. `feeds`: tensors of the case in the order of the model's inputs. */
  async run(bytes, feeds) {
    const { octavo, engine } = this.apis;
    await using model = await octavo.Model.load(bytes, { engine });
    const inputShapes = Object.fromEntries(model.inputs.map(({ name }, i) => [name, [...feeds[i].shape]]));
    await using session = await octavo.InferenceSession.create(model, { inputShapes });
    const tensors = session.inputs.map(({ name, type }, i) => [name, new octavo.Tensor(type, feeds[i].data, feeds[i].shape)]);
    return await session.run(Object.fromEntries(tensors));
  }
  ignore(...keys) {
    for (const key of keys) this.#read.add(key);
  }
  ignoreAll() {
    this.ignore(...this.record.attributes.keys(), ...this.record.tensors.keys());
  }
  /** Bit by bit; two NaNs are equal. A result of `data` and `shape` has the tensor's shape too. */
  expect(key, result) {
    const { data: want, shape } = this.tensor(key);
    const got = result.data ?? result;
    this.comparisons++;
    if (result.shape && String([...result.shape]) !== String(shape))
      this.problem(`${key} has shape [${shape}], we have [${[...result.shape]}]`);
    if (got.length !== want.length) return this.problem(`${key} has ${want.length} elements, we have ${got.length}`);
    let first = -1;
    let wrong = 0;
    for (let i = 0; i < want.length; i++) {
      if (Object.is(got[i], want[i])) continue;
      if (wrong++ === 0) first = i;
    }
    this.compared += want.length;
    this.mismatches += wrong;
    if (wrong) this.problem(`${key}: ${wrong} of ${want.length} differ, the first at ${first}: ${got[first]} instead of ${want[first]}`);
  }
  expectEqual(what, got, want) {
    this.comparisons++;
    this.compared++;
    if (got === want) return;
    this.mismatches++;
    this.problem(`${what} is ${got} instead of ${want}`);
  }
  problem(what) {
    this.problems.push(`${this.record.name}: ${what}`);
  }
  finish() {
    for (const key of [...this.record.attributes.keys(), ...this.record.tensors.keys()]) {
      if (!this.#read.has(key)) this.problem(`${key} is not understood`);
    }
    if (this.comparisons === 0) this.problem('nothing was compared');
  }
}

const uhash = (i, seed) => {
  let h = (Math.imul(i, 2654435761) + seed) >>> 0;
  h ^= h >>> 15;
  h = Math.imul(h, 2246822519) >>> 0;
  return (h ^ (h >>> 13)) >>> 0;
};

function quantize(c) {
  const { quantizePerTensor, quantizePerChannel } = c.api;
  const kind = c.get('kind');
  const dtype = c.get('dtype');
  const x = c.tensor('x');
  let q;
  if (kind === 'per_channel') {
    q = quantizePerChannel(x, c.tensor('scales').data, c.tensor('zero_points').data, c.get('axis'), dtype);
  } else if (kind === 'per_tensor' || kind === 'nonfinite') {
    c.ignore('order');
    q = quantizePerTensor(x, c.get('scale'), c.get('zero_point'), dtype);
  } else {
    throw new Error(`kind ${kind} is not understood`);
  }
  for (const one of x.shape.length > 2 ? [q, q.contiguous({ memoryFormat: 'channels_last' })] : [q]) {
    c.expect('q', one.intRepr());
    if (kind !== 'nonfinite' || c.has('dq')) c.expect('dq', one.dequantize());
  }
}

function expectHashed(c, codes) {
  const bytes = new Uint8Array(codes.data.buffer, codes.data.byteOffset, codes.data.byteLength);
  const counts = new Int32Array(256);
  const mask = (1n << 64n) - 1n;
  let checksum = 0n;
  let factor = 1n; // i * 0x9E3779B97F4A7C15 + 1
  for (const byte of bytes) {
    counts[byte]++;
    checksum = (checksum + BigInt(byte) * factor) & mask;
    factor = (factor + 0x9e3779b97f4a7c15n) & mask;
  }
  c.expectEqual('y_checksum', String(checksum), String(c.get('y_checksum')));
  c.expect('y_count', counts);
  c.expect('y_head', codes.data.subarray(0, c.tensor('y_head').data.length));
}

function batchnorm(c) {
  const { makePerTensorQuantizedTensor, quantizePerTensor, nn } = c.api;
  const hashed = c.get('kind') === 'big_hashed';
  const relu = Boolean(c.get('relu'));
  const dtype = c.get('dtype');
  // Labels; the fused constants, which JavaScript does not show; and what torch's builds without AVX give: Octavo follows the others.
  c.ignore('fma_sensitive', 'note', 'alpha', 'beta', 'y_nofma', 'y_float');
  let codes;
  if (hashed) {
    if (dtype === 'qint32') throw new Error('hashed codes are bytes');
    const shape = c.get('shape');
    const type = dtype === 'qint8' ? Int8Array : Uint8Array;
    const seed = c.get('x_seed');
    codes = { data: type.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => uhash(i, seed) & 255), shape };
    c.expect('x_head', codes.data.subarray(0, c.tensor('x_head').data.length));
  } else {
    codes = c.tensor('x');
  }
  const rank = codes.shape.length;
  const kind = relu
    ? { 2: 'BNReLU1d', 3: 'BNReLU1d', 4: 'BNReLU2d', 5: 'BNReLU3d' }[rank]
    : { 2: 'BatchNorm1d', 3: 'BatchNorm1d', 4: 'BatchNorm2d', 5: 'BatchNorm3d' }[rank];
  if (!kind) throw new Error(`rank ${rank} is not understood`);
  const bn = nn.quantized[kind].fromFloat(
    {
      weight: c.tensor('weight').data,
      bias: c.tensor('bias').data,
      runningMean: c.tensor('mean').data,
      runningVar: c.tensor('var').data,
      eps: c.get('eps'),
    },
    { scale: c.get('out_scale'), zeroPoint: c.get('out_zp') },
  );
  const x = makePerTensorQuantizedTensor(codes, c.get('in_scale'), c.get('in_zp'));
  if (c.has('xf')) {
    const quantized = quantizePerTensor(c.tensor('xf'), c.get('in_scale'), c.get('in_zp'), dtype);
    c.expect('x', quantized.intRepr());
    c.expect('y_dq', bn.forward(quantized).dequantize());
  }
  for (const input of rank > 2 ? [x, x.contiguous({ memoryFormat: 'channels_last' })] : [x]) {
    const y = bn.forward(input).intRepr();
    if (hashed) expectHashed(c, y);
    else c.expect('y', y);
  }
  bn.close();
}

/** The rows of scales, zero_points, quant_min and quant_max: the file's header "combos", a list of quoted "dtype,scheme,range". */
function combosOf(group) {
  if (!group.header.has('combos')) throw new Error('there is no header combos');
  const words = group.header.get('combos').split(/[[\]'" ]/);
  return words
    .filter((word) => /[^,_]/.test(word))
    .map((word) => {
      const [dtype, scheme, range] = word.split(',');
      if (!['affine', 'symmetric'].includes(scheme) || !['full', 'reduce'].includes(range))
        throw new Error(`combo ${word} is not understood`);
      return [dtype, scheme, range === 'reduce'];
    });
}

const shapes = {
  gauss: (x) => x,
  relu: (x) => Math.max(x, 0),
  square: (x) => Math.fround(x * x),
  cube: (x) => Math.fround(Math.fround(x * x) * x),
  fifth: (x) => {
    const square = Math.fround(x * x);
    return Math.fround(Math.fround(square * square) * x);
  },
};

function batchesOf(c) {
  const record = c.has('data') ? c.group.find(c.get('data')) : c.record;
  if (!record) throw new Error('the data case is not there');
  c.ignore('batches', 'gen', 'n', 'seeds', 'mults'); // what they were read or generated from; the heads are compared
  if (!record.attributes.has('gen')) {
    const batches = [];
    while (record.tensors.has(`b${batches.length}`)) batches.push(c.tensor(`b${batches.length}`, record));
    return batches;
  }
  const shape = shapes[record.attributes.get('gen')];
  if (!shape) throw new Error(`generator ${record.attributes.get('gen')} is not understood`);
  const mults = record.attributes.get('mults');
  return record.attributes.get('seeds').map((seed, b) => {
    const mult = Math.fround(mults[b]);
    const data = Float32Array.from({ length: record.attributes.get('n') }, (_, i) => {
      let sum = -131070;
      for (let k = 0; k < 4; k++) sum += uhash(i, (seed + k * 1000003) >>> 0) >>> 16;
      return shape(sum * 2 ** -15) * mult;
    });
    const head = c.tensor(`b${b}_head`, record).data;
    if (head.some((value, i) => value !== data[i])) throw new Error('the generator does not give the stored head');
    return { data, shape: [data.length] };
  });
}

function observers(c) {
  const kind = c.get('kind');
  if (kind === 'data' || kind === 'gen') {
    // For the cases that name it: so many batches, and what is generated begins as what is stored.
    const { length } = batchesOf(c);
    c.expectEqual('batches', length, c.getOr('batches', length));
    c.ignoreAll();
    return;
  }
  const Observer = c.api.quantization[`${kind}Observer`];
  if (!Observer) throw new Error(`kind ${kind} is not understood`);
  const batches = batchesOf(c);
  // The search's ends, of which scales and zero points are made; sums.
  c.ignore('start_bin', 'end_bin', 'new_min', 'new_max', 'hist_total');
  // torch's default of how finely it splits bins, which is no option of ours.
  if (c.getOr('upsample_rate', 16) !== 16) throw new Error(`upsample_rate ${c.get('upsample_rate')} is not understood`);
  const perChannel = kind.includes('PerChannel');
  const found = { scales: [], zero_points: [], quant_min: [], quant_max: [] };
  // torch's buffers of one value for all channels begin as an infinity, ours as nothing.
  const bounds = (key, seen, none) => c.expect(key, seen.length === 0 && c.tensor(key).data.length === 1 ? [none] : seen);
  const combos = combosOf(c.group);
  combos.forEach(([dtype, scheme, reduceRange], row) => {
    const options = { dtype, reduceRange, qscheme: `${perChannel ? 'per_channel' : 'per_tensor'}_${scheme}` };
    if (perChannel) options.chAxis = c.get('ch_axis');
    if (c.has('averaging_constant')) options.averagingConstant = c.get('averaging_constant');
    if (c.has('bins')) options.bins = c.get('bins');
    const observer = new Observer(options);
    for (const batch of batches) observer.observe(batch);
    const { scale, zeroPoint } = observer.calculateQParams();
    found.scales.push(...scale);
    found.zero_points.push(...zeroPoint);
    found.quant_min.push(observer.quantMin);
    found.quant_max.push(observer.quantMax);
    if (row === 0) {
      bounds('min_val', observer.minVal, Infinity);
      bounds('max_val', observer.maxVal, -Infinity);
      if (kind === 'Histogram') {
        const filled = [...observer.histogram.entries()].filter(([, count]) => count !== 0);
        c.expect(
          'hist_idx',
          filled.map(([at]) => at),
        );
        c.expect(
          'hist_val',
          filled.map(([, count]) => count),
        );
      }
    }
    observer.close();
  });
  const shape = [combos.length, found.scales.length / combos.length];
  for (const [key, data] of Object.entries(found)) c.expect(key, key.startsWith('quant') ? data : { data, shape });
}

function fakequant(c) {
  const { fakeQuantizePerTensorAffine, fakeQuantizePerChannelAffine, fakeQuantizeBackward } = c.api;
  const kind = c.get('kind');
  const range = [c.get('quant_min'), c.get('quant_max')];
  const x = c.tensor('x');
  if (kind !== 'per_tensor' && kind !== 'per_channel') throw new Error(`kind ${kind} is not understood`);
  const { y, mask } =
    kind === 'per_tensor'
      ? fakeQuantizePerTensorAffine(x, c.get('scale'), c.get('zero_point'), ...range)
      : fakeQuantizePerChannelAffine(x, c.tensor('scales').data, c.tensor('zero_points').data, c.get('axis'), ...range);
  c.expect('y', y);
  c.expect('mask', mask);
  c.expect('grad_in', fakeQuantizeBackward(c.tensor('grad_out'), mask));
}

/** The tensor with its channels last, where it has a rank for that. */
const last = (q) => (q.shape.length > 2 ? q.contiguous({ memoryFormat: 'channels_last' }) : q);
/** In both orders of memory. */
const formats = (q) => (q.shape.length > 2 ? [q, last(q)] : [q]);
const quantized = (c, key, prefix) => c.api.makePerTensorQuantizedTensor(c.tensor(key), c.get(`${prefix}_scale`), c.get(`${prefix}_zp`));
const gridOf = (c) => ({ scale: c.get('out_scale'), zeroPoint: c.get('out_zp') });

function weighted(c, kind, options) {
  const { nn, makePerTensorQuantizedTensor, makePerChannelQuantizedTensor } = c.api;
  const scales = c.tensor('w_scale').data;
  const codes = c.tensor('w');
  const perChannel = c.getOr('per_channel', scales.length > 1);
  const zeros = c.has('w_zp') ? c.tensor('w_zp').data : new Array(scales.length).fill(0);
  const weight =
    scales.length === 1 && !perChannel
      ? makePerTensorQuantizedTensor(codes, scales[0], zeros[0])
      : makePerChannelQuantizedTensor(codes, scales, zeros, 0);
  const x = quantized(c, 'x', 'in');
  const check = (key, engine) => {
    const module = new nn.quantized[c.get('relu') ? kind.relu : kind.plain](weight, {
      ...gridOf(c),
      bias: c.has('bias') ? c.tensor('bias') : undefined,
      engine,
      ...options,
    });
    for (const input of formats(x)) c.expect(key, module.forward(input).intRepr());
    module.close();
  };
  check('y', c.get('engine'));
  if (c.has('y_qnnpack')) check('y_qnnpack', 'qnnpack');
  // The exact sums behind y, which show in it, and a model of a third engine that nobody ran.
  c.ignore('acc', 'y_fbgemm_model');
}

/** A function of one tensor, in both memory formats; the result's grid is the case's. */
function unary(c, f) {
  for (const x of formats(quantized(c, 'x', 'in'))) {
    const y = f(x, gridOf(c));
    c.expect('y', y.intRepr());
    c.expectEqual('the scale', y.qScale(), c.get('out_scale'));
    c.expectEqual('the zero point', y.qZeroPoint(), c.get('out_zp'));
  }
}

function binary(c, f) {
  const operands = [quantized(c, 'a', 'a'), quantized(c, 'b', 'b')];
  for (const [a, b] of [operands, operands.map(last)]) {
    const y = f(a, b, gridOf(c)).intRepr();
    c.expect('y', y);
    if (c.has('y_qnnpack')) c.expect('y_qnnpack', y);
  }
}

const poolOf = (c) => ({
  kernelSize: c.get('k'),
  stride: c.getOr('stride', undefined),
  padding: c.getOr('pad', 0),
  dilation: c.getOr('dilation', 1),
  ceilMode: Boolean(c.getOr('ceil', 0)),
});

/** A pool's y is that of a channels_last input, its y_nchw that of a contiguous one; a maximum has one answer. */
function expectPooled(c, pool) {
  const x = quantized(c, 'x', 'in');
  c.expect('y', pool(last(x)).intRepr());
  const y = pool(x).intRepr();
  if (c.has('y_nchw')) c.expect('y_nchw', y);
  else if (c.get('kind') === 'maxpool') c.expect('y', y);
}

function fuse(c) {
  const { quantization, quantizePerChannel } = c.api;
  const bn = {
    runningMean: c.tensor('mean').data,
    runningVar: c.tensor('var').data,
    weight: c.tensor('gamma').data,
    bias: c.tensor('beta').data,
    eps: c.get('eps'),
  };
  const fused = quantization.fuseConvBnWeights(c.tensor('w'), c.has('b') ? c.tensor('b') : undefined, bn);
  c.expect('fused_w', fused.weight);
  c.expect('fused_b', fused.bias);
  const observer = new quantization.PerChannelMinMaxObserver({ dtype: 'qint8', qscheme: 'per_channel_symmetric' });
  observer.observe(fused.weight);
  const { scale, zeroPoint } = observer.calculateQParams();
  c.expect('w_scale', scale);
  c.expect('wq', quantizePerChannel(fused.weight, scale, zeroPoint, 0, 'qint8').intRepr());
}

const kinds = {
  conv2d: (c) =>
    weighted(
      c,
      { plain: 'Conv2d', relu: 'ConvReLU2d' },
      { stride: c.getOr('stride', 1), padding: c.getOr('pad', 0), dilation: c.getOr('dilation', 1), groups: c.getOr('groups', 1) },
    ),
  linear: (c) => weighted(c, { plain: 'Linear', relu: 'LinearReLU' }, {}),
  relu: (c, F) => unary(c, F.relu),
  relu6: (c) => unary(c, (x) => new c.api.nn.quantized.ReLU6().forward(x)),
  clamp: (c, F) => unary(c, (x) => F.clamp(x, c.get('min'), c.get('max'))),
  hardswish: (c) => unary(c, (x, grid) => new c.api.nn.quantized.Hardswish(grid).forward(x)),
  hardsigmoid: (c, F) => unary(c, F.hardsigmoid),
  sigmoid: (c) => unary(c, (x, grid) => new c.api.nn.quantized.Sigmoid(grid).forward(x)),
  sigmoid_default: (c, F) => unary(c, (x) => F.sigmoid(x)),
  tanh: (c, F) => unary(c, F.tanh),
  leaky_relu: (c) => unary(c, (x, grid) => new c.api.nn.quantized.LeakyReLU(grid, c.get('negative_slope')).forward(x)),
  elu: (c) => unary(c, (x, grid) => new c.api.nn.quantized.ELU(grid, c.get('alpha')).forward(x)),
  maxpool: (c, F) => expectPooled(c, (x) => F.maxPool2d(x, poolOf(c))),
  avgpool(c, F) {
    const options = { ...poolOf(c), countIncludePad: Boolean(c.getOr('count_include_pad', 1)) };
    for (const key of ['divisor', 'divisor_override']) if (c.has(key)) options.divisorOverride = c.get(key);
    expectPooled(c, (x) => F.avgPool2d(x, options));
    if (c.has('y_qnnpack')) c.expect('y_qnnpack', F.avgPool2d(quantized(c, 'x', 'in'), { ...options, engine: 'qnnpack' }).intRepr());
  },
  adaptive_avgpool: (c, F) => expectPooled(c, (x) => F.adaptiveAvgPool2d(x, [c.get('oh'), c.get('ow')])),
  mean_hw: (c, F) => unary(c, (x) => F.meanHw(x)),
  add: (c, F) => binary(c, F.add),
  add_relu: (c, F) => binary(c, F.addReLU),
  mul: (c, F) => binary(c, F.mul),
  mul_relu: (c, F) => binary(c, F.mulReLU),
  cat(c) {
    const parts = [];
    for (const key of 'abcdefghijklmnopqrstuvwxyz') {
      if (!c.has(key)) break;
      parts.push(quantized(c, key, key));
    }
    const module = new c.api.nn.quantized.QFunctional(gridOf(c));
    c.expect('y', module.cat(parts, c.get('dim')).intRepr());
    if (c.has('y_cl')) c.expect('y_cl', module.cat(parts.map(last), c.get('dim')).intRepr());
  },
  fuse_conv_bn: fuse,
};

function ops(c) {
  const kind = c.get('kind');
  if (!Object.hasOwn(kinds, kind)) throw new Error(`kind ${kind} is not understood`);
  c.ignore('dtype'); // that of the codes, which say it too
  kinds[kind](c, c.api.nn.quantized.functional);
}

/** What makes `out` positions of `size` with a kernel: same padding, else any; the smallest stride first. */
function steps(size, kernel, out) {
  const all = [];
  const add = (padding) => {
    const room = size + 2 * padding - kernel;
    for (let stride = 1; room >= 0 && stride <= size + 2 * padding; stride++) {
      if (Math.floor(room / stride) + 1 === out) all.push({ stride, padding });
      if (out === 1 && all.length) break; // one position is that of any larger stride too
    }
  };
  add(Math.floor(kernel / 2));
  for (let padding = 0; all.length === 0 && padding < kernel; padding++) add(padding);
  return all;
}

/** torch's converted network (FX graph mode), node by node: weights from the float one, the grids of the activations as recorded. */
function e2e(c) {
  const { nn, quantization, quantizePerTensor, quantizePerChannel, tensor } = c.api;
  const engine = c.get('engine');
  c.ignore('backend');
  if (c.get('kind') !== 'fx') throw new Error(`kind ${c.get('kind')} is not understood`);
  const real = (key) => c.tensor(`float_${key}`).data;
  const batchNorm = (name) => ({
    weight: real(`${name}.weight`),
    bias: real(`${name}.bias`),
    runningMean: real(`${name}.running_mean`),
    runningVar: real(`${name}.running_var`),
    eps: 1e-5,
  });
  const weightOf = (weight, layer) => {
    const perChannel = c.tensor(`ws_${layer}`).data.length > 1;
    const Observer = perChannel ? quantization.PerChannelMinMaxObserver : quantization.MinMaxObserver;
    const observer = new Observer({ dtype: 'qint8', qscheme: perChannel ? 'per_channel_symmetric' : 'per_tensor_symmetric' });
    observer.observe(weight);
    const { scale, zeroPoint } = observer.calculateQParams();
    c.expect(`ws_${layer}`, scale);
    const codes = perChannel
      ? quantizePerChannel(weight, scale, zeroPoint, 0, 'qint8')
      : quantizePerTensor(weight, scale[0], zeroPoint[0], 'qint8');
    c.expect(`w_${layer}`, codes.intRepr());
    return codes;
  };
  // A range that a ReLU left begins at 0, which is the lowest code; where that is chance, a ReLU changes nothing.
  const fusedReLU = (grid) => grid.zeroPoint === 0;
  const biasOf = (layer) => (c.has(`float_${layer}.bias`) ? c.tensor(`float_${layer}.bias`) : undefined);
  const conv = (x, layer, bn, grid, key) => {
    const { data, shape } = c.tensor(`float_${layer}.weight`);
    const fused = quantization.fuseConvBnWeights(tensor(data, shape), biasOf(layer), batchNorm(bn));
    c.expect(`b_${layer}`, fused.bias);
    const weight = weightOf(fused.weight, layer);
    const Module = nn.quantized[fusedReLU(grid) ? 'ConvReLU2d' : 'Conv2d'];
    const { data: want, shape: out } = c.tensor(key);
    // The stride and the padding show in the recorded sizes alone. Where several fit them, the network's are those that come nearest to the
    // recorded codes; the smallest of equals.
    let best;
    let fewest = Infinity;
    for (const h of steps(x.shape[2], weight.shape[2], out[2])) {
      for (const w of steps(x.shape[3], weight.shape[3], out[3])) {
        const padding = [h.padding, w.padding];
        const stride = [h.stride, w.stride];
        const options = { ...grid, bias: fused.bias, engine, padding, stride, groups: x.shape[1] / weight.shape[1] };
        const y = new Module(weight, options).forward(x);
        const wrong = y.intRepr().data.reduce((count, code, i) => count + (code !== want[i]), 0);
        if (wrong >= fewest) continue;
        fewest = wrong;
        best = y;
      }
    }
    if (!best) throw new Error(`${key} has sizes that no stride of ${layer} gives`);
    return best;
  };
  const F = nn.quantized.functional;
  const results = new Map();
  let x;
  for (let i = 0; c.has(`node_${i}`); i++) {
    const key = `node_${i}`;
    const name = c.get(key);
    const grid = { scale: c.get(`${key}_scale`), zeroPoint: c.get(`${key}_zp`) };
    const { shape } = c.tensor(key);
    const nodes = {
      quantize_per_tensor: () => {
        const { data, shape: input } = c.tensor('x');
        return new nn.quantized.Quantize(grid.scale, grid.zeroPoint).forward(tensor(data, input));
      },
      c1: () => conv(x, 'c1', 'b1', grid, key),
      c2: () => conv(x, 'c2', 'b2', grid, key),
      bn: () => {
        const bn = batchNorm('bn');
        for (const [own, field] of [
          ['weight', 'weight'],
          ['bias', 'bias'],
          ['running_mean', 'runningMean'],
          ['running_var', 'runningVar'],
        ])
          c.expect(`bn_${own}`, bn[field]);
        return nn.quantized[fusedReLU(grid) ? 'BNReLU2d' : 'BatchNorm2d'].fromFloat(bn, grid).forward(x);
      },
      // The shortcut leads around the BatchNorm and the depthwise convolution.
      add_relu: () => new nn.quantized.QFunctional(grid).addReLU(x, results.get('c1')),
      adaptive_avg_pool2d: () => F.adaptiveAvgPool2d(x, shape.slice(2)),
      flatten: () => F.flatten(x),
      fc: () => {
        const { data, shape: weightShape } = c.tensor('float_fc.weight');
        const bias = biasOf('fc');
        if (bias) c.expect('b_fc', bias);
        return new nn.quantized.Linear(weightOf(tensor(data, weightShape), 'fc'), { ...grid, bias, engine }).forward(x);
      },
    };
    if (!Object.hasOwn(nodes, name)) throw new Error(`node ${name} is not understood`);
    x = nodes[name]();
    results.set(name, x);
    c.expect(key, x.intRepr());
    c.expectEqual(`${key}_scale`, x.qScale(), grid.scale);
    c.expectEqual(`${key}_zp`, x.qZeroPoint(), grid.zeroPoint);
  }
  c.expect('y', new nn.quantized.DeQuantize().forward(x));
  c.ignore('y_float');
  for (let i = 0; c.has(`cal${i}`); i++) c.ignore(`cal${i}`);
}

/** ONNX Runtime's calibrators. Tensor METHOD_i: i is 0 for the defaults; the others are the attribute `suffixes`. */
const calibrations = {
  MinMax_0: { method: 'MinMax' },
  MinMax_1: { method: 'MinMax', symmetric: true },
  MinMax_2: { method: 'MinMax', movingAverage: true },
  Entropy_0: { method: 'Entropy' },
  Entropy_4: { method: 'Entropy', numBins: 1024 },
  Percentile_0: { method: 'Percentile' },
  Percentile_1: { method: 'Percentile' }, // symmetric anyway
  Percentile_3: { method: 'Percentile', percentile: 99 },
  Distribution_0: { method: 'Distribution' },
};
const suffixes = '0=default,1=symmetric,2=moving_average_0.01,3=percentile_99,4=entropy_num_bins_1024_qbins_128';

function ortCalib(c) {
  if (c.get('kind') !== 'ort_calibration') throw new Error(`kind ${c.get('kind')} is not understood`);
  c.expectEqual('suffixes', c.get('suffixes'), suffixes);
  const batches = batchesOf(c);
  c.expectEqual('batches', batches.length, c.getOr('batches', batches.length));
  for (const [key, options] of Object.entries(calibrations))
    if (c.has(key)) c.expect(key, c.api.quantization.calibrationRange(batches, options));
}

/** The groups that the JS API covers. */
export const groups = { quantize, batchnorm, observers, fakequant, ops, e2e, ort_calib: ortCalib, ...engineGroups };

/**
 * Runs every case of a group: { cases, compared, mismatches, problems }. `apis`: { nn, octavo, engine }; `read(name)` gives the bytes of
 * a file of the folder.
 */
export async function runGroup(apis, name, read) {
  const tally = { cases: 0, compared: 0, mismatches: 0, problems: [] };
  const run = groups[name];
  if (!run) {
    tally.problems.push(`group ${name} is not understood`);
    return tally;
  }
  let group;
  try {
    group = { ...parseIndex(new TextDecoder().decode(await read(`${name}.idx`))), bytes: await read(`${name}.bin`), read };
  } catch (error) {
    tally.problems.push(`group ${name} cannot be read: ${error.message}`);
    return tally;
  }
  const format = group.header.get('format') ?? 'qgold1';
  if (format !== 'qgold1') tally.problems.push(`format ${format} is not understood`);
  if (group.cases.length === 0) tally.problems.push(`group ${name} has no cases`);
  for (const record of group.cases) {
    const c = new Case(apis, group, record);
    try {
      await run(c);
    } catch (error) {
      c.problem(error.message);
    }
    c.finish();
    tally.cases++;
    tally.compared += c.compared;
    tally.mismatches += c.mismatches;
    tally.problems.push(...c.problems);
  }
  return tally;
}

export const passed = ({ mismatches, problems }) => mismatches === 0 && problems.length === 0;

/** "batchnorm: 99 cases, 1234567 codes compared, 0 mismatches", then a line a problem. */
export function toLine(name, { cases, compared, mismatches, problems }) {
  const count = problems.length ? `, ${problems.length} problems` : '';
  return [`${name}: ${cases} cases, ${compared} codes compared, ${mismatches} mismatches${count}`, ...problems].join('\n  ');
}
