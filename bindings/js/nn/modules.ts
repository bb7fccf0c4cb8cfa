// The namespace `nn`: torch.nn's modules, with nn.intrinsic and nn.quantized.

export {
  AdaptiveAvgPool2d,
  AvgPool2d,
  BatchNorm1d,
  BatchNorm2d,
  BatchNorm3d,
  type BatchNormOptions,
  Conv2d,
  type ConvOptions,
  DeQuantStub,
  ELU,
  Flatten,
  FloatFunctional,
  Hardswish,
  type LayerGradients,
  LeakyReLU,
  Linear,
  MaxPool2d,
  QuantStub,
  ReLU,
  ReLU6,
  Sigmoid,
  Softmax,
} from './float.js';
export * as intrinsic from './intrinsic.js';
export { Identity, Layer, Module, type PostProcess, type QParams, Sequential, type StateDict, type Value } from './module.js';
export * as quantized from './quantized.js';
