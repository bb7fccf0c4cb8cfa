// Post-training quantization.

import { type Budget, type BudgetReport, checkBudget, measureDrop, searchFloatLayers } from './budget.js';
import { type CompareResult, compare } from './compare.js';
import { abortable, abortError, OctavoError, throwIfAborted } from './errors.js';
import type { ImageOptions } from './images.js';
import { Job, type Progress, type Stage } from './job.js';
import { type ExportOptions, Model } from './model.js';
import { checkModel, checkRecipe, checkResult, checkSamples, makeRecipe, type Recipe } from './recipe.js';
import { Report, type ReportData, type TargetCost } from './report.js';
import { type Sample, SampleSource, type Samples, toFeeds } from './samples.js';

type Target = 'octavo' | 'onnxruntime';

export interface QuantizeOptions {
  /**
   * Where the integers are meant to run. 'octavo' (default) keeps most of the network: float logits and pooled features, batch normalizations behind a
   * Concat on their parts' own grids; the file stays a plain QDQ file. 'onnxruntime' puts Q and DQ exactly where ONNX Runtime's own quantizer does.
   */
  target?: Target;
  activation?: {
    /** How ranges are found. Default 'mse': the range with the least error of rounding and clipping together. */
    observer?: 'minmax' | 'movingAverage' | 'histogram' | 'percentile' | 'mse' | 'entropy' | 'auto';
    /** For 'percentile' and 'auto'. Default 99.999. */
    percentile?: number;
    /** For 'movingAverage'. Default 0.01. */
    averagingConstant?: number;
    /** For 'entropy': the bins that are searched and the levels, ONNX Runtime's num_bins and num_quantized_bins. Default 128 of both. */
    numBins?: number;
    numQuantizedBins?: number;
    /** Default 'quint8', the form that other runtimes compute in integers. */
    dtype?: 'quint8' | 'qint8';
  };
  weight?: {
    /** Default 'per_channel_symmetric'. */
    scheme?: 'per_channel_symmetric' | 'per_tensor_symmetric';
    /** Default 'max': the scale reaches the largest weight. 'mse': the one of 36 from half of that on that errs least. */
    scale?: 'max' | 'mse';
    /** 7-bit weights, for runtimes whose 16-bit sums saturate. Default false. */
    reduceRange?: boolean;
    /**
     * For the same runtimes: 8-bit weights of which no two that are added up in 16 bits saturate. 'auto' makes those of a layer so where
     * its output then errs at most 1 % more (`report.weights` says which): asked of the samples, never of the engine. Default false.
     */
    pairSafe?: boolean | 'auto';
    /** Default 'secondMoment': codes are chosen for the inputs that a layer meets, from 32 samples on. 'nearest' looks at the weights alone. */
    rounding?: 'secondMoment' | 'nearest';
  };
  /** Evens out the channels of layers where that promises a large gain; from 32 samples on. Default true. */
  equalize?: boolean;
  /** Corrects the mean of every channel; from 32 samples on. Default true. */
  biasCorrection?: boolean;
  /** Fate of BatchNormalization. Default 'auto': folded where possible, int8 elsewhere. */
  batchNorm?: 'auto' | 'fold' | 'quantized' | 'float';
  /** Nodes that stay float: names with * and ?, or { opType }. A name that no node has, or an operator that there is not, is INVALID_OPTION. */
  exclude?: (string | { opType: string })[];
  /** Shapes of inputs that the model leaves open. */
  inputShapes?: Record<string, number[]>;
  /** Another observer for some tensors (`report.tensors`). */
  observerOverrides?: Record<string, NonNullable<NonNullable<QuantizeOptions['activation']>['observer']>>;
  /** Ranges that are known already, by tensor (`report.tensors`): only the others are searched for. */
  ranges?: Record<string, [number, number]>;
  /** On how many of the samples float and int8 are compared for the report. Default 8. */
  evaluateSamples?: number;
  /** Measure what each layer costs the outputs by itself, for `report.sensitivity`. Default false. */
  sensitivity?: boolean;
  /**
   * Keeps the fewest layers in float with which no more than this is lost on the `evaluation` samples, or without them on the samples. They are then
   * part of `exclude` in the recipe; `report.budget` says what was found.
   */
  budget?: Budget;
  /**
   * Quantizes for the other target too, and says in `report.targets` what the choice costs in error and in time: on the `evaluation` samples, or without
   * them on the samples, which have to be iterable again. Default false.
   */
  compareTargets?: boolean;
  /** Keeps what calibration found, for `change()` of the result, until its `close()`. Default false. */
  keep?: boolean;
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
  /**
   * What calibrate() saved, of this model and these options: as if its samples came before the others, of which there need be none. Several are merged, to
   * the same file as one calibration that saw all samples, where every one but the first was begun from the first one's `basis`.
   */
  calibration?: Uint8Array[];
  /**
   * Upper bound in bytes for what the job's sessions, kept samples and fitting take together (LIMIT_EXCEEDED above it), and for the pixels of a picture
   * (IMAGE_TOO_LARGE). 0 (default) is none.
   */
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
  /**
   * Decides otherwise: the result is that of a whole new quantization, but only what depends on the decisions is computed. Needs option `keep`. Another
   * observer needs the samples once more, which therefore have to be iterable again, as arrays are.
   *
   * @throws (from `result`) INVALID_STATE without `keep`, after `close()` and after a change that failed or was aborted; INVALID_OPTION, ...
   */
  change(decisions: Decisions, options?: { signal?: AbortSignal }): Job<QuantizeResult>;
  /** Frees what `keep` kept; models are closed by themselves. */
  close(): Promise<void>;
}

