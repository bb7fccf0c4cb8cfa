// A second set of golden vectors, in the format of tests/data/golden, with other shapes, ranks, grids and options: no file of PyTorch's,
// but the formulas that reproduce its numbers, written out plainly and apart from Octavo's code. What it is for: the runners have to be
// right on any set of the format, and not on the stored one alone.
//
//     node tests/golden/second-set.mjs DIR

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const f = Math.fround;
const types = {
  quint8: { array: Uint8Array, lo: 0, hi: 255 },
  qint8: { array: Int8Array, lo: -128, hi: 127 },
  qint32: { array: Int32Array, lo: -(2 ** 31), hi: 2 ** 31 - 1 },
};
const names = { Uint8Array: 'u8', Int8Array: 'i8', Int32Array: 'i32', Float32Array: 'f32', Float64Array: 'f64' };
const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);
const clamp = (x, lo, hi) => Math.min(Math.max(x, lo), hi);
/** To the nearest integer, ties to even. */
function rint(x) {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}
/** Element i of a row-major shape lies at this index of the axis. */
const indexAt = (shape, axis) => {
  const inner = sizeOf(shape.slice(axis + 1));
  return (i) => Math.floor(i / inner) % shape[axis];
};

let state = 20261;
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const between = (lo, hi) => lo + (hi - lo) * random();
const whole = (lo, hi) => Math.floor(between(lo, hi + 1));
const floats = (shape, lo, hi) => ({ data: Float32Array.from({ length: sizeOf(shape) }, () => between(lo, hi)), shape });
const gridOf = (dtype) => ({
  scale: between(0.01, 0.1),
  zp: dtype === 'qint32' ? whole(-90, 90) : whole(types[dtype].lo, types[dtype].hi),
});
/** Codes on a grid. */
const codes = (dtype, shape, grid = gridOf(dtype)) => ({
  ...grid,
  dtype,
  shape,
  data: types[dtype].array.from({ length: sizeOf(shape) }, () =>
    dtype === 'qint32' ? whole(-9999, 9999) : whole(types[dtype].lo, types[dtype].hi),
  ),
});
/** New codes of `x`'s dtype from a function of the index. */
const made = (dtype, shape, grid, code) => {
  const { array, lo, hi } = types[dtype];
  return { ...grid, dtype, shape, data: array.from({ length: sizeOf(shape) }, (_, i) => clamp(code(i), lo, hi)) };
};

const quantizeValue = (x, { scale, zp }) => zp + rint(f(x * f(1 / f(scale))));
const dequantizeValue = (q, { scale, zp }) => f(f(scale) * (q - zp));
const quantize = (x, dtype, grid) => made(dtype, x.shape, grid, (i) => quantizeValue(x.data[i], grid));
const dequantize = (q) => ({ shape: q.shape, data: Float32Array.from(q.data, (code) => dequantizeValue(code, q)) });

/** Writes GROUP.idx and GROUP.bin. */
class Group {
  lines = [];
  parts = [];
  size = 0;

  constructor(name, header = {}) {
    this.name = name;
    for (const [key, value] of Object.entries({ format: 'qgold1', group: name, set: 'second', ...header }))
      this.lines.push(`h ${key} ${value}`);
  }
  /** Attributes are numbers, strings and lists; tensors have `data` and `shape`. `more`: entries, of which keys may come twice. */
  case(name, entries, more = []) {
    this.lines.push(`case ${name}`);
    for (const [key, value] of [...Object.entries(entries), ...more]) {
      if (value === undefined) continue;
      if (value.data) this.#tensor(key, value);
      else if (Array.isArray(value)) this.lines.push(`a ${key} L ${[value.length, ...value].join(' ')}`);
      else this.lines.push(`a ${key} ${typeof value === 'string' ? 's' : Number.isInteger(value) ? 'i' : 'f'} ${value}`);
    }
    this.lines.push('end');
  }
  #tensor(key, { data, shape }) {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    this.lines.push(['t', key, names[data.constructor.name], this.size, data.length, shape.length, ...shape].join(' '));
    this.parts.push(bytes, Buffer.alloc(-bytes.length & 7));
    this.size += bytes.length + (-bytes.length & 7);
  }
  write(folder) {
    writeFileSync(join(folder, `${this.name}.idx`), `${this.lines.join('\n')}\n`);
    writeFileSync(join(folder, `${this.name}.bin`), Buffer.concat(this.parts));
  }
}

const tensorOf = (array, values, shape = [values.length]) => ({ data: array.from(values), shape });

function quantizeGroup() {
  const group = new Group('quantize');
  for (const dtype of Object.keys(types)) {
    for (const shape of [[], [0], [2, 0, 3], [7], [3, 4], [2, 3, 5], [2, 3, 1, 4], [1, 2, 3, 2, 2]]) {
      const x = floats(shape, -9, 9);
      const grid = gridOf(dtype);
      const q = quantize(x, dtype, grid);
      const label = `${dtype}_${shape.join('x')}`;
      group.case(`pt_${label}`, { kind: 'per_tensor', dtype, scale: grid.scale, zero_point: grid.zp, x, q, dq: dequantize(q) });
      shape.forEach((channels, axis) => {
        const grids = Array.from({ length: channels }, () => gridOf(dtype));
        const at = indexAt(shape, axis);
        const own = made(dtype, shape, {}, (i) => quantizeValue(x.data[i], grids[at(i)]));
        const dq = Float32Array.from(own.data, (code, i) => (code - grids[at(i)].zp) * grids[at(i)].scale);
        group.case(`pc_${label}_${axis}`, {
          kind: 'per_channel',
          dtype,
          axis,
          x,
          scales: tensorOf(
            Float64Array,
            grids.map(({ scale }) => scale),
          ),
          zero_points: tensorOf(
            Int32Array,
            grids.map(({ zp }) => zp),
          ),
          q: own,
          dq: { data: dq, shape },
        });
      });
    }
  }
  return group;
}

