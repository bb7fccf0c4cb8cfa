// Octavo: quantize ONNX networks to int8 and run them, in the browser and in Node.

export type { BoxAgreement, Detect, Detection } from './boxes.js';
export type { Budget, BudgetReport } from './budget.js';
export { type CompareOptions, type CompareResult, compare, type LayerError } from './compare.js';
export { createEngine, type Engine, type EngineOptions } from './engine.js';
export { type EngineErrorCode, type ErrorCode, type ErrorData, type HostErrorCode, hostErrorCodes, OctavoError } from './errors.js';
export type { Features, Isa } from './features.js';
export type { Memory, StepProfile, TensorInfo } from './host.js';
export {
  type ImageInput,
  type ImageOptions,
  type ImageSource,
  imageInput,
  imagePresets,
  images,
  imageToTensor,
  type PictureLimit,
  type PixelOptions,
  type Pixels,
} from './images.js';
export { Job, type Progress, type Stage } from './job.js';
export {
  type CallOptions,
  type ExportOptions,
  type LoadProgress,
  Model,
  type ModelLoadOptions,
  type ModelSource,
  type ModelSummary,
  type NodeSummary,
} from './model.js';
export {
  type CalibrateOptions,
  calibrate,
  type Decisions,
  type DynamicOptions,
  type QuantizeOptions,
  type QuantizeResult,
  quantizeDynamic,
  quantizeStatic,
  type SavedCalibration,
} from './quantize.js';
export type { Recipe } from './recipe.js';
export {
  type Fate,
  type LayerSensitivity,
  type NodeReport,
  portabilityNotes,
  Report,
  type ReportData,
  type TargetCost,
  type TensorReport,
} from './report.js';
export type { Feed, Feeds, Sample, Samples } from './samples.js';
export { InferenceSession, type Profile, type RunOptions, type SessionOptions } from './session.js';
export { Tensor, type TensorData, type TensorType } from './tensor.js';