/** What can be decided otherwise about a quantization: each takes the place of the option of that name. */
export type Decisions = Pick<QuantizeOptions, 'exclude' | 'observerOverrides' | 'sensitivity'>;

const besideRecipe = [
  'recipe',
  'evaluation',
  'memoryLimit',
  'total',
  'signal',
  'sensitivity',
  'keep',
] as const satisfies (keyof QuantizeOptions)[];
const notForTheEngine = [
  'recipe',
  'evaluation',
  'total',
  'signal',
  'image',
  'budget',
  'calibration',
  'compareTargets',
] as const satisfies (keyof QuantizeOptions)[];

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
  return new Job((say, signal) => Quantization.run(model, samples, options, say, signal), options.signal);
}

/** A calibration as bytes, to be kept in a file or sent to another engine. */
export interface SavedCalibration {
  /** What the samples have shown: option `calibration` goes on from it. It holds the first samples too, to which weights are fitted. */
  state: Uint8Array;
  /**
   * What another engine begins from, so that its calibration can be merged with this one: the first samples, without what was seen of them. Null where
   * weights or channels will be fitted and there are fewer than the 32 samples which that takes.
   */
  basis: Uint8Array | null;
}

/**
 * The first half of quantizeStatic: looks at samples and saves what they have shown. The options have to be those of the quantization.
 *
 * @throws (from `result`) as quantizeStatic; INVALID_STATE for an option `calibration` that is damaged, of another model or of other options
 */
export function calibrate(model: Model, samples: Samples, options: CalibrateOptions = {}): Job<SavedCalibration> {
  return new Job((say, signal) => Quantization.calibrate(model, samples, options, say, signal), options.signal);
}
export type CalibrateOptions = Omit<QuantizeOptions, 'recipe' | 'evaluation' | 'budget' | 'keep' | 'sensitivity'>;

export interface DynamicOptions {
  /** Which kinds of layers. Default all three. */
  opTypes?: ('Gemm' | 'MatMul' | 'Conv')[];
  /** Only makes the file smaller: int8 weights that are dequantized where the network starts, and float arithmetic. Default false. */
  weightOnly?: boolean;
  /** As in QuantizeOptions. */
  weight?: Pick<NonNullable<QuantizeOptions['weight']>, 'scheme' | 'scale' | 'reduceRange'>;
  /** Nodes that stay float: names with * and ?, or { opType }. */
  exclude?: (string | { opType: string })[];
  signal?: AbortSignal;
}

const dynamicTypes = ['Gemm', 'MatMul', 'Conv'];

/**
 * Makes a float model int8 without samples, as ONNX Runtime's quantize_dynamic: fully connected layers, matrix products and convolutions get int8 weights, and
 * their inputs are quantized by the range that each run finds (DynamicQuantizeLinear).
 *
 * @throws OctavoError INVALID_OPTION; INVALID_STATE where the model is quantized already; ABORTED
 */
