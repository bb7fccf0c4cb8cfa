// Post-training quantization.

import { type CompareResult, compare } from './compare.js';
import { abortError, OctavoError, throwIfAborted } from './errors.js';
import type { ImageOptions } from './images.js';
import { Job, type Progress, type Stage } from './job.js';
import { type ExportOptions, Model } from './model.js';
import { checkModel, checkRecipe, checkResult, checkSamples, makeRecipe, type Recipe } from './recipe.js';
import { Report, type ReportData } from './report.js';
import { SampleSource, type Samples, toFeeds } from './samples.js';

export interface QuantizeOptions {
  /**
   * Where the integers are meant to run. 'octavo' (default) keeps most of the network: float logits and pooled features, batch normalizations behind a
   * Concat on their parts' own grids; the file stays a plain QDQ file. 'onnxruntime' puts Q and DQ exactly where ONNX Runtime's own quantizer does.
   */
  target?: 'octavo' | 'onnxruntime';
  activation?: {
    /** How ranges are found. Default 'mse': the range with the least error of rounding and clipping together. */
    observer?: 'minmax' | 'movingAverage' | 'histogram' | 'percentile' | 'mse';
    /** For 'percentile'. Default 99.999. */
    percentile?: number;
    /** For 'movingAverage'. Default 0.01. */
    averagingConstant?: number;
    /** Default 'quint8', the form that other runtimes compute in integers. */
    dtype?: 'quint8' | 'qint8';
  };
  weight?: {
    /** Default 'per_channel_symmetric'. */
    scheme?: 'per_channel_symmetric' | 'per_tensor_symmetric';
    /** 7-bit weights, for runtimes whose 16-bit sums saturate. Default false. */
    reduceRange?: boolean;
    /** Default 'secondMoment': codes are chosen for the inputs that a layer meets, from 32 samples on. 'nearest' looks at the weights alone. */
    rounding?: 'secondMoment' | 'nearest';
  };
  /** Evens out the channels of layers where that promises a large gain; from 32 samples on. Default true. */
  equalize?: boolean;
  /** Corrects the mean of every channel; from 32 samples on. Default true. */
  biasCorrection?: boolean;
  /** Fate of BatchNormalization. Default 'auto': folded where possible, int8 elsewhere. */
  batchNorm?: 'auto' | 'fold' | 'quantized' | 'float';
  /** Nodes that stay float: names with * and ?, or { opType }. */
  exclude?: (string | { opType: string })[];
  /** Shapes of inputs that the model leaves open. */
  inputShapes?: Record<string, number[]>;
  /** Another observer for some tensors (`report.tensors`). */
  observerOverrides?: Record<string, NonNullable<NonNullable<QuantizeOptions['activation']>['observer']>>;
  /** Ranges that are known already, by tensor (`report.tensors`): only the others are searched for. */
  ranges?: Record<string, [number, number]>;
  /** On how many of the samples float and int8 are compared for the report. Default 8. */
  evaluateSamples?: number;
  /** Samples that calibration does not see, to compare float and int8 on afterwards; with labels for the accuracy. */
  evaluation?: { samples: Samples; labels?: Iterable<number> };
  /** How samples that are pictures become tensors. */
  image?: ImageOptions;
  /** How toONNX() without options writes the result. */
  export?: ExportOptions;
  /**
   * Does what an earlier quantization did, to the byte; no other option but `evaluation`, `memoryLimit`, `total` and `signal` may be given then. Where weights were
   * fitted (`recipe.samples.fitted`) the samples have to begin with the same ones, otherwise none is needed.
   */
  recipe?: Recipe;
  /** Upper bound in bytes for what the job's sessions, kept samples and fitting take together; LIMIT_EXCEEDED above it. 0 (default) is none. */
  memoryLimit?: number;
  /** How many samples there will be, for the progress; taken from arrays by itself. */
  total?: number;
  signal?: AbortSignal;
}

export interface QuantizeResult {
  /** The int8 model. */
  model: Model;
  report: Report;
  /** Everything that was decided: give it as an option to do the same again. */
  recipe: Recipe;
}

const besideRecipe = ['recipe', 'evaluation', 'memoryLimit', 'total', 'signal'] as const satisfies (keyof QuantizeOptions)[];
const notForTheEngine = ['recipe', 'evaluation', 'total', 'signal', 'image'] as const satisfies (keyof QuantizeOptions)[];

/** The options of a recipe, with those that do not change the result. @throws OctavoError INVALID_OPTION */
function optionsOf(recipe: Recipe, given: QuantizeOptions): QuantizeOptions {
  const other = Object.keys(given).find((key) => !(besideRecipe as readonly string[]).includes(key));
  if (other !== undefined) {
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: `The recipe says what '${other}' is.`,
      where: `option '${other}'`,
      hint: `Leave it out: beside a recipe only ${besideRecipe.slice(1).join(', ')} may be given.`,
    });
  }
  return {
    ...recipe.options,
    ...given,
    ranges: Object.fromEntries(recipe.tensors.map(({ name, range }) => [name, range])),
    export: recipe.export,
    ...(recipe.image ? { image: recipe.image } : {}),
  };
}

function lengthOf(samples: Samples): number | undefined {
  if (Array.isArray(samples)) return samples.length;
  if (samples instanceof Set || samples instanceof Map) return samples.size;
  return undefined;
}

