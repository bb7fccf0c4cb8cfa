// Two models on the same samples.

import { OctavoError, throwIfAborted } from './errors.js';
import type { ImageOptions } from './images.js';
import type { Model } from './model.js';
import { SampleSource, type Samples, toFeeds } from './samples.js';

export interface CompareOptions {
  /** The right class of each sample, for top-1 and top-5. */
  labels?: Iterable<number>;
  /** Compare every layer too; slower. Default true. */
  layers?: boolean;
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
  outputs: { name: string; sqnr: number | null; maxError: number; relativeRms: number }[];
  layers: LayerError[];
}

/**
 * Runs both models on every sample: agreement, accuracy where labels are given, error of outputs and layers, time.
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
    let count = 0;
    for (let next = await source.next(); !next.done; next = await source.next()) {
      const feeds = await toFeeds(next.value, rules, `sample ${count}`);
      await engine.call('compareSample', [id, feeds, labelOf(labels, count)], owner);
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
    return JSON.parse(await engine.call('compareReport', [id], owner)) as CompareResult;
  } finally {
    options.signal?.removeEventListener('abort', abort);
    await source.close();
    if (id !== undefined && !engine.closed) await engine.call('release', [id], owner).catch(() => {});
  }
}

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