/** quantized::batch_norm and its relu form. A double's sum rounded to f32 is the fused multiply-add, but for rare double roundings. */
function batchNorm(x, { weight, bias, mean, var: variance, eps }, grid, relu) {
  const ratio = x.scale / grid.scale;
  const alpha = new Float32Array(mean.data.length);
  const beta = new Float32Array(mean.data.length);
  alpha.forEach((_, c) => {
    const inverse = f(1 / f(Math.sqrt(f(variance.data[c] + f(eps)))));
    alpha[c] = f(inverse * weight.data[c]) * ratio;
    beta[c] = f(bias.data[c] - f(f(mean.data[c] * inverse) * weight.data[c])) / grid.scale;
  });
  const at = indexAt(x.shape, 1);
  const y = made(x.dtype, x.shape, grid, (i) => {
    const code = grid.zp + rint(f(alpha[at(i)] * (x.data[i] - x.zp) + beta[at(i)]));
    return relu ? Math.max(code, grid.zp) : code;
  });
  const shape = [alpha.length];
  return { y, alpha: { data: alpha, shape }, beta: { data: beta, shape } };
}

const normOf = (channels, eps = 1e-3) => ({
  weight: floats([channels], -2, 2),
  bias: floats([channels], -1, 1),
  mean: floats([channels], -1, 1),
  var: floats([channels], 0.1, 2),
  eps,
});

function uhash(i, seed) {
  let h = (Math.imul(i, 2654435761) + seed) >>> 0;
  h ^= h >>> 15;
  h = Math.imul(h, 2246822519) >>> 0;
  return (h ^ (h >>> 13)) >>> 0;
}

function batchnormGroup() {
  const group = new Group('batchnorm');
  const shapes = [
    [4, 5],
    [1, 1],
    [3, 6, 4],
    [2, 7, 3, 5],
    [1, 1, 1, 1],
    [0, 3, 2, 2],
    [1, 3, 0, 2],
    [1, 9, 2, 3, 4],
    [2, 17, 3, 3],
  ];
  const attributes = (x, grid, relu) => ({
    dtype: x.dtype,
    relu,
    in_scale: x.scale,
    in_zp: x.zp,
    out_scale: grid.scale,
    out_zp: grid.zp,
    fma_sensitive: 0,
  });
  for (const dtype of Object.keys(types)) {
    for (const shape of shapes) {
      for (const relu of [0, 1]) {
        const x = codes(dtype, shape);
        const bn = normOf(shape[1]);
        const grid = gridOf(dtype);
        const found = batchNorm(x, bn, grid, relu);
        group.case(`bn_${dtype}_${shape.join('x')}_${relu}`, {
          kind: 'other',
          note: 'a_label',
          ...attributes(x, grid, relu),
          ...bn,
          x,
          ...found,
        });
      }
    }
  }
  for (const dtype of ['quint8', 'qint8']) {
    const xf = floats([2, 3, 4, 5], -3, 3);
    const bn = normOf(3);
    const grid = gridOf(dtype);
    const x = quantize(xf, dtype, gridOf(dtype));
    const { y } = batchNorm(x, bn, grid, 0);
    group.case(`module_${dtype}`, { kind: 'module', ...attributes(x, grid, 0), ...bn, xf, x, y, y_dq: dequantize(y) });
    const shape = [1, 5, 9, 7];
    const seed = 77031 + types[dtype].hi;
    const big = { ...x, shape, data: types[dtype].array.from({ length: sizeOf(shape) }, (_, i) => uhash(i, seed) & 255) };
    const wide = normOf(5);
    const { data } = batchNorm(big, wide, grid, 1).y;
    const counts = new Int32Array(256);
    let sum = 0n;
    new Uint8Array(data.buffer).forEach((byte, i) => {
      counts[byte]++;
      sum += BigInt(byte) * (BigInt(i) * 0x9e3779b97f4a7c15n + 1n);
    });
    group.case(`hashed_${dtype}`, {
      kind: 'big_hashed',
      ...attributes(big, grid, 1),
      ...wide,
      shape,
      x_seed: seed,
      y_checksum: String(sum & ((1n << 64n) - 1n)),
      y_count: tensorOf(Int32Array, counts),
      y_head: { data: data.slice(0, 64), shape: [64] },
      x_head: { data: big.data.slice(0, 64), shape: [64] },
    });
  }
  return group;
}