export async function quantizeDynamic(model: Model, options: DynamicOptions = {}): Promise<Model> {
  const { opTypes = dynamicTypes, weightOnly = false, signal, exclude = [], ...rest } = options;
  const where = 'quantizeDynamic';
  throwIfAborted(signal, where);
  const odd = Array.isArray(opTypes) ? opTypes.find((type) => !dynamicTypes.includes(type)) : opTypes;
  if (odd !== undefined) {
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: `${JSON.stringify(odd)} is no kind of layer that has weights here.`,
      where: "option 'opTypes'",
      hint: `Give an array of: ${dynamicTypes.join(', ')}.`,
    });
  }
  const others = dynamicTypes.filter((type) => !(opTypes as string[]).includes(type)).map((opType) => ({ opType }));
  const json = asJson({ ...rest, mode: weightOnly ? 'weightOnly' : 'dynamic', exclude: [...exclude, ...others] }, where);
  const made = model.owner.engine.call('quantizeDynamic', [model.id, json], model.owner).then((info) => new Model(model.owner, info));
  return abortable(made, signal, where, (late) => late.close().catch(() => {}));
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

function targetCost({ options, model }: ReportData, { samples, top1, top1Agreement, outputs, milliseconds }: CompareResult): TargetCost {
  return {
    target: options.target as Target,
    samples,
    top1: top1?.b ?? null,
    top1Agreement,
    relativeRms: Math.max(...outputs.map((output) => output.relativeRms)),
    milliseconds: milliseconds.b,
    bytes: model.int8Bytes,
  };
}

type Say = (progress: Progress) => void;
const where = 'quantizeStatic';

/** Whether an iterable begins anew each time: arrays do, generators do not. */
function isRepeatable(samples: Samples): boolean {
  const iterable = samples as Partial<AsyncIterable<unknown> & Iterable<unknown>>;
  return (iterable[Symbol.asyncIterator]?.() ?? iterable[Symbol.iterator]?.()) !== (samples as unknown);
}

/** With the shapes that the first sample has, where the model leaves more open than a batch and no option says it. */
async function withShapes<T extends CalibrateOptions>(model: Model, source: SampleSource<Sample>, options: T): Promise<T> {
  const { inputShapes = {}, image, memoryLimit } = options;
  const open = model.inputs.some(({ name, shape }) => !(name in inputShapes) && shape.slice(1).some((dim) => typeof dim !== 'number'));
  const first = open ? await source.peek() : undefined;
  if (!first || first.done) return options;
  const feeds = await toFeeds(first.value, { inputs: model.inputs, inputShapes, memoryLimit, ...(image ? { image } : {}) }, 'sample 0');
  const shapes = Object.fromEntries(Object.entries(feeds).map(([name, { shape }]) => [name, [...shape]]));
  return { ...options, inputShapes: { ...shapes, ...inputShapes } };
}

/** A job in the engine: its samples, its results, and what is decided otherwise about it later. */
class Quantization {
  readonly #model: Model;
  readonly #samples: Samples;
  readonly #options: QuantizeOptions;
  readonly #recipe: Recipe | undefined;
  readonly #id: number;
  readonly #inputs: Model['inputs'];
  readonly #samplesWanted: number;
  #state: 'ready' | 'busy' | 'over' = 'ready';

  private constructor(
    model: Model,
    samples: Samples,
    options: QuantizeOptions,
    recipe: Recipe | undefined,
    job: { id: number; inputs: Model['inputs']; samplesWanted: number },
  ) {
    this.#model = model;
    this.#samples = samples;
    this.#options = options;
    this.#recipe = recipe;
    this.#id = job.id;
    this.#inputs = job.inputs;
    this.#samplesWanted = job.samplesWanted;
  }

