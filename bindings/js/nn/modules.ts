// The namespace `nn`: torch.nn's modules, with nn.intrinsic and nn.quantized.

export {
  BatchNorm1d,
  BatchNorm2d,
  BatchNorm3d,
  type BatchNormGradients,
  type BatchNormOptions,
  Conv2d,
  type ConvOptions,
  DeQuantStub,
  Flatten,
  FloatFunctional,
  Linear,
  QuantStub,
  ReLU,
} from './float.js';
export * as intrinsic from './intrinsic.js';
export { Identity, Layer, Module, type PostProcess, type QParams, Sequential, type StateDict, type Value } from './module.js';
export * as quantized from './quantized.js';
