// Two models on the same samples.

import { OctavoError, throwIfAborted } from './errors.js';
import type { ImageOptions } from './images.js';
import type { Model } from './model.js';
import { endIteration, iterate, type Samples, toFeeds } from './samples.js';

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
  if (b.owner.engine !== engine) {
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: 'The models belong to different engines.',
      where,
      hint: 'Load both with the same engine.',
    });
  }
  const iterator = iterate(samples, where);
  const labels = options.labels === undefined ? undefined : [...options.labels];
  const { id, inputs } = await engine.call(
    'createComparison',
    [a.id, b.id, JSON.stringify({ inputShapes: options.inputShapes ?? {}, layers: options.layers ?? true })],
    owner,
  );
  const abort = (): void => void engine.call('abort', [id], owner).catch(() => {});
  options.signal?.addEventListener('abort', abort);
  const rules = { inputs, inputShapes: options.inputShapes ?? {}, ...(options.image ? { image: options.image } : {}) };
  let taken = false;
  try {
    let index = 0;
    for (; ; index++) {
      throwIfAborted(options.signal, where);
      const next = await iterator.next();
      if (next.done) break;
      const label = labels?.[index];
      if (labels && (label === undefined || !Number.isInteger(label))) {
        throw new OctavoError({
          code: 'INVALID_OPTION',
          what: `There is no label for sample ${index}.`,
          where,
          hint: 'Give as many labels as samples, whole numbers from 0.',
        });
      }
      const feeds = await toFeeds(next.value, rules, `sample ${index}`);
      await engine.call('compareSample', [id, feeds, label ?? -1], owner);
      options.onProgress?.({ stage: 'compare', done: index + 1 });
    }
    taken = true;
    throwIfAborted(options.signal, where);
    if (index === 0)
      throw new OctavoError({ code: 'NO_SAMPLES', what: 'There are no samples to compare with.', where, hint: 'Give at least one.' });
    return JSON.parse(await engine.call('compareReport', [id], owner)) as CompareResult;
  } finally {
    options.signal?.removeEventListener('abort', abort);
    if (!taken) await endIteration(iterator);
    if (!engine.closed) await engine.call('release', [id], owner).catch(() => {});
  }
}