function fakequantGroup() {
  const group = new Group('fakequant');
  for (const shape of [[], [0], [5], [3, 4], [2, 3, 1, 4]]) {
    for (const [lo, hi] of [
      [0, 255],
      [-128, 127],
      [0, 15],
    ]) {
      const x = floats(shape, -20, 20);
      const grad_out = floats(shape, -1, 1);
      const put = (name, attributes, gridAt) => {
        const raw = Array.from(x.data, (value, i) => quantizeValue(value, gridAt(i)));
        const mask = Uint8Array.from(raw, (q) => (q >= lo && q <= hi ? 1 : 0));
        const y = Float32Array.from(raw, (q, i) => f(clamp(q, lo, hi) - gridAt(i).zp) * f(gridAt(i).scale));
        const grad_in = grad_out.data.map((g, i) => g * mask[i]);
        const results = { y: { data: y, shape }, mask: { data: mask, shape }, grad_in: { data: grad_in, shape } };
        group.case(`${name}_${shape.join('x')}_${hi}`, { ...attributes, quant_min: lo, quant_max: hi, x, grad_out, ...results });
      };
      const grid = () => ({ scale: f(between(0.01, 0.1)), zp: whole(lo, lo + 9) });
      const one = grid();
      put('pt', { kind: 'per_tensor', scale: one.scale, zero_point: one.zp }, () => one);
      shape.forEach((channels, axis) => {
        const grids = Array.from({ length: channels }, grid);
        const at = indexAt(shape, axis);
        const scales = grids.map(({ scale }) => scale);
        const zeros = grids.map(({ zp }) => zp);
        const tensors = { scales: tensorOf(Float32Array, scales), zero_points: tensorOf(Int32Array, zeros) };
        put(`pc${axis}`, { kind: 'per_channel', axis, ...tensors }, (i) => grids[at(i)]);
      });
    }
  }
  return group;
}

/** Scale and zero point of a range, as torch's observers find them. */
function qparams(min, max, [dtype, scheme, range]) {
  const { lo, hi } =
    dtype === 'quint8'
      ? range === 'full'
        ? { lo: 0, hi: 255 }
        : { lo: 0, hi: 127 }
      : range === 'full'
        ? { lo: -128, hi: 127 }
        : { lo: -64, hi: 63 };
  if (min > max) return { lo, hi, scale: 1, zp: 0 };
  const least = Math.min(min, 0);
  const most = Math.max(max, 0);
  if (scheme === 'symmetric')
    return { lo, hi, zp: dtype === 'quint8' ? 128 : 0, scale: Math.max(f(Math.max(-least, most) / f((hi - lo) / 2)), 2 ** -23) };
  const scale = Math.max(f(f(most - least) / (hi - lo)), 2 ** -23);
  return { lo, hi, scale, zp: clamp(lo - rint(f(least / scale)), lo, hi) };
}

function observersGroup() {
  // Fewer rows than the stored set has, in another order.
  const combos = [
    ['qint8', 'symmetric', 'reduce'],
    ['quint8', 'affine', 'full'],
    ['qint8', 'affine', 'reduce'],
    ['quint8', 'symmetric', 'full'],
  ];
  const group = new Group('observers', { combos: `[${combos.map((combo) => `'${combo}'`).join(',_')}]` });
  const put = (kind, name, batches, { axis, constant, ...entries }) => {
    const channels = axis === undefined ? 1 : batches[0].shape[axis];
    let min = [Infinity];
    let max = [-Infinity];
    batches.forEach(({ data, shape }, b) => {
      const at = axis === undefined ? () => 0 : indexAt(shape, axis);
      const lows = new Array(channels).fill(Infinity);
      const highs = new Array(channels).fill(-Infinity);
      data.forEach((value, i) => {
        lows[at(i)] = Math.min(lows[at(i)], value);
        highs[at(i)] = Math.max(highs[at(i)], value);
      });
      const step = (old, now, pick) =>
        b === 0 ? now : kind.startsWith('Moving') ? f(old + f(f(constant) * f(now - old))) : pick(old, now);
      min = lows.map((now, c) => step(min[c], now, Math.min));
      max = highs.map((now, c) => step(max[c], now, Math.max));
    });
    const rows = combos.map((combo) => min.map((low, c) => qparams(low, max[c], combo)));
    const shape = [combos.length, channels];
    group.case(`${kind}_${name}`, {
      kind,
      ch_axis: axis,
      averaging_constant: constant,
      ...entries,
      min_val: tensorOf(Float32Array, min),
      max_val: tensorOf(Float32Array, max),
      scales: tensorOf(
        Float64Array,
        rows.flat().map(({ scale }) => scale),
        shape,
      ),
      zero_points: tensorOf(
        Int32Array,
        rows.flat().map(({ zp }) => zp),
        shape,
      ),
      quant_min: tensorOf(
        Int32Array,
        rows.map(([{ lo }]) => lo),
      ),
      quant_max: tensorOf(
        Int32Array,
        rows.map(([{ hi }]) => hi),
      ),
    });
  };
  const stored = [floats([3, 2, 5], -1, 3), floats([3, 4, 1], -2, 2)];
  group.case('data_stored', { kind: 'data', batches: 2, b0: stored[0], b1: stored[1] });
  const seeds = [501, 502];
  const mults = [0.75, 2];
  const generated = seeds.map((seed, b) => {
    const data = Float32Array.from({ length: 100 }, (_, i) => {
      const sum = [0, 1, 2, 3].reduce((all, k) => all + (uhash(i, (seed + k * 1000003) >>> 0) >>> 16), -131070);
      const x = f(sum * 2 ** -15);
      return f(f(x * x) * x) * mults[b];
    });
    return { data, shape: [100] };
  });
  const heads = {
    b0_head: { data: generated[0].data.slice(0, 32), shape: [32] },
    b1_head: { data: generated[1].data.slice(0, 32), shape: [32] },
  };
  group.case('data_cubes', { kind: 'gen', gen: 'cube', n: 100, seeds, mults, batches: 2, ...heads });
  for (const [name, batches] of Object.entries({ stored, cubes: generated })) {
    put('MinMax', name, batches, { data: `data_${name}` });
    put('MovingAverageMinMax', name, batches, { data: `data_${name}`, constant: 0.25 });
  }
  // Nothing seen.
  group.case('data_none', { kind: 'data', batches: 0 });
  put('MinMax', 'none', [], { data: 'data_none' });
  // Channels of a data case, and of batches of the case's own.
  put('PerChannelMinMax', 'named', stored, { data: 'data_stored', axis: 0 });
  put('MovingAveragePerChannelMinMax', 'named', stored, { data: 'data_stored', axis: 0, constant: 0.125 });
  const own = [floats([2, 4, 3], -1, 1), floats([5, 4, 1], -3, 0)];
  put('PerChannelMinMax', 'own', own, { b0: own[0], b1: own[1], axis: 1 });
  return group;
}

