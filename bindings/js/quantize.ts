// Post-training quantization.

import { type Budget, type BudgetReport, checkBudget, measureDrop, searchFloatLayers } from './budget.js';
import { type CompareResult, compare } from './compare.js';
import { abortError, OctavoError, throwIfAborted } from './errors.js';
import type { ImageOptions } from './images.js';
import { Job, type Progress, type Stage } from './job.js';
import { type ExportOptions, Model } from './model.js';
import { checkModel, checkRecipe, checkResult, checkSamples, makeRecipe, type Recipe } from './recipe.js';
import { Report, type ReportData } from './report.js';
import { type Sample, SampleSource, type Samples, toFeeds } from './samples.js';

export interface QuantizeOptions {
  /**
   * Where the integers are meant to run. 'octavo' (default) keeps most of the network: float logits and pooled features, batch normalizations behind a
   * Concat on their parts' own grids; the file stays a plain QDQ file. 'onnxruntime' puts Q and DQ exactly where ONNX Runtime's own quantizer does.
   */
  target?: 'octavo' | 'onnxruntime';
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
  /** Measure what each layer costs the outputs by itself, for `report.sensitivity`. Default false. */
  sensitivity?: boolean;
  /**
   * Keeps the fewest layers in float with which no more than this is lost on the `evaluation` samples, or without them on the samples. They are then
   * part of `exclude` in the recipe; `report.budget` says what was found.
   */
  budget?: Budget;
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
const notForTheEngine = ['recipe', 'evaluation', 'total', 'signal', 'image', 'budget'] as const satisfies (keyof QuantizeOptions)[];

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

type Say = (progress: Progress) => void;
const where = 'quantizeStatic';

/** Whether an iterable begins anew each time: arrays do, generators do not. */
function isRepeatable(samples: Samples): boolean {
  const iterable = samples as Partial<AsyncIterable<unknown> & Iterable<unknown>>;
  return (iterable[Symbol.asyncIterator]?.() ?? iterable[Symbol.iterator]?.()) !== (samples as unknown);
}

/** A job in the engine: its samples, its results, and what is decided otherwise about it later. */
class Quantization {
  readonly #model: Model;
  readonly #samples: Samples;
  readonly #options: QuantizeOptions;
  readonly #recipe: Recipe | undefined;
  readonly #id: number;
  readonly #inputs: Model['inputs'];
  #state: 'ready' | 'busy' | 'over' = 'ready';

  private constructor(
    model: Model,
    samples: Samples,
    options: QuantizeOptions,
    recipe: Recipe | undefined,
    id: number,
    inputs: Model['inputs'],
  ) {
    this.#model = model;
    this.#samples = samples;
    this.#options = options;
    this.#recipe = recipe;
    this.#id = id;
    this.#inputs = inputs;
  }

  static async run(model: Model, samples: Samples, given: QuantizeOptions, say: Say, signal: AbortSignal): Promise<QuantizeResult> {
    throwIfAborted(signal, where);
    const recipe = given.recipe === undefined ? undefined : checkRecipe(given.recipe);
    const options = recipe ? optionsOf(recipe, given) : given;
    const { owner } = model;
    const { engine } = owner;
    if (recipe) checkModel(recipe, await engine.call('modelHash', [model.id], owner));
    if (options.budget) {
      checkBudget(options.budget, options.evaluation?.labels !== undefined);
      if (!options.evaluation && !isRepeatable(samples)) throw onceOnly('A budget without evaluation samples is measured on the samples');
    }
    const source = new SampleSource(samples, where, signal);
    const entries = Object.entries(options).filter(([key]) => !(notForTheEngine as readonly string[]).includes(key));
    const forEngine = { ...Object.fromEntries(entries), ...(options.budget ? { keep: true } : {}) };
    let job: { id: number; inputs: Model['inputs']; samplesWanted: number };
    try {
      job = await engine.call('createJob', [model.id, asJson(forEngine, where)], owner);
    } catch (error) {
      await source.close();
      throw error;
    }
    const it = new Quantization(model, samples, options, recipe, job.id, job.inputs);
    // Of a recipe that fitted nothing, samples are for the report alone, and too few to fit to.
    const limit = recipe ? recipe.samples.fitted.length || Math.min(recipe.samples.count, job.samplesWanted) : job.samplesWanted;
    try {
      return await it.#guarded(signal, async () => {
        await it.#feed(source, limit, say);
        const first = await it.#finish(say, signal);
        return options.budget ? await it.#meet(options.budget, first, say, signal) : first;
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
    const { inputShapes = {}, image } = this.#options;
    const rules = { inputs: this.#inputs, inputShapes, ...(image ? { image } : {}) };
    say({ stage: 'calibrate', done: 0, ...(total === undefined ? {} : { total }) });
    for (let index = 0; index < limit; index++) {
      const next = await source.next();
      if (next.done) break;
      const feeds = await toFeeds(next.value, rules, `sample ${index}`);
      await owner.engine.call('jobSample', [this.#id, feeds], owner);
      say({ stage: 'calibrate', done: index + 1, ...(total === undefined ? {} : { total: Math.max(total, index + 1) }) });
    }
    if (this.#recipe) checkSamples(this.#recipe, (await owner.engine.call('jobHashes', [this.#id], owner)).samples);
    await owner.engine.call('jobEndSamples', [this.#id], owner);
  }

  async #change(decisions: Decisions, say: Say, signal: AbortSignal): Promise<QuantizeResult> {
    const { owner } = this.#model;
    const wanted = await owner.engine.call('jobChange', [this.#id, asJson(decisions, 'change')], owner);
    if (wanted > 0) {
      if (!isRepeatable(this.#samples)) throw onceOnly('Another observer has to see the samples');
      const source = new SampleSource(this.#samples, 'change', signal);
      try {
        await this.#feed(source, wanted, say);
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
    const data = JSON.parse(result.report) as Omit<ReportData, 'evaluation' | 'budget'>;
    try {
      const made = makeRecipe(data, hashes, result.file, this.#options);
      if (this.#recipe) checkResult(this.#recipe, made);
      const { evaluation: given, budget } = this.#options;
      const evaluated = given ?? (budget ? { samples: this.#samples } : undefined);
      const evaluation = evaluated ? await evaluate(this.#model, int8, { ...this.#options, evaluation: evaluated }, say, signal) : null;
      return {
        model: int8,
        report: new Report({ ...data, evaluation, budget: null }),
        recipe: this.#recipe ?? made,
        change: (decisions, options) => this.change(decisions, options),
        close: () => this.close(),
      };
    } catch (error) {
      await int8.close();
      throw error;
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

const onceOnly = (what: string): OctavoError =>
  new OctavoError({
    code: 'INVALID_OPTION',
    what: `${what}, which can be read once only.`,
    where,
    hint: 'Give an array, or an object that makes a new iterator each time.',
  });
