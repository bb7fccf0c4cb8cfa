// Layers with int8 weights that quantize their float input as it comes and give floats. torch.ao.nn.quantized.dynamic.

import { Tensor } from '../tensor.js';
import { object, refuse } from './check.js';
import { type ConvOptions, convOptions, floatFunction, floats } from './float.js';
import { Layer, type StateDict, type Value } from './module.js';
import type { FloatConv, FloatLinear } from './quantized.js';
import { codes, QTensor, tensor } from './tensor.js';
import { quantizeWeight } from './weight.js';

/** What both have: a qint8 weight with zero point 0, per tensor or per output channel, and a float32 bias. */
abstract class Dynamic extends Layer {
  weight: QTensor;
  bias: Float32Array | undefined;

  constructor(weight: QTensor, bias?: Float32Array | undefined) {
    super();
    this.training = false;
    this.weight = codes(weight, 'dynamic');
    this.bias = bias === undefined ? undefined : tensor(bias).data;
  }
  protected compute(name: string, x: Value, options: object): Tensor<'float32'> {
    const inputs = [floats(x, `dynamic.${this.constructor.name}`), this.bias && tensor(this.bias)];
    return floatFunction(name, inputs, { ...options, weight: this.weight.wire() })[0];
  }
  protected override ownState(): StateDict {
    const state: StateDict = new Map([['weight', this.weight as Tensor | QTensor]]);
    if (this.bias) state.set('bias', tensor(this.bias));
    return state;
  }
  protected override loadOwnState(state: StateDict): void {
    const weight = state.get('weight');
    const bias = state.get('bias');
    const fits = weight instanceof QTensor && weight.shape.join() === this.weight.shape.join();
    const count = this.bias?.length;
    if (!fits || (bias instanceof Tensor ? bias.data.length : undefined) !== count || state.size !== (count === undefined ? 1 : 2)) {
      refuse(
        `The state dict has the keys ${[...state.keys()].join(', ') || '(none)'}, or other sizes.`,
        `dynamic.${this.constructor.name}`,
        `It needs a quantized weight of shape [${this.weight.shape.join(', ')}]${count === undefined ? '' : ` and ${count} numbers of bias`}.`,
        'INVALID_STATE',
      );
    }
    this.weight = weight;
    if (bias instanceof Tensor) this.bias = Float32Array.from(bias.data as Float32Array);
  }
  protected override describe(): string {
    return `weight=[${this.weight.shape.join(', ')}], dtype=torch.qint8, qscheme=torch.${this.weight.qscheme}`;
  }
}

/**
 * torch.ao.nn.quantized.dynamic.Linear: the input takes the quint8 grid of its own range, of 7 bits (torch's reduce_range).
 *
 *     y = (sum of (code - zeroPoint) * weightCode) * (scale * weightScale) + bias
 */
export class Linear extends Dynamic {
  static fromFloat(linear: FloatLinear): Linear {
    return new Linear(
      quantizeWeight(object(linear, 'dynamic.Linear', 'Give a linear layer.').weight, [linear.outFeatures, linear.inFeatures], linear),
      linear.bias,
    );
  }
  /** x [..., inFeatures] -> [..., outFeatures]. @throws OctavoError for NaN and infinities */
  forward(x: Value): Tensor<'float32'> {
    return this.compute('linearDynamic', x, { reduceRange: true });
  }
}

/** A convolution by the rule of ONNX's DynamicQuantizeLinear and ConvInteger, with all 8 bits. x [N, C, H, W]. */
export class Conv2d extends Dynamic {
  readonly options: ConvOptions;

  constructor(weight: QTensor, allOptions: ConvOptions & { bias?: Float32Array | undefined } = {}) {
    const { bias, ...options } = object(allOptions, 'dynamic.Conv2d');
    super(weight, bias);
    convOptions(options); // complains of what is none
    this.options = options;
  }
  static fromFloat(conv: FloatConv): Conv2d {
    return new Conv2d(quantizeWeight(object(conv, 'dynamic.Conv2d', 'Give a convolution.').weight, conv.weightShape, conv), {
      ...conv.options,
      bias: conv.bias,
    });
  }
  forward(x: Value): Tensor<'float32'> {
    return this.compute('conv2dDynamic', x, convOptions(this.options));
  }
}