/** The codes of an input's window at an output position, of [N, C, H, W]: calls with flat indices into the image and the kernel. */
function eachTap([, , height, width], kernel, { stride, pad, dilation = [1, 1] }, row, column, use) {
  for (let i = 0; i < kernel[0]; i++) {
    for (let j = 0; j < kernel[1]; j++) {
      const y = row * stride[0] - pad[0] + i * dilation[0];
      const x = column * stride[1] - pad[1] + j * dilation[1];
      if (y >= 0 && y < height && x >= 0 && x < width) use(y * width + x, i * kernel[1] + j);
    }
  }
}
function positions(size, d, kernel, { stride, pad, dilation = [1, 1], ceil }) {
  const steps = (size + 2 * pad[d] - dilation[d] * (kernel[d] - 1) - 1) / stride[d];
  // The last window of a pool that rounds up begins within the image or its padding before it.
  if (ceil) return Math.ceil(steps) + (Math.ceil(steps) * stride[d] >= size + pad[d] ? 0 : 1);
  return Math.floor(steps) + 1;
}
/** Runs over a row-major [N, C, H, W]. */
function indices4(shape) {
  const [h, w] = [indexAt(shape, 2), indexAt(shape, 3)];
  return (i) => ({ n: Math.floor(i / sizeOf(shape.slice(1))), c: indexAt(shape, 1)(i), row: h(i), column: w(i) });
}

/** Sums of (x - zx) * w of a convolution, [N, O, OH, OW]. */
function sums(x, w, options) {
  const [batch, channels, height, width] = x.shape;
  const [outputs, depth, ...kernel] = w.shape;
  const shape = [batch, outputs, positions(height, 0, kernel, options), positions(width, 1, kernel, options)];
  const taps = kernel[0] * kernel[1];
  const at = indices4(shape);
  const data = Int32Array.from({ length: sizeOf(shape) }, (_, i) => {
    const { n, c, row, column } = at(i);
    const first = Math.floor(c / (outputs / (channels / depth))) * depth;
    let sum = 0;
    for (let d = 0; d < depth; d++) {
      const image = (n * channels + first + d) * height * width;
      eachTap(x.shape, kernel, options, row, column, (pixel, tap) => {
        sum += (x.data[image + pixel] - x.zp) * w.data[(c * depth + d) * taps + tap];
      });
    }
    return sum;
  });
  return { data, shape };
}
/** onednn's requantization of sums, [N, O, ..]. */
function onednn(acc, x, scales, bias, grid, relu) {
  const at = indexAt(acc.shape, 1);
  const inverse = f(1 / f(grid.scale));
  return made(x.dtype, acc.shape, grid, (i) => {
    const scale = f(x.scale * scales[scales.length === 1 ? 0 : at(i)]);
    const real = f(f(acc.data[i] * scale) + (bias ? bias.data[at(i)] : 0));
    const code = rint(f(f(real * inverse) + grid.zp));
    return relu ? Math.max(code, grid.zp) : code;
  });
}

/** qnnpack's: its bias is one of codes. */
function qnnpack(acc, x, scales, bias, grid, relu) {
  const at = indexAt(acc.shape, 1);
  return made(x.dtype, acc.shape, grid, (i) => {
    const scale = f(x.scale * scales[scales.length === 1 ? 0 : at(i)]);
    const sum = acc.data[i] + (bias ? rint(f(bias.data[at(i)] / scale)) : 0);
    const code = rint(f(sum * f(scale / f(grid.scale)))) + grid.zp;
    return relu ? Math.max(code, grid.zp) : code;
  });
}

/** torch's broadcast of two shapes: the shape, and for an index into it those into the two. */
function broadcast(a, b) {
  const rank = Math.max(a.length, b.length);
  const [wide, other] = [a, b].map((shape) => [...new Array(rank - shape.length).fill(1), ...shape]);
  const shape = wide.map((dim, d) => (dim === 1 ? other[d] : dim));
  const index = (own) => (i) => own.reduce((flat, dim, d) => flat * dim + (dim === 1 ? 0 : indexAt(shape, d)(i)), 0);
  return { shape, left: index(wide), right: index(other) };
}
function add(a, b, grid, relu) {
  const { shape, left, right } = broadcast(a.shape, b.shape);
  return made(a.dtype, shape, grid, (i) => {
    const code = quantizeValue(f(dequantizeValue(a.data[left(i)], a) + dequantizeValue(b.data[right(i)], b)), grid);
    return relu ? Math.max(code, grid.zp) : code;
  });
}
function mul(a, b, grid, relu) {
  const { shape, left, right } = broadcast(a.shape, b.shape);
  const factor = f(f(f(a.scale) * f(b.scale)) * f(1 / f(grid.scale)));
  return made(a.dtype, shape, grid, (i) => {
    const code = rint(f((a.data[left(i)] - a.zp) * (b.data[right(i)] - b.zp) * factor)) + grid.zp;
    return relu ? Math.max(code, grid.zp) : code;
  });
}

