// Panel 1: which network.

import { Model } from 'octavo';
import { type App, closeResult, errorNotice, isAbort } from '../app.ts';
import { acceptFiles, byId, h } from '../dom.ts';
import { bytes, count } from '../format.ts';
import { inputGeometry, noPictures } from '../inputs.ts';
import { loadSample } from '../sample.ts';
import { readState, writeState } from '../state.ts';

interface Hooks {
  /** Awaited before another network takes the place of the one that is there. */
  beforeChange: () => Promise<void>;
  onChange: () => void;
  onSampleReady: () => void;
}

export function modelPanel(app: App, { beforeChange, onChange, onSampleReady }: Hooks): { openSample: () => void } {
  const out = byId('model-out');
  let loading: AbortController | undefined;

  /** One load at a time: a newer choice ends the older one. */
  async function load(name: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    loading?.abort();
    const controller = new AbortController();
    loading = controller;
    out.replaceChildren(h('p', { role: 'status' }, `Reading ${name}…`));
    try {
      await work(controller.signal);
    } catch (error) {
      if (loading !== controller || isAbort(error)) return;
      const before = app.model ? h('p', {}, `“${app.modelName}” stays loaded.`) : null;
      out.replaceChildren(errorNotice(error), before ?? '');
    }
  }

  /** Makes a loaded network the page's, with what else changes then; not if a newer choice ended this one. */
  async function adopt(model: Model, name: string, size: number, signal: AbortSignal, change: () => void): Promise<void> {
    await beforeChange();
    if (signal.aborted) {
      await model.close();
      return;
    }
    change();
    const old = app.model;
    const oldResult = app.result;
    app.model = model;
    app.modelName = name;
    app.modelBytes = size;
    delete app.result;
    delete app.recipe;
    await show();
    onChange();
    await closeResult(oldResult);
    await old?.close();
  }

  async function show(): Promise<void> {
    if (!app.model) return;
    const summary = await app.model.summary();
    const plans = new Map<string, number>();
    for (const node of summary.nodes) plans.set(node.plan, (plans.get(node.plan) ?? 0) + 1);
    const shapes = (values: { name: string; shape: (number | string)[] }[]): string =>
      values.map((value) => `${value.name} [${value.shape.join(' × ')}]`).join(', ');
    const planText = [
      ['int8', 'in int8'],
      ['folded', 'folded away'],
      ['fused', 'fused'],
      ['float', 'stay float'],
    ]
      .filter(([plan]) => plans.has(plan ?? ''))
      .map(([plan, words]) => `${plans.get(plan ?? '')} ${words}`)
      .join(', ');
    const norms = summary.nodes.filter((node) => node.op === 'BatchNormalization');
    out.replaceChildren(
      h(
        'dl',
        { className: 'facts' },
        h('dt', {}, 'File'),
        h('dd', {}, `${app.modelName}, ${bytes(app.modelBytes)}`),
        h('dt', {}, 'Takes'),
        h('dd', { className: 'mono' }, shapes(summary.inputs)),
        h('dt', {}, 'Gives'),
        h('dd', { className: 'mono' }, shapes(summary.outputs)),
        h('dt', {}, 'Parameters'),
        h('dd', {}, `${count(summary.parameters)}${summary.macs ? `; ${count(summary.macs)} multiplications a picture` : ''}`),
        h('dt', {}, 'Operators'),
        h('dd', {}, `${summary.nodes.length}: ${planText}`),
      ),
      inputGeometry(app.model, readState()) ? '' : errorNotice(noPictures(app.model)),
      summary.quantized
        ? h(
            'div',
            { className: 'notice' },
            'This network is quantized already: it runs as it is, and cannot be quantized again. Choose its float original.',
          )
        : '',
      norms.length
        ? h(
            'details',
            {},
            h('summary', {}, `What becomes of its ${norms.length} batch normalizations`),
            h(
              'div',
              { className: 'scroll' },
              h(
                'table',
                { className: 'stacked' },
                h('tbody', {}, ...norms.map((node) => h('tr', {}, h('td', { className: 'mono' }, node.name), h('td', {}, node.reason)))),
              ),
            ),
          )
        : '',
    );
  }

  acceptFiles(byId('model-drop'), byId<HTMLInputElement>('model-file'), (files) => {
    const file = files.find((one) => /\.onnx$/i.test(one.name)) ?? files[0];
    if (!file) return;
    void load(file.name, async (signal) => {
      const model = await Model.load(file, { engine: app.engine, signal });
      await adopt(model, file.name, file.size, signal, () => {
        if (app.isSample) {
          app.calibration = [];
          app.evaluation = [];
          app.chosen = [];
        }
        app.isSample = false;
        writeState({ sample: '', layer: '' });
      });
    });
  });

  const openSample = (): void => {
    void load('the sample', async (signal) => {
      const sample = await loadSample(app.engine, signal);
      await adopt(sample.model, 'digits_mobilenet_bn.onnx', sample.bytes, signal, () => {
        app.calibration = sample.calibration;
        app.evaluation = sample.evaluation;
        app.chosen = sample.calibration;
        app.isSample = true;
        writeState({ sample: 'digits', layer: '' });
      });
      if (!signal.aborted) onSampleReady();
    });
  };
  byId('sample').addEventListener('click', openSample);
  return { openSample };
}
