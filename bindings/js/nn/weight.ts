// How the weight of a float layer becomes codes.

import type { PostProcess } from './module.js';
import { MinMaxObserver } from './observer.js';
import type { QConfig } from './qconfig.js';
import { type QScheme, type QTensor, quantizePerChannel, quantizePerTensor, tensor } from './tensor.js';

/** A float module may carry the observer of its output, and how to quantize its weight. */
export interface Observed {
  activationPostProcess?: PostProcess | undefined;
  /** What the weight was trained with. */
  weightFakeQuant?: PostProcess | undefined;
  qconfig?: QConfig | null | undefined;
}

/**
 * The weight as qint8, on the grid that its fake quantization found, or else the qconfig's observer, or a symmetric one over its range.
 * Either is shown the weight once more, as torch does.
 */
export function quantizeWeight(weight: Float32Array, shape: readonly number[], { weightFakeQuant, qconfig }: Observed): QTensor {
  const observer = weightFakeQuant ?? qconfig?.weight() ?? new MinMaxObserver({ dtype: 'qint8', qscheme: 'per_tensor_symmetric' });
  const values = tensor(weight, shape);
  observer.forward(values);
  const { scale, zeroPoint } = observer.calculateQParams();
  // A weight of one output channel is per channel too, where its observer is.
  const { qscheme } = observer as { qscheme?: QScheme };
  if (qscheme?.startsWith('per_channel') ?? scale.length > 1) return quantizePerChannel(values, scale, zeroPoint, 0, 'qint8');
  return quantizePerTensor(values, scale[0] as number, zeroPoint[0] as number, 'qint8');
}