/** One pool's codes: `of(values, places)` of a window's codes less the zero point, and how many places it has with the padding. */
function pooled(x, kernel, options, of) {
  const [n, c, height, width] = x.shape;
  const shape = [n, c, positions(height, 0, kernel, options), positions(width, 1, kernel, options)];
  const at = indices4(shape);
  return made(x.dtype, shape, x, (i) => {
    const place = at(i);
    const values = [];
    eachTap(x.shape, kernel, options, place.row, place.column, (pixel) =>
      values.push(x.data[(place.n * c + place.c) * height * width + pixel] - x.zp),
    );
    const reach = (d, position, size) => {
      const start = position * options.stride[d] - options.pad[d];
      return Math.min(start + kernel[d], size + options.pad[d]) - start;
    };
    return of(values, reach(0, place.row, height) * reach(1, place.column, width));
  });
}
const total = (values) => values.reduce((a, b) => a + b, 0);
/** Means of windows: rounded before the zero point is added where channels are last, and after it otherwise. */
const meanLast = (values, divisor, zp) => rint(f(total(values) * f(1 / f(divisor)))) + zp;
const meanFirst = (values, divisor, zp) => rint(f(f(total(values) * f(1 / f(divisor))) + zp));

/** adaptive_avg_pool2d of a channels_last input and of a contiguous one. */
function adaptive(x, [oh, ow], last) {
  const [n, c, height, width] = x.shape;
  const shape = [n, c, oh, ow];
  const at = indices4(shape);
  const span = (i, size, out) => [Math.floor((i * size) / out), Math.ceil(((i + 1) * size) / out)];
  return made(x.dtype, shape, x, (i) => {
    const place = at(i);
    const [top, bottom] = span(place.row, height, oh);
    const [left, right] = span(place.column, width, ow);
    let sum = 0;
    for (let y = top; y < bottom; y++)
      for (let z = left; z < right; z++) sum += x.data[((place.n * c + place.c) * height + y) * width + z] - (last ? x.zp : 0);
    const [h, w] = [bottom - top, right - left];
    return last ? rint(f(sum * f(1 / (h * w)))) + x.zp : rint(f(sum * f(f(1 / h) / w)));
  });
}

const inOf = (x) => ({ dtype: x.dtype, in_scale: x.scale, in_zp: x.zp, x });
const outOf = (grid) => ({ out_scale: grid.scale, out_zp: grid.zp });
const weightOf = (shape) => ({ data: Int8Array.from({ length: sizeOf(shape) }, () => whole(-127, 127)), shape });
const wideGrid = (dtype) => ({ ...gridOf(dtype), scale: between(0.5, 2) });

