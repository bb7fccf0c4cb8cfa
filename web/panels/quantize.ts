// Panel 3: options, the job, its progress and its end.

import { type Progress, type QuantizeOptions, quantizeStatic } from 'octavo';
import { type App, errorNotice, isAbort } from '../app.ts';
import { byId, h } from '../dom.ts';
import { feeds, inputGeometry, inputShapes } from '../inputs.ts';
import { readState, writeState } from '../state.ts';
import { choice } from './pictures.ts';

const stageWords: Record<string, string> = {
  calibrate: 'Watching the network on your pictures',
  quantize: 'Choosing ranges and rounding weights',
  evaluate: 'Comparing float and int8',
};

export interface QuantizePanel {
  refresh: () => void;
  start: () => void;
  /** Ends the job under way, as the network that it works on is about to go. */
  stop: () => Promise<void>;
}

export function quantizePanel(app: App, onDone: () => Promise<void>): QuantizePanel {
  const start = byId<HTMLButtonElement>('start');
  const cancel = byId<HTMLButtonElement>('cancel');
  const bar = byId<HTMLProgressElement>('progress-bar');
  const text = byId('progress-text');
  const out = byId('quantize-out');
  let running: AbortController | undefined;
  let finished: Promise<void> = Promise.resolve();

  const refresh = (): void => {
    const { model } = app;
    const fits = model && !model.quantized && inputGeometry(model, readState());
    start.disabled = running !== undefined || !fits || app.calibration.length === 0;
    start.textContent = app.result ? 'Quantize again' : 'Quantize to int8';
  };

  function showProgress(progress: Progress): void {
    const known = progress.total !== undefined && progress.total > 0;
    if (known) {
      bar.max = progress.total ?? 1;
      bar.value = progress.done;
    } else {
      bar.removeAttribute('value');
    }
    const amount = known ? ` (${progress.done} of ${progress.total})` : '';
    text.textContent = `${stageWords[progress.stage] ?? progress.stage}${amount}`;
  }

  async function run(): Promise<void> {
    if (!app.model || running) return;
    const model = app.model;
    const controller = new AbortController();
    running = controller;
    refresh();
    cancel.hidden = false;
    byId('progress').hidden = false;
    bar.removeAttribute('value');
    text.textContent = 'Starting';
    out.replaceChildren();
    const state = readState();
    const exclude = state.exclude.split(/[\s,]+/).filter(Boolean);
    // Pictures that calibration has not seen, where there are enough.
    const shown = app.evaluation.length ? app.evaluation : app.calibration.slice(0, 50);
    const labels = shown.every((picture) => picture.label !== undefined) ? shown.map((picture) => picture.label ?? 0) : undefined;
    const options: QuantizeOptions = {
      activation: { observer: state.observer as 'percentile' },
      weight: { scheme: state.weights as 'per_channel_symmetric' },
      batchNorm: state.bn as 'auto',
      inputShapes: inputShapes(model, state),
      exclude: exclude.map((word) => (/^op:/i.test(word) ? { opType: word.slice(3) } : word)),
      total: app.calibration.length,
      evaluation: {
        samples: feeds(model, shown, state),
        ...(labels ? { labels } : {}),
      },
      signal: controller.signal,
    };
    try {
      const job = quantizeStatic(model, feeds(model, app.calibration, state), options);
      for await (const progress of job) showProgress(progress);
      const { model: int8, report } = await job.result;
      await app.result?.int8.close();
      app.result = { float: model, int8, report };
      text.textContent = 'Ready';
      await onDone();
    } catch (error) {
      if (isAbort(error))
        out.replaceChildren(h('div', { className: 'notice' }, 'Cancelled. Nothing was lost: network and pictures are still here.'));
      else out.replaceChildren(errorNotice(error));
    } finally {
      running = undefined;
      cancel.hidden = true;
      byId('progress').hidden = true;
      refresh();
    }
  }

  const begin = (): void => {
    if (!running) finished = run();
  };
  start.addEventListener('click', begin);
  cancel.addEventListener('click', () => running?.abort());

  const exclude = h('input', {
    type: 'text',
    id: 'field-exclude',
    value: readState().exclude,
    placeholder: '/head/* op:Softmax',
    on: { change: () => writeState({ exclude: exclude.value }) },
  });
  byId('options-form').append(
    choice(
      'observer',
      'Ranges of activations',
      [
        { value: 'mse', label: 'Least error of rounding and clipping' },
        { value: 'percentile', label: 'All but the rarest (percentile 99.999)' },
        { value: 'minmax', label: 'Smallest to largest seen' },
        { value: 'histogram', label: 'Histogram, least squared error' },
        { value: 'movingAverage', label: 'Moving average, for many pictures' },
      ],
      'What to do with rare large values.',
      () => {},
    ),
    choice(
      'weights',
      'Weights',
      [
        { value: 'per_channel_symmetric', label: 'A scale for each channel' },
        { value: 'per_tensor_symmetric', label: 'One scale for all' },
      ],
      'A scale for each channel is more exact and as fast.',
      () => {},
    ),
    choice(
      'bn',
      'Batch normalization',
      [
        { value: 'auto', label: 'Fold where possible, else int8' },
        { value: 'fold', label: 'Fold where possible, else float' },
        { value: 'quantized', label: 'Always int8 of its own' },
        { value: 'float', label: 'Keep in float' },
      ],
      'Folding costs nothing at run time.',
      () => {},
    ),
    h(
      'div',
      {},
      h('label', { htmlFor: 'field-exclude' }, 'Keep in float'),
      exclude,
      h('small', {}, 'Node names, * for anything; op:Softmax for all of a kind.'),
    ),
  );
  return {
    refresh,
    start: begin,
    stop: async () => {
      running?.abort();
      await finished;
      out.replaceChildren();
    },
  };
}
