// Panel 3: options, the job, its progress and its end.

import { type Decisions, OctavoError, type Progress, type QuantizeOptions, quantizeStatic, type Recipe } from 'octavo';
import { type App, type Change, closeResult, errorNotice, isAbort, type Result } from '../app.ts';
import { byId, h } from '../dom.ts';
import { imageOptions, inputGeometry, inputShapes, samples } from '../inputs.ts';
import { readState, writeState } from '../state.ts';
import { choice } from './pictures.ts';

const stageWords: Record<string, string> = {
  calibrate: 'Watching the network on your pictures',
  quantize: 'Choosing ranges and rounding weights',
  evaluate: 'Comparing float and int8',
  sensitivity: 'Trying each layer by itself',
};

export interface QuantizePanel {
  refresh: () => void;
  start: () => void;
  /** Makes the result anew with one decision changed; what that does not touch is taken over. */
  change: (change: Change) => void;
  /** Measures what each layer of the result costs. */
  measure: () => void;
  /** Takes the last such change back. */
  undo: () => void;
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
  /** The work is done, and its result is being shown: what is pressed there meanwhile waits for it. */
  let showing = false;

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

  /** What the form says. */
  function formOptions(): QuantizeOptions {
    const { model } = app;
    if (!model) return {};
    const state = readState();
    const maxDrop = Number.parseFloat(state.budget);
    const exclude = state.exclude.split(/[\s,]+/).filter(Boolean);
    return {
      activation: { observer: state.observer as 'percentile' },
      weight: {
        scheme: state.weights as 'per_channel_symmetric',
        ...(state.pairs === 'no' ? {} : { pairSafe: state.pairs === 'auto' ? 'auto' : true }),
      },
      target: state.target as 'octavo',
      batchNorm: state.bn as 'auto',
      inputShapes: inputShapes(model, state),
      exclude: exclude.map((word) => (/^op:/i.test(word) ? { opType: word.slice(3) } : word)),
      ...(app.isSample ? {} : { image: imageOptions(model, state) }),
      ...(maxDrop >= 0 ? { budget: { metric: 'top1Agreement', maxDrop: maxDrop / 100 } } : {}),
    };
  }

  /** All decisions about layers of a result, with one of them changed. */
  function changedDecisions({ recipe }: Result, { exclude, observer, sensitivity = false }: Change): Decisions {
    const options = recipe.options as QuantizeOptions;
    return {
      exclude: [...(options.exclude ?? []), ...(exclude === undefined ? [] : [exclude])],
      observerOverrides: { ...options.observerOverrides, ...(observer ? { [observer.tensor]: observer.name } : {}) },
      sensitivity,
    };
  }

  async function run(change?: Change): Promise<void> {
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
    const old = app.result;
    try {
      // Pictures that calibration has not seen, where there are enough.
      const shown = app.evaluation.length ? app.evaluation : app.calibration.slice(0, 50);
      const labels = shown.every((picture) => picture.label !== undefined) ? shown.map((picture) => picture.label ?? 0) : undefined;
      const options: QuantizeOptions = app.recipe ? { recipe: app.recipe } : formOptions();
      // A recipe that was made of as many pictures as there are kept none back.
      const all = options.recipe?.samples?.count === app.chosen.length;
      const watched = all ? app.chosen : app.calibration;
      const { signal } = controller;
      const job =
        change && old
          ? old.source.change(changedDecisions(old, change), { signal })
          : quantizeStatic(model, samples(watched), {
              ...options,
              total: watched.length,
              keep: true,
              evaluation: { samples: samples(shown), ...(labels ? { labels } : {}) },
              signal,
            });
      for await (const progress of job) showProgress(progress);
      const { model: int8, report, recipe, ...source } = await job.result;
      if (!change) await closeResult(old);
      app.result = { float: model, int8, report, recipe, source };
      if (change && old) {
        // What was only measured is the same network, in the place of the one before.
        const before = change.words === undefined ? old.before : { result: old, change: change.words };
        if (before) app.result.before = before;
        if (change.words === undefined) await old.int8.close();
      }
      text.textContent = 'Ready';
      showing = true;
      await onDone();
    } catch (error) {
      if (change && error instanceof OctavoError && error.code === 'INVALID_STATE')
        out.replaceChildren(
          h('div', { className: 'notice' }, 'What was kept for changes went when one was cancelled. Quantize again, then change it.'),
        );
      else if (isAbort(error))
        out.replaceChildren(h('div', { className: 'notice' }, 'Cancelled. Nothing was lost: network and pictures are still here.'));
      else out.replaceChildren(errorNotice(error));
    } finally {
      running = undefined;
      showing = false;
      cancel.hidden = true;
      byId('progress').hidden = true;
      refresh();
    }
  }