/**
 * Makes a float model int8. Samples are pulled one at a time; none is kept but the first 32, which weights and biases are fitted to and the report is measured on.
 *
 * @param samples tensors, feeds by input name, pictures (see `image`), or raw arrays with a shape and layout
 * @throws (from `result`) NO_SAMPLES, SAMPLE_SHAPE, SAMPLE_DTYPE, SAMPLE_MISSING, BAD_IMAGE, NON_FINITE_SAMPLE, INVALID_OPTION, RECIPE_MISMATCH, ABORTED, ...;
 *   what the samples' own iterator throws comes through as it is
 */
export function quantizeStatic(model: Model, samples: Samples, options: QuantizeOptions = {}): Job<QuantizeResult> {
  return new Job((report, signal) => run(model, samples, options, report, signal), options.signal);
}

function asJson(options: object, where: string): string {
  try {
    return JSON.stringify(options);
  } catch (error) {
    throw new OctavoError(
      {
        code: 'INVALID_OPTION',
        what: `The options are not plain data: ${(error as Error).message}.`,
        where,
        hint: 'Give numbers, strings, arrays and objects.',
      },
      { cause: error },
    );
  }
}

/** Both models on the evaluation samples. */
function evaluate(
  model: Model,
  int8: Model,
  options: QuantizeOptions,
  report: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<CompareResult> {
  const { samples = [], labels } = options.evaluation ?? {};
  const total = lengthOf(samples);
  return compare(model, int8, samples, {
    layers: false,
    signal,
    inputShapes: options.inputShapes ?? {},
    onProgress: ({ done }) => report({ stage: 'evaluate', done, ...(total === undefined ? {} : { total }) }),
    ...(labels ? { labels } : {}),
    ...(options.image ? { image: options.image } : {}),
  });
}

async function run(
  model: Model,
  samples: Samples,
  given: QuantizeOptions,
  report: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<QuantizeResult> {
  const where = 'quantizeStatic';
  throwIfAborted(signal, where);
  const recipe = given.recipe === undefined ? undefined : checkRecipe(given.recipe);
  const options = recipe ? optionsOf(recipe, given) : given;
  const { owner } = model;
  const { engine } = owner;
  if (recipe) checkModel(recipe, await engine.call('modelHash', [model.id], owner));
  const source = new SampleSource(samples, where, signal);
  const forEngine = Object.fromEntries(Object.entries(options).filter(([key]) => !(notForTheEngine as readonly string[]).includes(key)));
  const known = options.total ?? lengthOf(samples);
  const rules = { inputShapes: options.inputShapes ?? {}, ...(options.image ? { image: options.image } : {}) };

  let job: { id: number; inputs: Model['inputs']; samplesWanted: number };
  try {
    job = await engine.call('createJob', [model.id, asJson(forEngine, where)], owner);
  } catch (error) {
    await source.close();
    throw error;
  }
  const abort = (): void => void engine.call('abort', [job.id], owner).catch(() => {});
  signal.addEventListener('abort', abort);
  try {
    // Of a recipe that fitted nothing, samples are for the report alone, and too few to fit to.
    const limit = recipe ? recipe.samples.fitted.length || Math.min(recipe.samples.count, job.samplesWanted) : job.samplesWanted;
    const total = known === undefined ? undefined : Math.min(known, limit);
    report({ stage: 'calibrate', done: 0, ...(total === undefined ? {} : { total }) });
    for (let index = 0; index < limit; index++) {
      const next = await source.next();
      if (next.done) break;
      const feeds = await toFeeds(next.value, { inputs: job.inputs, ...rules }, `sample ${index}`);
      await engine.call('jobSample', [job.id, feeds], owner);
      report({ stage: 'calibrate', done: index + 1, ...(total === undefined ? {} : { total: Math.max(total, index + 1) }) });
    }
    const hashes = await engine.call('jobHashes', [job.id], owner);
    if (recipe) checkSamples(recipe, hashes.samples);
    await engine.call('jobEndSamples', [job.id], owner);
    for (;;) {
      throwIfAborted(signal, where);
      const { stage, done, total: steps } = await engine.call('jobStep', [job.id], owner);
      // The slice that ends a job may have held all of its evaluation.
      if (stage !== 'done') report({ stage: stage as Stage, done, ...(steps > 0 ? { total: steps } : {}) });
      else if (steps > 0) report({ stage: 'evaluate', done, total: steps });
      if (stage === 'done') break;
    }
    throwIfAborted(signal, where);
    const result = await engine.call('jobResult', [job.id, asJson(options.export ?? {}, where)], owner);
    const int8 = new Model(owner, result.model, options.export);
    const data = JSON.parse(result.report) as Omit<ReportData, 'evaluation'>;
    try {
      const made = makeRecipe(data, hashes, result.file, options);
      if (recipe) checkResult(recipe, made);
      const evaluation = options.evaluation ? await evaluate(model, int8, options, report, signal) : null;
      return { model: int8, report: new Report({ ...data, evaluation }), recipe: recipe ?? made };
    } catch (error) {
      await int8.close();
      throw error;
    }
  } catch (error) {
    if (signal.aborted && !(error instanceof OctavoError && error.code === 'ABORTED')) throw abortError(where, signal.reason);
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    await source.close();
    if (!engine.closed) await engine.call('release', [job.id], owner).catch(() => {});
  }
}
