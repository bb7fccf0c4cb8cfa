// QConfigs: which observer, or fake quantization, a module's output and weight get. torch.ao.quantization.qconfig.

import { refuse, shown } from './check.js';
import type { PostProcess } from './module.js';
import {
  FusedMovingAvgObsFakeQuantize,
  HistogramObserver,
  MinMaxObserver,
  PerChannelMinMaxObserver,
  PlaceholderObserver,
} from './observer.js';

/** Makers, called once for every module: `{ activation: () => new MinMaxObserver(), weight: () => ... }`. */
export interface QConfig {
  activation: () => PostProcess;
  weight: () => PostProcess;
}

/** torch's names of its engines. */
export type Backend = 'fbgemm' | 'x86' | 'onednn' | 'qnnpack';
const backends: Record<Backend, { reduceRange: boolean; perChannel: boolean }> = {
  fbgemm: { reduceRange: true, perChannel: true },
  x86: { reduceRange: true, perChannel: true },
  onednn: { reduceRange: false, perChannel: true },
  qnnpack: { reduceRange: false, perChannel: false },
};

function choices(backend: Backend): (typeof backends)[Backend] {
  if (Object.hasOwn(backends, backend)) return backends[backend];
  return refuse(`backend = '${shown(backend)}' is not known.`, 'getDefaultQConfig', `Use ${Object.keys(backends).join(', ')}.`);
}

/** torch.ao.quantization.get_default_qconfig. */
export function getDefaultQConfig(backend: Backend = 'x86'): QConfig {
  const { reduceRange, perChannel } = choices(backend);
  return {
    activation: () => new HistogramObserver({ reduceRange }),
    weight: perChannel
      ? () => new PerChannelMinMaxObserver({ dtype: 'qint8', qscheme: 'per_channel_symmetric' })
      : () => new MinMaxObserver({ dtype: 'qint8', qscheme: 'per_tensor_symmetric' }),
  };
}

/** torch.ao.quantization.get_default_qat_qconfig: fused fake quantizations. */
export function getDefaultQatQConfig(backend: Backend = 'x86'): QConfig {
  const { reduceRange, perChannel } = choices(backend);
  const weight = { dtype: 'qint8', quantMin: -128, quantMax: 127 } as const;
  return {
    activation: () => new FusedMovingAvgObsFakeQuantize({ quantMin: 0, quantMax: 255, reduceRange }),
    weight: perChannel
      ? () =>
          new FusedMovingAvgObsFakeQuantize({
            ...weight,
            observer: 'MovingAveragePerChannelMinMaxObserver',
            qscheme: 'per_channel_symmetric',
          })
      : () => new FusedMovingAvgObsFakeQuantize({ ...weight, qscheme: 'per_tensor_symmetric' }),
  };
}

/** torch.ao.quantization.default_dynamic_qconfig. */
export const defaultDynamicQConfig: QConfig = {
  activation: () => new PlaceholderObserver(),
  weight: () => new MinMaxObserver({ dtype: 'qint8', qscheme: 'per_tensor_symmetric' }),
};
