// Two models on the same samples.

import { type BoxAgreement, BoxMatcher, type Detect, detectorOf } from './boxes.js';
import { abortable, OctavoError, throwIfAborted } from './errors.js';
import type { RawFeeds } from './host.js';
import type { ImageOptions } from './images.js';
import type { Model } from './model.js';
import { SampleSource, type Samples, toFeeds } from './samples.js';
import { type Tensor, tensorOfBytes } from './tensor.js';

export interface CompareOptions {
  /** The right class of each sample, for top-1 and top-5. */
  labels?: Iterable<number>;
  /** Compare every layer too; slower. Default true. */
  layers?: boolean;
  /**
   * How a detector's outputs become boxes, for `boxes` of the result. Left out, outputs that are known (corners with class scores as UltraFace's and
   * SSD's, YuNet's grids) are read by themselves; null leaves boxes alone.
   */
  detect?: Detect | null;
  inputShapes?: Record<string, number[]>;
  /** How samples that are pictures become tensors. */
  image?: ImageOptions;
  signal?: AbortSignal;
  onProgress?: (progress: { stage: 'compare'; done: number }) => void;
}

export interface LayerError {
  node: string;
  op: string;
  tensor: string;
  /** What it is in the second model. */
  type: string;
  /** Signal to noise in dB; null where both are equal. */
  sqnr: number | null;
}
export interface CompareResult {
  samples: number;
  labelled: number;
  /** Share of samples with the same largest output; null where the first output is no list of scores. */
  top1Agreement: number | null;
  top1: { a: number; b: number } | null;
  top5: { a: number; b: number } | null;
  /** Median time of a run, with everything in one thread. */
  milliseconds: { a: number; b: number };
  /** The sample (from 0) whose outputs differ most, relative to their size. */
  worst: { sample: number; relativeRms: number };
  /** For detectors: how far both find the same boxes. */
  boxes: BoxAgreement | null;
  /** `kl`: the mean Kullback-Leibler divergence of b's shares (or softmax of scores) from a's, in nats; null where an output holds no shares. */
  outputs: { name: string; sqnr: number | null; maxError: number; relativeRms: number; kl: number | null }[];
  layers: LayerError[];
}

/**
 * Runs both models on every sample: agreement of answers, shares and boxes, accuracy where labels are given, error of outputs and layers, time.
 *
 * @throws OctavoError NO_SAMPLES, SAMPLE_SHAPE, ..., INVALID_OPTION where labels and samples differ in number
 */
export async function compare(a: Model, b: Model, samples: Samples, options: CompareOptions = {}): Promise<CompareResult> {
  const where = 'compare';
  throwIfAborted(options.signal, where);
  const { owner } = a;
  const { engine } = owner;
  if (b.owner.engine !== engine || b.owner.generation !== owner.generation) {
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: 'The models belong to different engines, or to different starts of one.',
      where,
      hint: 'Load both with the same engine.',
    });
  }
  const source = new SampleSource(samples, where, options.signal);
  const labels = options.labels === undefined ? undefined : [...options.labels];
  const inputShapes = options.inputShapes ?? {};
  let id: number | undefined;
  const abort = (): void => void (id !== undefined && engine.call('abort', [id], owner).catch(() => {}));
  options.signal?.addEventListener('abort', abort);
  try {
    const comparison = await engine.call(
      'createComparison',
      [a.id, b.id, JSON.stringify({ inputShapes, layers: options.layers ?? true })],
      owner,
    );
    id = comparison.id;
    const rules = { inputs: comparison.inputs, inputShapes, ...(options.image ? { image: options.image } : {}) };
    const detect = options.detect === undefined ? detectorOf(comparison.outputs) : (options.detect ?? undefined);
    const matcher = detect && new BoxMatcher();
    let count = 0;
    for (let next = await source.next(); !next.done; next = await source.next()) {
      const feeds = await toFeeds(next.value, rules, `sample ${count}`);
      const shape = Object.values(feeds)[0]?.shape ?? [];
      const comparing = engine.call('compareSample', [id, feeds, labelOf(labels, count), detect !== undefined], owner);
      const outputs = await abortable(comparing, options.signal, where);
      if (outputs && detect) matcher?.add(detect(tensorsOf(outputs.a), shape), detect(tensorsOf(outputs.b), shape));
      count++;
      options.onProgress?.({ stage: 'compare', done: count });
    }
    throwIfAborted(options.signal, where);
    if (count === 0)
      throw new OctavoError({ code: 'NO_SAMPLES', what: 'There are no samples to compare with.', where, hint: 'Give at least one.' });
    if (labels && labels.length > count) {
      throw new OctavoError({
        code: 'INVALID_OPTION',
        what: `There are ${labels.length} labels for ${count} samples.`,
        where,
        hint: 'Give one label for each sample, in the same order.',
      });
    }
    const report = JSON.parse(await engine.call('compareReport', [id], owner)) as Omit<CompareResult, 'boxes'>;
    return { ...report, boxes: matcher?.result() ?? null };
  } finally {
    options.signal?.removeEventListener('abort', abort);
    await source.close();
    if (id !== undefined && !engine.closed) await engine.call('release', [id], owner).catch(() => {});
  }
}

const tensorsOf = (outputs: RawFeeds): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(outputs).map(([name, { type, bytes, shape }]) => [name, tensorOfBytes(type, bytes, shape)]));

/** The label of a sample; -1 where there are no labels at all. */
function labelOf(labels: number[] | undefined, index: number): number {
  if (!labels) return -1;
  const label = labels[index];
  if (label !== undefined && Number.isInteger(label) && label >= 0) return label;
  throw new OctavoError({
    code: 'INVALID_OPTION',
    what: label === undefined ? `There is no label for sample ${index}.` : `The label of sample ${index} is ${label}.`,
    where: 'compare',
    hint: 'Give as many labels as samples, whole numbers from 0.',
  });
}
