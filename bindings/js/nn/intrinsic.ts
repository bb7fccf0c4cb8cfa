// Modules that fuseModules() and fuseModulesQat() make of several. torch.ao.nn.intrinsic, and intrinsic.qat.

import { Tensor } from '../tensor.js';
import {
  type BatchNorm2d,
  type BatchNorm3d,
  type Conv2d,
  convOptions,
  floatFunction,
  floats,
  type Linear,
  lastOf,
  type ReLU,
} from './float.js';
import { backThrough, Sequential, type Value } from './module.js';
import { asTensor, type TensorLike, tensor } from './tensor.js';

export class BNReLU2d extends Sequential {
  constructor(bn: BatchNorm2d, relu: ReLU) {
    super(bn, relu);
  }
}
export class BNReLU3d extends Sequential {
  constructor(bn: BatchNorm3d, relu: ReLU) {
    super(bn, relu);
  }
}
export class ConvReLU2d extends Sequential {
  constructor(conv: Conv2d, relu: ReLU) {
    super(conv, relu);
  }
}
export class LinearReLU extends Sequential {
  constructor(linear: Linear, relu: ReLU) {
    super(linear, relu);
  }
}

type Floats = Tensor<'float32'>;

/** f of every element and its index along `axis`. */
function perChannel({ data, shape }: Floats, axis: number, f: (value: number, channel: number, i: number) => number): Floats {
  const channels = shape[axis] as number;
  const inner = shape.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  return new Tensor(
    'float32',
    data.map((value, i) => f(value, Math.floor(i / inner) % channels, i)),
    shape,
  );
}
function channelSums(x: Floats, axis: number): Float64Array {
  const sums = new Float64Array(x.shape[axis] as number);
  perChannel(x, axis, (value, c) => {
    sums[c] = (sums[c] as number) + value;
    return value;
  });
  return sums;
}

/** Gradients of the input and of both layers' parameters. */
export interface ConvBnGradients {
  input: Tensor<'float32'>;
  conv: { weight: Float32Array; bias: Float32Array };
  bn: { weight: Float32Array; bias: Float32Array };
}

/**
 * A convolution and its BatchNorm2d, in training. Once prepareQat() has given the convolution a weightFakeQuant, the weight is
 * fake-quantized as convert() will quantize it, with the BatchNorm2d folded in, and the result is scaled back, so that the BatchNorm2d
 * sees what it would have seen (arXiv:1806.08342, section 3.2.2; torch.ao.nn.intrinsic.qat.ConvBn2d):
 *
 *     f = gamma / sqrt(runningVar + eps),  y = bn(conv(x, fake(weight * f)) / f + bias)
 */
export class ConvBn2d extends Sequential {
  #last: { input: Floats; used: Floats; product: Floats; factors: Float32Array; deviations: Float32Array } | undefined;

  constructor(conv: Conv2d, bn: BatchNorm2d, ...rest: ReLU[]) {
    super(conv, bn, ...rest);
  }
  get conv(): Conv2d {
    return this[0] as Conv2d;
  }
  get bn(): BatchNorm2d {
    return this[1] as BatchNorm2d;
  }

  override forward(x: Value): Value {
    const { conv, bn } = this;
    const relu = this[2] as ReLU | undefined;
    if (!conv.weightFakeQuant) return super.forward(x);
    const input = floats(x, this.constructor.name);
    // Every step in float32, as torch and the C++ module do.
    const deviations = bn.runningVar.map((variance) => Math.sqrt(Math.fround(variance + Math.fround(bn.eps))));
    const factors = deviations.map((deviation, c) => (bn.weight?.[c] ?? 1) / deviation);
    const inverses = factors.map((factor) => 1 / factor);
    const scaled = perChannel(tensor(conv.weight, conv.weightShape), 0, (w, c) => w * (factors[c] as number));
    const used = conv.weightFakeQuant.forward(scaled) as Floats;
    const [product] = floatFunction('conv2d', [input, used, undefined], convOptions(conv.options));
    const original = perChannel(product, 1, (sum, c) => Math.fround(sum * (inverses[c] as number)) + (conv.bias?.[c] ?? 0));
    this.#last = { input, used, product, factors, deviations };
    const y = bn.forward(original);
    return relu ? relu.forward(y) : y;
  }

  /**
   * Gradients for the last forward() of a prepared module. No gradient goes through the running variance, a buffer.
   *
   * @throws OctavoError INVALID_STATE before one
   */
  backward(gradOutput: TensorLike): ConvBnGradients {
    const { input, used, product, factors, deviations } = lastOf(this.#last, this);
    const { conv, bn } = this;
    const relu = this[2] as ReLU | undefined;
    const grad = floats(asTensor(gradOutput), this.constructor.name);
    const { input: ofSum, ...ofBn } = bn.backward(relu ? relu.backward(grad) : grad);
    const ofProduct = perChannel(ofSum, 1, (value, c) => value / (factors[c] as number));
    const [ofInput, ofUsed] = floatFunction('conv2dBackward', [ofProduct, input, used], convOptions(conv.options)) as [Floats, Floats];
    const ofScaled = backThrough(conv.weightFakeQuant, ofUsed);
    const throughWeight = channelSums(
      perChannel(ofScaled, 0, (value, _, i) => value * (conv.weight[i] as number)),
      0,
    );
    const throughOutput = channelSums(
      perChannel(ofSum, 1, (value, _, i) => value * (product.data[i] as number)),
      1,
    );
    const ofGamma = ofBn.weight.map(
      (own, c) =>
        own + ((throughWeight[c] as number) - (throughOutput[c] as number) / (factors[c] as number) ** 2) / (deviations[c] as number),
    );
    return {
      input: ofInput,
      conv: {
        weight: perChannel(ofScaled, 0, (value, c) => value * (factors[c] as number)).data,
        bias: Float32Array.from(channelSums(ofSum, 1)),
      },
      bn: { weight: ofGamma, bias: ofBn.bias },
    };
  }
}

/** The same with a ReLU behind. */
export class ConvBnReLU2d extends ConvBn2d {
  constructor(conv: Conv2d, bn: BatchNorm2d, relu: ReLU) {
    super(conv, bn, relu);
  }
}