  static async #create(model: Model, samples: Samples, options: QuantizeOptions, recipe?: Recipe): Promise<Quantization> {
    const entries = Object.entries(options).filter(([key]) => !(notForTheEngine as readonly string[]).includes(key));
    const forEngine = { ...Object.fromEntries(entries), ...(options.budget ? { keep: true } : {}) };
    const { calibration } = options;
    if (calibration !== undefined && !(Array.isArray(calibration) && calibration.every((state) => state instanceof Uint8Array))) {
      throw new OctavoError({
        code: 'INVALID_OPTION',
        what: 'It is no array of saved calibrations.',
        where: "option 'calibration'",
        hint: 'Give an array of what calibrate() gave as `state`, as [state].',
      });
    }
    const job = await model.owner.engine.call('createJob', [model.id, asJson(forEngine, where)], model.owner);
    return new Quantization(model, samples, options, recipe, job);
  }

  static async calibrate(
    model: Model,
    samples: Samples,
    options: CalibrateOptions,
    say: Say,
    signal: AbortSignal,
  ): Promise<SavedCalibration> {
    throwIfAborted(signal, where);
    const source = new SampleSource(samples, 'calibrate', signal);
    let it: Quantization | undefined;
    try {
      const job = await Quantization.#create(model, samples, await withShapes(model, source, options));
      it = job;
      return await job.#guarded(signal, async () => {
        await job.#load();
        await job.#feed(source, Number.POSITIVE_INFINITY, say);
        const save = (basis: boolean): Promise<Uint8Array> => model.owner.engine.call('jobSaveCalibration', [job.#id, basis], model.owner);
        const state = await save(false);
        const basis = await save(true).catch((error: OctavoError) => {
          if (error.code === 'INVALID_STATE') return null; // too few samples
          throw error;
        });
        return { state, basis };
      });
    } finally {
      await source.close();
      await it?.close();
    }
  }

  static async run(model: Model, samples: Samples, given: QuantizeOptions, say: Say, signal: AbortSignal): Promise<QuantizeResult> {
    throwIfAborted(signal, where);
    const recipe = given.recipe === undefined ? undefined : checkRecipe(given.recipe);
    const options = recipe ? optionsOf(recipe, given) : given;
    const { owner } = model;
    if (recipe) checkModel(recipe, await owner.engine.call('modelHash', [model.id], owner));
    if (options.budget) {
      checkBudget(options.budget, options.evaluation?.labels !== undefined);
      if (!options.evaluation && !isRepeatable(samples)) throw onceOnly('A budget without evaluation samples is measured on the samples');
    }
    if (options.compareTargets) {
      if (options.calibration?.length) throw onlyCalibration('The other target has to see the samples');
      if (!isRepeatable(samples)) throw onceOnly('Both targets are calibrated on the samples');
    }
    const source = new SampleSource(samples, where, signal);
    let it: Quantization;
    try {
      it = await Quantization.#create(model, samples, await withShapes(model, source, options), recipe);
    } catch (error) {
      await source.close();
      throw error;
    }
    // Of a recipe that fitted nothing, samples are for the report alone, and too few to fit to.
    const limit = recipe ? recipe.samples.fitted.length || Math.min(recipe.samples.count, it.#samplesWanted) : it.#samplesWanted;
    try {
      return await it.#guarded(signal, async () => {
        await it.#load();
        await it.#feed(source, limit, say);
        await it.#endSamples();
        const first = await it.#finish(say, signal);
        const result = options.budget ? await it.#meet(options.budget, first, say, signal) : first;
        if (options.compareTargets) await it.#compareTargets(result, say, signal);
        return result;
      });
    } finally {
      await source.close();
      if (!options.keep) await it.close();
    }
  }

  change(decisions: Decisions, given: { signal?: AbortSignal } = {}): Job<QuantizeResult> {
    return new Job(async (say, signal) => {
      if (this.#state !== 'ready') {
        throw new OctavoError({
          code: 'INVALID_STATE',
          what: this.#state === 'busy' ? 'It is being changed already.' : 'Nothing was kept of this quantization, or it was closed.',
          where: 'change',
          hint: this.#state === 'busy' ? 'Await the change before.' : 'Quantize with option keep: true.',
        });
      }
      return this.#guarded(signal, () => this.#change(decisions, say, signal));
    }, given.signal);
  }

  async close(): Promise<void> {
    if (this.#state === 'over') return;
    this.#state = 'over';
    const { owner } = this.#model;
    if (!owner.engine.closed) await owner.engine.call('release', [this.#id], owner).catch(() => {});
  }

  /** Work that an abort reaches; what fails or is aborted leaves nothing that could be changed. */
  async #guarded<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { owner } = this.#model;
    const abort = (): void => void owner.engine.call('abort', [this.#id], owner).catch(() => {});
    signal.addEventListener('abort', abort);
    this.#state = 'busy';
    try {
      throwIfAborted(signal, where);
      const result = await work();
      this.#state = 'ready';
      return result;
    } catch (error) {
      await this.close();
      if (signal.aborted && !(error instanceof OctavoError && error.code === 'ABORTED')) throw abortError(where, signal.reason);
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** At most `limit` samples through the calibration, or those that a change needs once more. */
  async #feed(source: SampleSource<Sample>, limit: number, say: Say): Promise<void> {
    const { owner } = this.#model;
    const known = this.#options.total ?? lengthOf(this.#samples);
    const total = known === undefined ? undefined : Math.min(known, limit);
    const { inputShapes = {}, image, memoryLimit } = this.#options;
    const rules = { inputs: this.#inputs, inputShapes, memoryLimit, ...(image ? { image } : {}) };
    say({ stage: 'calibrate', done: 0, ...(total === undefined ? {} : { total }) });
    for (let index = 0; index < limit; index++) {
      const next = await source.next();
      if (next.done) break;
      const feeds = await toFeeds(next.value, rules, `sample ${index}`);
      await owner.engine.call('jobSample', [this.#id, feeds], owner);
      say({ stage: 'calibrate', done: index + 1, ...(total === undefined ? {} : { total: Math.max(total, index + 1) }) });
    }
  }

  async #endSamples(): Promise<void> {
    const { owner } = this.#model;
    if (this.#recipe) checkSamples(this.#recipe, (await owner.engine.call('jobHashes', [this.#id], owner)).samples);
    await owner.engine.call('jobEndSamples', [this.#id], owner);
  }

  /** Saved calibrations, before the samples. */
  async #load(): Promise<void> {
    const { owner } = this.#model;
    for (const [i, state] of (this.#options.calibration ?? []).entries()) {
      try {
        await owner.engine.call('jobLoadCalibration', [this.#id, state], owner);
      } catch (error) {
        if (!(error instanceof OctavoError) || error.code !== 'INVALID_STATE') throw error;
        // Which of them it is.
        const { code, what, where, hint } = error;
        throw new OctavoError({ code, what, where: [`calibration[${i}]`, where].filter(Boolean).join(', '), hint }, { cause: error });
      }
    }
  }

  async #change(decisions: Decisions, say: Say, signal: AbortSignal): Promise<QuantizeResult> {
    const { owner } = this.#model;
    const wanted = await owner.engine.call('jobChange', [this.#id, asJson(decisions, 'change')], owner);
    if (wanted > 0) {
      if (this.#options.calibration?.length) throw onlyCalibration('Another observer has to see the samples');
      if (!isRepeatable(this.#samples)) throw onceOnly('Another observer has to see the samples');
      const source = new SampleSource(this.#samples, 'change', signal);
      try {
        await this.#feed(source, wanted, say);
        await this.#endSamples();
      } finally {
        await source.close();
      }
    }
    return this.#finish(say, signal);
  }

  /** From ranges to the result. */
  async #finish(say: Say, signal: AbortSignal): Promise<QuantizeResult> {
    const { owner } = this.#model;
    const { engine } = owner;
    for (;;) {
      throwIfAborted(signal, where);
      const { stage, done, total: steps } = await engine.call('jobStep', [this.#id], owner);
      // The slice that ends a job may have held all of its evaluation.
      if (stage !== 'done') say({ stage: stage as Stage, done, ...(steps > 0 ? { total: steps } : {}) });
      else if (steps > 0) say({ stage: 'evaluate', done, total: steps });
      if (stage === 'done') break;
    }
    throwIfAborted(signal, where);
    const exporting = this.#options.export;
    const hashes = await engine.call('jobHashes', [this.#id], owner);
    const result = await engine.call('jobResult', [this.#id, asJson(exporting ?? {}, where)], owner);
    const int8 = new Model(owner, result.model, exporting);
    const data = JSON.parse(result.report) as Omit<ReportData, 'evaluation' | 'budget' | 'targets'>;
    try {
      const made = makeRecipe(data, hashes, result.file, this.#options);
      if (this.#recipe) checkResult(this.#recipe, made);
      const { evaluation: given, budget } = this.#options;
      const evaluated = given ?? (budget ? { samples: this.#samples } : undefined);
      const evaluation = evaluated ? await evaluate(this.#model, int8, { ...this.#options, evaluation: evaluated }, say, signal) : null;
      return {
        model: int8,
        report: new Report({ ...data, evaluation, budget: null, targets: null }),
        recipe: this.#recipe ?? made,
        change: (decisions, options) => this.change(decisions, options),
        close: () => this.close(),
      };
    } catch (error) {
      await int8.close();
      throw error;
    }
  }

  /** The same for the other target, and both beside float. */
  async #compareTargets(own: QuantizeResult, say: Say, signal: AbortSignal): Promise<void> {
    const { budget: _, keep: __, ...options } = this.#options;
    const evaluation = options.evaluation ?? { samples: this.#samples };
    const target = own.report.options.target as Target;
    const other = await Quantization.run(
      this.#model,
      this.#samples,
      {
        ...options,
        evaluation,
        target: target === 'octavo' ? 'onnxruntime' : 'octavo',
        exclude: own.recipe.options.exclude as NonNullable<QuantizeOptions['exclude']>,
        sensitivity: false,
        compareTargets: false,
      },
      say,
      signal,
    );
    try {
      const evaluated = own.report.evaluation ?? (await evaluate(this.#model, own.model, { ...options, evaluation }, say, signal));
      own.report.targets = [[own.report, evaluated] as const, [other.report, other.report.evaluation] as const].flatMap(([report, on]) =>
        on ? [targetCost(report, on)] : [],
      );
    } catch (error) {
      await own.model.close();
      throw error;
    } finally {
      await other.model.close();
    }
  }

  /** Leaves layers in float until the budget is met. */
  async #meet(budget: Budget, int8: QuantizeResult, say: Say, signal: AbortSignal): Promise<QuantizeResult> {
    const { maxDrop } = budget;
    const dropOf = ({ model, report }: QuantizeResult): Promise<number> => {
      if (!report.evaluation) throw new OctavoError({ code: 'INTERNAL', what: 'A result was not evaluated.', where });
      return measureDrop(budget, model, report.evaluation);
    };
    const results = new Map<string, { drop: number; result: QuantizeResult }>();
    let kept: QuantizeResult = int8;
    const free = async (): Promise<void> => {
      for (const { result } of results.values()) if (result !== kept) await result.model.close();
    };
    const found = (drop: number, float: string[], milliseconds: number): BudgetReport => ({
      metric: typeof budget.metric === 'function' ? 'function' : budget.metric,
      maxDrop,
      met: drop <= maxDrop,
      drop,
      int8Drop,
      float,
      milliseconds,
      tried: results.size,
    });
    const key = (float: string[]): string => JSON.stringify([...float].sort());
    const int8Drop = await dropOf(int8);
    results.set(key([]), { drop: int8Drop, result: int8 });
    if (int8Drop <= maxDrop) {
      int8.report.budget = found(int8Drop, [], 0);
      return int8;
    }
    try {
      const measured = await this.#change({ sensitivity: true }, say, signal);
      await measured.model.close();
      const { sensitivity } = measured.report;
      const candidates = (sensitivity ?? []).map(({ node, alone, floatMs, int8Ms }) => ({
        node,
        noise: alone.relativeRms,
        milliseconds: floatMs - int8Ms,
      }));
      const exclude = this.#options.exclude ?? [];
      const attempt = async (float: string[]): Promise<number> => {
        const known = results.get(key(float));
        if (known) return known.drop;
        const result = await this.#change({ exclude: [...exclude, ...float], sensitivity: false }, say, signal);
        const drop = await dropOf(result);
        results.set(key(float), { drop, result });
        return drop;
      };
      const float = await searchFloatLayers(candidates, { maxDrop, int8Drop }, attempt);
      const best = results.get(key(float));
      if (best) kept = best.result;
      const milliseconds = candidates.reduce((sum, one) => (float.includes(one.node) ? sum + Math.max(0, one.milliseconds) : sum), 0);
      kept.report.budget = found(best?.drop ?? int8Drop, float, milliseconds);
      kept.report.sensitivity = sensitivity;
      await free();
      return kept;
    } catch (error) {
      await int8.model.close();
      await free();
      throw error;
    }
  }
}

const onlyCalibration = (what: string): OctavoError =>
  new OctavoError({
    code: 'INVALID_OPTION',
    what: `${what}, of which there is only a saved calibration.`,
    where: "option 'calibration'",
    hint: 'Quantize the samples themselves.',
  });

const onceOnly = (what: string): OctavoError =>
  new OctavoError({
    code: 'INVALID_OPTION',
    what: `${what}, which can be read once only.`,
    where,
    hint: 'Give an array, or an object that makes a new iterator each time.',
  });