  const recipeFile = h('input', {
    type: 'file',
    id: 'recipe-file',
    className: 'visually-hidden',
    accept: '.json,application/json',
    on: { change: () => void takeRecipe() },
  });
  const recipeOut = h('div', { id: 'recipe-out' });

  /** Follows the chosen recipe from now on, or says why not. */
  async function takeRecipe(): Promise<void> {
    const file = recipeFile.files?.[0];
    recipeFile.value = ''; // the same file can be chosen again
    if (!file) return;
    try {
      app.recipe = JSON.parse(await file.text()) as Recipe; // quantizeStatic looks at it closely
    } catch (error) {
      recipeOut.replaceChildren(errorNotice(new Error(`${file.name} is not JSON: ${(error as Error).message}`)));
      return;
    }
    const forget = (): void => {
      delete app.recipe;
      recipeOut.replaceChildren();
    };
    recipeOut.replaceChildren(
      h(
        'p',
        {},
        `Follows ${file.name}, to the byte; the options here do not count. `,
        h('button', { type: 'button', on: { click: forget } }, 'Forget it'),
      ),
    );
  }

  async function undo(): Promise<void> {
    if (showing) await finished;
    const { result } = app;
    if (running || !result?.before) return;
    app.result = result.before.result;
    await onDone();
    await result.int8.close();
  }

  const begin = (change?: Change): void => {
    if (!running) finished = run(change);
    else if (showing) void finished.then(() => begin(change));
  };
  start.addEventListener('click', () => begin());
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
        { value: 'auto', label: 'What errs least, tensor by tensor' },
        { value: 'percentile', label: 'All but the rarest (percentile 99.999)' },
        { value: 'entropy', label: 'Least entropy lost (KL)' },
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
      'pairs',
      'Pairs of weights that saturate',
      [
        { value: 'no', label: 'Anywhere' },
        { value: 'auto', label: 'Only where avoiding them costs' },
        { value: 'yes', label: 'Nowhere' },
      ],
      'Processors that add pairs of products in 16 bits run weights without them faster.',
      () => {},
    ),
    choice(
      'target',
      'Runs on',
      [
        { value: 'octavo', label: 'Any runtime; nearest to float' },
        { value: 'onnxruntime', label: "As ONNX Runtime's quantizer places it" },
      ],
      'The first leaves the answer in float.',
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
    choice(
      'budget',
      'Answers that may differ from float',
      [
        { value: '', label: 'Any number: every layer int8' },
        { value: '2', label: 'At most 2 in 100' },
        { value: '1', label: 'At most 1 in 100' },
        { value: '0.5', label: 'At most 1 in 200' },
        { value: '0', label: 'None' },
      ],
      'As few layers as possible stay float for it.',
      () => {},
    ),
    h(
      'div',
      {},
      h('label', { htmlFor: 'field-exclude' }, 'Keep in float'),
      exclude,
      h('small', {}, 'Node names, * for anything; op:Softmax for all of a kind.'),
    ),
    h(
      'div',
      {},
      h('label', { htmlFor: recipeFile.id, className: 'button' }, 'Use a recipe…'),
      recipeFile,
      h('small', {}, 'The JSON of an earlier quantization, to get the same file again.'),
      recipeOut,
    ),
  );
  return {
    refresh: () => {
      if (!app.recipe) recipeOut.replaceChildren();
      refresh();
    },
    start: () => begin(),
    change: (change) => begin(change),
    measure: () => begin({ sensitivity: true }),
    undo: () => void undo(),
    stop: async () => {
      running?.abort();
      await finished;
      out.replaceChildren();
    },
  };
}
