/**
 * PyTorch's int8 quantization in JavaScript: the same names, in camelCase, and the same codes.
 *
 *     import { init, nn, quantizePerTensor, tensor } from 'octavo/nn';
 *     await init();
 *     const q = quantizePerTensor(tensor(numbers, [1, 64, 8, 8]), 0.1, 0, 'quint8');
 *     const y = nn.quantized.BatchNorm2d.fromFloat(bn, { scale: 0.05, zeroPoint: 128 }).forward(q);
 *
 * After init() everything is synchronous and runs in this thread.
 *
 * @module
 */
export { type ErrorCode, type ErrorData, OctavoError } from '../errors.js';
export type { Isa } from '../features.js';
export { Tensor, type TensorData, type TensorType } from '../tensor.js';
export { type InitOptions, init, isa, memoryBytes } from './engine.js';
export * as nn from './modules.js';
export {
  type FakeQuantized,
  fakeQuantizeBackward,
  fakeQuantizeLearnableBackward,
  fakeQuantizePerChannelAffine,
  fakeQuantizePerTensorAffine,
} from './observer.js';
export * as quantization from './quantization.js';
export {
  dequantize,
  type MemoryFormat,
  makePerChannelQuantizedTensor,
  makePerTensorQuantizedTensor,
  type QDType,
  type QScheme,
  QTensor,
  quantizePerChannel,
  quantizePerTensor,
  type SchemeOptions,
  type TensorLike,
  tensor,
} from './tensor.js';