function opsGroup() {
  const group = new Group('ops');
  // Strides, padding and dilation of their own for each axis; groups; no bias; one scale for all channels.
  const convolutions = [
    { x: [2, 3, 7, 6], w: [4, 3, 3, 2], stride: [2, 1], pad: [1, 0], dilation: [1, 2], groups: 1, bias: true, per: 1, relu: 0 },
    { x: [1, 4, 5, 5], w: [4, 1, 3, 3], stride: 2, pad: 1, dilation: 1, groups: 4, bias: false, per: 1, relu: 1 },
    { x: [1, 6, 4, 9], w: [4, 3, 1, 5], stride: 1, pad: [0, 2], dilation: 1, groups: 2, bias: true, per: 0, relu: 0 },
    { x: [1, 2, 3, 3], w: [1, 2, 1, 1], stride: 1, pad: 0, dilation: 1, groups: 1, bias: false, per: 0, relu: 0 },
  ];
  convolutions.forEach(({ x: shape, w: weightShape, bias: biased, per, relu, ...options }, at) => {
    const x = codes('quint8', shape);
    const w = weightOf(weightShape);
    const scales = Array.from({ length: per ? weightShape[0] : 1 }, () => between(0.005, 0.02));
    const bias = biased ? floats([weightShape[0]], -9, 9) : undefined;
    const grid = wideGrid('quint8');
    const pairs = Object.fromEntries(['stride', 'pad', 'dilation'].map((key) => [key, [options[key], options[key]].flat().slice(0, 2)]));
    const acc = sums(x, w, pairs);
    const y = onednn(acc, x, scales, bias, grid, relu);
    const y_qnnpack = qnnpack(acc, x, scales, bias, grid, relu);
    const entries = { ...options, ...inOf(x), ...outOf(grid), w, w_scale: tensorOf(Float64Array, scales), bias, acc, y, y_qnnpack };
    group.case(`conv_${at}`, { kind: 'conv2d', engine: 'onednn', relu, per_channel: per, ...entries });
  });
  for (const [at, shape] of [
    [3, 9],
    [1, 4],
    [2, 2, 5],
    [2, 1, 3, 6],
  ].entries()) {
    const relu = at % 2;
    const x = codes('quint8', shape);
    const depth = shape.at(-1);
    const w = weightOf([5, depth]);
    const scales = Array.from({ length: relu ? 5 : 1 }, () => between(0.005, 0.02));
    const bias = at === 0 ? undefined : floats([5], -9, 9);
    const grid = wideGrid('quint8');
    const rows = sizeOf(shape) / depth;
    const flat = sums({ ...x, shape: [rows, depth, 1, 1] }, { ...w, shape: [5, depth, 1, 1] }, { stride: [1, 1], pad: [0, 0] });
    const out = [...shape.slice(0, -1), 5];
    const y = onednn({ ...flat, shape: [rows, 5] }, x, scales, bias, grid, relu);
    const entries = {
      ...inOf(x),
      ...outOf(grid),
      w,
      w_scale: tensorOf(Float64Array, scales),
      bias,
      acc: { ...flat, shape: out },
      y: { ...y, shape: out },
    };
    group.case(`linear_${at}`, { kind: 'linear', engine: 'onednn', relu, per_channel: relu, ...entries });
  }
  const pairs = [
    [
      [2, 3],
      [2, 3],
    ],
    [
      [1, 3, 2, 4],
      [3, 1, 1],
    ],
    [[2, 3, 2, 2], [1]],
    [
      [4, 1],
      [1, 5],
    ],
    [
      [0, 3],
      [0, 3],
    ],
  ];
  for (const dtype of ['quint8', 'qint8']) {
    for (const [at, [left, right]] of pairs.entries()) {
      const [a, b] = [codes(dtype, left), codes(dtype, right)];
      const grid = gridOf(dtype);
      const grids = { dtype, a_scale: a.scale, a_zp: a.zp, b_scale: b.scale, b_zp: b.zp, ...outOf(grid), a, b };
      for (const relu of [0, 1]) {
        group.case(`add_${relu}_${dtype}_${at}`, { kind: relu ? 'add_relu' : 'add', ...grids, y: add(a, b, grid, relu) });
        group.case(`mul_${relu}_${dtype}_${at}`, { kind: relu ? 'mul_relu' : 'mul', ...grids, y: mul(a, b, grid, relu) });
      }
    }
    for (const [shape, dim, channelsLast] of [
      [[2, 3], 0, false],
      [[3], -1, false],
      [[1, 2, 2, 3], 0, true],
      [[2, 0, 3], 0, false],
    ]) {
      // Along the first axis, or the only one, codes lie one after another.
      const [a, b] = [codes(dtype, shape), codes(dtype, shape)];
      const grid = gridOf(dtype);
      const parts = [a, b].map((part) => quantize(dequantize(part), dtype, grid).data);
      const y = { shape: [2 * shape[0], ...shape.slice(1)], data: types[dtype].array.from([...parts[0], ...parts[1]]) };
      const grids = { dtype, dim, a_scale: a.scale, a_zp: a.zp, b_scale: b.scale, b_zp: b.zp, ...outOf(grid) };
      group.case(`cat_${dtype}_${shape.join('x')}`, { kind: 'cat', ...grids, a, b, y, y_cl: channelsLast ? y : undefined });
    }
    for (const shape of [[0, 3, 2, 2], [9], [2, 5], [2, 3, 4], [1, 2, 3, 4], [1, 2, 2, 3, 2]]) {
      const x = codes(dtype, shape);
      const name = `${dtype}_${shape.join('x')}`;
      group.case(`relu_${name}`, { kind: 'relu', ...inOf(x), ...outOf(x), y: made(dtype, shape, x, (i) => Math.max(x.data[i], x.zp)) });
      const [min, max] = [-0.5, 0.75].map((bound) => clamp(quantizeValue(bound, x), types[dtype].lo, types[dtype].hi));
      const clamped = made(dtype, shape, x, (i) => clamp(x.data[i], min, max));
      group.case(`clamp_${name}`, { kind: 'clamp', min: -0.5, max: 0.75, ...inOf(x), ...outOf(x), y: clamped });
      const grid = gridOf(dtype);
      const curve = made(dtype, shape, grid, (i) => quantizeValue(1 / (1 + Math.exp(-dequantizeValue(x.data[i], x))), grid));
      group.case(`sigmoid_${name}`, { kind: 'sigmoid', ...inOf(x), ...outOf(grid), y: curve });
    }
    const pools = [
      { shape: [1, 3, 6, 5], k: [2, 3], stride: [2, 1], pad: [1, 0] },
      { shape: [2, 2, 5, 4], k: 3, stride: 2, pad: 1 },
      { shape: [2, 5, 6], k: [3, 2], stride: 1, pad: 1 },
      { shape: [1, 4, 4], k: 2, stride: 2, pad: 0 },
      { shape: [0, 2, 4, 4], k: 2, stride: 2, pad: 0 },
      { shape: [1, 2, 6, 5], k: [3, 2], stride: [2, 3], pad: 1, ceil: 1 },
    ];
    for (const [at, { shape, ...own }] of pools.entries()) {
      const x = codes(dtype, shape);
      // [C, H, W] is one image, and contiguous.
      const alone = shape.length === 3;
      const image = alone ? { ...x, shape: [1, ...shape] } : x;
      const as = (y) => (alone ? { ...y, shape: y.shape.slice(1) } : y);
      const [kernel, stride, pad] = [own.k, own.stride, own.pad].map((value) => [value, value].flat().slice(0, 2));
      const options = { stride, pad, ceil: own.ceil };
      const most = as(pooled(image, kernel, options, (values) => Math.max(...values) + x.zp));
      group.case(`maxpool_${dtype}_${at}`, { kind: 'maxpool', ceil: 0, ...own, ...inOf(x), y: most });
      for (const [include, divisor] of [
        [1, undefined],
        [0, undefined],
        [1, 3],
      ]) {
        const by = (mean) =>
          as(pooled(image, kernel, options, (values, places) => mean(values, divisor ?? (include ? places : values.length), x.zp)));
        const first = by(meanFirst);
        const entries = { kind: 'avgpool', ceil: 0, ...own, count_include_pad: include, divisor_override: divisor };
        group.case(`avgpool_${dtype}_${at}_${include}_${divisor ?? 0}`, {
          ...entries,
          ...inOf(x),
          y: alone ? first : by(meanLast),
          y_nchw: first,
          y_qnnpack: dtype === 'quint8' && !alone ? by(meanLast) : undefined,
        });
      }
      const [contiguous, last] = [false, true].map((channelsLast) => as(adaptive(image, [3, 2], channelsLast)));
      group.case(`adaptive_${dtype}_${at}`, {
        kind: 'adaptive_avgpool',
        oh: 3,
        ow: 2,
        ...inOf(x),
        y: alone ? contiguous : last,
        y_nchw: contiguous,
      });
    }
    const x = codes(dtype, [2, 3, 4, 5]);
    const means = made(dtype, [2, 3], x, (i) => rint(f(total([...x.data.subarray(i * 20, i * 20 + 20)]) / 20)));
    group.case(`mean_${dtype}`, { kind: 'mean_hw', ...inOf(x), ...outOf(x), y: means });
  }
  for (const [at, shape] of [
    [4, 3, 3, 2],
    [3, 1, 1, 1],
    [2, 5, 1, 3],
  ].entries()) {
    const w = floats(shape, -1, 1);
    const b = at === 1 ? undefined : floats([shape[0]], -1, 1);
    const bn = normOf(shape[0]);
    const found = fused(w, b ?? { data: new Float32Array(shape[0]), shape: [shape[0]] }, bn);
    const results = { fused_w: found.weight, fused_b: found.bias, w_scale: tensorOf(Float32Array, found.scales), wq: found.codes };
    const { eps, mean, var: variance, weight: gamma, bias: beta } = bn;
    group.case(`fuse_${at}`, { kind: 'fuse_conv_bn', eps, w, b, mean, var: variance, gamma, beta, ...results });
  }
  return group;
}

