// The namespace `quantization`: torch.ao.quantization.

export {
  type CalibrationOptions,
  calibrationRange,
  FakeQuantize,
  type FakeQuantizeOptions,
  FixedQParamsObserver,
  FusedMovingAvgObsFakeQuantize,
  HistogramObserver,
  LearnableFakeQuantize,
  type LearnableGradients,
  MinMaxObserver,
  MovingAverageMinMaxObserver,
  MovingAveragePerChannelMinMaxObserver,
  NoopObserver,
  Observer,
  type ObserverOptions,
  PerChannelMinMaxObserver,
  PlaceholderObserver,
  type QSpec,
} from './observer.js';
export { type Backend, defaultDynamicQConfig, getDefaultQatQConfig, getDefaultQConfig, type QConfig } from './qconfig.js';
export { convert, fuseConvBnWeights, fuseModules, fuseModulesQat, prepare, prepareQat, quantizeDynamic } from './workflow.js';
