// Panel 3: options, the job, its progress and its end.

import { type Progress, type QuantizeOptions, type QuantizeResult, quantizeStatic, type Recipe } from 'octavo';
import { type App, type Change, closeResult, errorNotice, isAbort, type Result } from '../app.ts';
import { byId, h } from '../dom.ts';
import { imageOptions, inputGeometry, inputShapes, samples } from '../inputs.ts';
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
  /** Makes the result anew with one decision changed; what that does not touch is taken over. */
  change: (change: Change) => void;
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
    const exclude = state.exclude.split(/[\s,]+/).filter(Boolean);
    return {
      activation: { observer: state.observer as 'percentile' },
      weight: { scheme: state.weights as 'per_channel_symmetric' },
      target: state.target as 'octavo',
      batchNorm: state.bn as 'auto',
      inputShapes: inputShapes(model, state),
      exclude: exclude.map((word) => (/^op:/i.test(word) ? { opType: word.slice(3) } : word)),
      ...(app.isSample ? {} : { image: imageOptions(model, state) }),
    };
  }

  /** Those of a result with one decision changed. Ranges that do not depend on it are known. */
  function changedOptions({ recipe }: Result, { exclude, observer }: Change): QuantizeOptions {
    const options = recipe.options as QuantizeOptions;
    return {
      ...options,
      exclude: [...(options.exclude ?? []), ...(exclude === undefined ? [] : [exclude])],
      observerOverrides: { ...options.observerOverrides, ...(observer ? { [observer.tensor]: observer.name } : {}) },
      ranges: Object.fromEntries(recipe.tensors.filter(({ name }) => name !== observer?.tensor).map(({ name, range }) => [name, range])),
      export: recipe.export,
      ...(recipe.image ? { image: recipe.image } : {}),
    };
  }

  /** What found a range stays its name when the range is taken over. */
  function keepObservers(result: QuantizeResult, old: Recipe): void {
    const names = new Map(old.tensors.map(({ name, observer }) => [name, observer]));
    for (const tensor of [...result.report.tensors, ...result.recipe.tensors])
      if (tensor.observer === 'given') tensor.observer = names.get(tensor.name) ?? 'given';
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
      const options: QuantizeOptions = change && old ? changedOptions(old, change) : app.recipe ? { recipe: app.recipe } : formOptions();
      // A recipe that was made of as many pictures as there are kept none back.
      const all = options.recipe?.samples?.count === app.chosen.length;
      const watched = all ? app.chosen : app.calibration;
      const job = quantizeStatic(model, samples(watched), {
        ...options,
        total: watched.length,
        evaluation: { samples: samples(shown), ...(labels ? { labels } : {}) },
        signal: controller.signal,
      });
      for await (const progress of job) showProgress(progress);
      const made = await job.result;
      if (change && old) keepObservers(made, old.recipe);
      else await closeResult(old);
      app.result = { float: model, int8: made.model, report: made.report, recipe: made.recipe };
      if (change && old) app.result.before = { result: old, change: change.words };
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
    const { result } = app;
    if (running || !result?.before) return;
    app.result = result.before.result;
    await onDone();
    await result.int8.close();
  }

  const begin = (change?: Change): void => {
    if (!running) finished = run(change);
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
    undo: () => void undo(),
    stop: async () => {
      running?.abort();
      await finished;
      out.replaceChildren();
    },
  };
}