/** A convolution's weight with the BatchNorm behind it, and its symmetric qint8 codes per channel. */
function fused(w, bias, bn) {
  const each = sizeOf(w.shape.slice(1));
  const factor = bn.var.data.map((v) => f(1 / f(Math.sqrt(f(v + f(bn.eps))))));
  const weight = {
    shape: w.shape,
    data: w.data.map((value, i) => value * f(bn.weight.data[Math.floor(i / each)] * factor[Math.floor(i / each)])),
  };
  const own = {
    shape: bias.shape,
    data: bias.data.map((b, c) => f(f(f(b - bn.mean.data[c]) * factor[c]) * bn.weight.data[c]) + bn.bias.data[c]),
  };
  return { weight, bias: own, ...symmetric(weight) };
}
function symmetric({ data, shape }) {
  const each = sizeOf(shape.slice(1));
  const scales = Array.from({ length: shape[0] }, (_, c) => {
    const largest = data.subarray(c * each, c * each + each).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return Math.max(f(largest / 127.5), 2 ** -23);
  });
  return { scales, codes: made('qint8', shape, {}, (i) => quantizeValue(data[i], { scale: scales[Math.floor(i / each)], zp: 0 })) };
}

/** The stored set's network on another picture, its first convolution with a stride that sizes alone do not tell. */
function e2eGroup() {
  const group = new Group('e2e');
  const norms = { b1: normOf(5, 1e-5), b2: normOf(5, 1e-5), bn: normOf(5, 1e-5) };
  const x = floats([1, 2, 6, 6], -2, 2);
  const first = { weight: floats([5, 2, 3, 3], -0.5, 0.5), bias: floats([5], -0.5, 0.5) };
  const second = { weight: floats([5, 1, 3, 3], -0.5, 0.5), bias: floats([5], -0.5, 0.5) };
  const last = { weight: floats([4, 5], -0.5, 0.5), bias: floats([4], -0.5, 0.5) };
  const [c1, c2, fc] = [fused(first.weight, first.bias, norms.b1), fused(second.weight, second.bias, norms.b2), symmetric(last.weight)];
  const grid = (scale, zp) => ({ scale, zp });
  const run = (input, layer, stride, out) =>
    onednn(sums(input, layer.codes, { stride: [stride, stride], pad: [1, 1] }), input, layer.scales, layer.bias, out, out.zp === 0);
  const nodes = { quantize_per_tensor: quantize(x, 'quint8', grid(0.017, 121)) };
  nodes.c1 = run(nodes.quantize_per_tensor, c1, 4, grid(0.021, 0));
  nodes.bn = batchNorm(nodes.c1, norms.bn, grid(0.019, 0), 1).y;
  nodes.c2 = run(nodes.bn, c2, 1, grid(0.023, 130));
  nodes.add_relu = add(nodes.c2, nodes.c1, grid(0.027, 0), 1);
  nodes.adaptive_avg_pool2d = adaptive(nodes.add_relu, [1, 1], true);
  nodes.flatten = { ...nodes.adaptive_avg_pool2d, shape: [1, 5] };
  const flat = sums(nodes.adaptive_avg_pool2d, { ...fc.codes, shape: [4, 5, 1, 1] }, { stride: [1, 1], pad: [0, 0] });
  nodes.fc = onednn({ ...flat, shape: [1, 4] }, nodes.flatten, fc.scales, last.bias, grid(0.013, 90), false);
  const entries = { kind: 'fx', backend: 'onednn', engine: 'onednn', x, y: dequantize(nodes.fc) };
  Object.values(nodes).forEach((node, i) => {
    entries[`node_${i}_scale`] = node.scale;
    entries[`node_${i}_zp`] = node.zp;
  });
  for (const [layer, { codes: w, scales }] of Object.entries({ c1, c2, fc })) {
    entries[`w_${layer}`] = w;
    entries[`ws_${layer}`] = tensorOf(Float64Array, scales);
  }
  Object.assign(entries, { b_c1: c1.bias, b_c2: c2.bias, b_fc: last.bias });
  for (const [layer, { weight, bias }] of Object.entries({ c1: first, c2: second, fc: last }))
    Object.assign(entries, { [`float_${layer}.weight`]: weight, [`float_${layer}.bias`]: bias });
  for (const [name, bn] of Object.entries(norms)) {
    for (const [key, value] of Object.entries({ weight: bn.weight, bias: bn.bias, running_mean: bn.mean, running_var: bn.var })) {
      entries[`float_${name}.${key}`] = value;
      if (name === 'bn') entries[`bn_${key}`] = value;
    }
  }
  // A node has its name as an attribute and its codes as a tensor, both of one key.
  const keyed = Object.entries(nodes).flatMap(([name, node], i) => [
    [`node_${i}`, name],
    [`node_${i}`, node],
  ]);
  group.case('network', entries, keyed);
  return group;
}

/** ONNX Runtime's operators: it divides by a scale where torch multiplies with the reciprocal. */
function onnxGroup() {
  const group = new Group('onnx_ops');
  const ends = (name, { scale, zp }) => ({ [`${name}_scale`]: scale, [`${name}_zp`]: zp });
  const f32 = (grid) => ({ ...grid, scale: f(grid.scale) });
  for (const dtype of ['quint8', 'qint8']) {
    const grid = f32(gridOf(dtype));
    const real = floats([2, 3, 4], -9, 9);
    const y = made(dtype, real.shape, grid, (i) => rint(f(real.data[i] / grid.scale)) + grid.zp);
    group.case(`quantize_${dtype}`, { kind: 'QuantizeLinear', scale: grid.scale, zero_point: grid.zp, x: real, y, dq: dequantize(y) });
    const [a, b] = [codes(dtype, [1, 3, 4, 2], f32(gridOf(dtype))), codes(dtype, [1, 3, 4, 2], f32(gridOf(dtype)))];
    const product = f(f(a.scale * b.scale) / grid.scale);
    const by = made(dtype, a.shape, grid, (i) => rint(f(f((a.data[i] - a.zp) * (b.data[i] - b.zp) * product) + grid.zp)));
    group.case(`mul_${dtype}`, { kind: 'QLinearMul', ...ends('a', a), ...ends('b', b), ...ends('y', grid), a, b, y: by });
  }
  const x = codes('quint8', [1, 3, 6, 5], f32(gridOf('quint8')));
  const w = weightOf([4, 3, 3, 2]);
  const grid = f32(wideGrid('quint8'));
  const scales = Float32Array.from({ length: 4 }, () => between(0.005, 0.02));
  const acc = sums(x, w, { stride: [2, 1], pad: [1, 1] });
  const at = indexAt(acc.shape, 1);
  const y = made('quint8', acc.shape, grid, (i) => rint(f(acc.data[i] * f(f(x.scale * scales[at(i)]) / grid.scale))) + grid.zp);
  const zeros = { data: new Int8Array(4), shape: [4] };
  const entries = { ...ends('x', x), ...ends('y', grid), x, w, w_scale: { data: scales, shape: [4] }, w_zp: zeros, y };
  group.case('conv_no_bias', { kind: 'QLinearConv', stride: [2, 1], pad: [1, 1, 1, 1], ...entries });
  return group;
}

/** The ranges of ONNX Runtime's calibrators that are a formula. */
function calibrationGroup() {
  const group = new Group('ort_calib');
  const [b0, b1] = [floats([40], -1, 3), floats([25], -2, 1)];
  const all = [...b0.data, ...b1.data];
  const [lo, hi] = [Math.min(...all), Math.max(...all)];
  const most = Math.max(-lo, hi);
  group.case('calib', {
    kind: 'ort_calibration',
    suffixes: '0=default,1=symmetric,2=moving_average_0.01,3=percentile_99,4=entropy_num_bins_1024_qbins_128',
    batches: 2,
    b0,
    b1,
    MinMax_0: tensorOf(Float64Array, [lo, hi]),
    MinMax_1: tensorOf(Float64Array, [-most, most]),
    Distribution_0: tensorOf(Float64Array, [-most, most]),
  });
  return group;
}

/** Writes the set into a folder, which it makes; the same bytes every time. */
export function writeSecondSet(folder) {
  state = 20261;
  mkdirSync(folder, { recursive: true });
  const groups = [quantizeGroup, batchnormGroup, fakequantGroup, observersGroup, opsGroup, e2eGroup, onnxGroup, calibrationGroup];
  for (const make of groups) make().write(folder);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (!process.argv[2]) throw new Error('usage: second-set.mjs DIR');
  writeSecondSet(process.argv[2]);
}
