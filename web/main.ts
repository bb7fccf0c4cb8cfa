// The demo page: three panels in, two out. Everything happens in this browser.

import { createEngine, type Engine } from 'octavo';
import { type App, errorNotice } from './app.ts';
import { byId, h } from './dom.ts';
import { onThreads } from './format.ts';
import { drawPanel } from './panels/draw.ts';
import { modelPanel } from './panels/model.ts';
import { picturesPanel } from './panels/pictures.ts';
import { quantizePanel } from './panels/quantize.ts';
import { resultPanel } from './panels/result.ts';
import { allowed, readState, writeState } from './state.ts';

/** Chooses the number of threads. An engine keeps its own, so the page starts anew. */
function threadChooser(current: string, available: boolean): HTMLElement {
  const options = allowed('threads') ?? [];
  const select = h(
    'select',
    {
      id: 'threads',
      disabled: !available,
      title: available ? '' : 'This page is not cross-origin isolated, which threads need.',
      on: {
        change: () => {
          writeState({ threads: select.value });
          location.reload();
        },
      },
    },
    ...options.map((value) => h('option', { value, selected: value === current }, value)),
  );
  return h('label', {}, ' Threads: ', select);
}

async function main(): Promise<void> {
  const state = readState();
  let engine: Engine;
  try {
    const threads = state.threads === 'auto' ? 'auto' : Number(state.threads);
    engine = await createEngine({ threads, ...(state.isa ? { isa: state.isa as 'simd' } : {}) });
  } catch (error) {
    byId('engine').replaceChildren(errorNotice(error));
    for (const control of document.querySelectorAll<HTMLButtonElement | HTMLInputElement>('button, input')) control.disabled = true;
    return;
  }
  const { isa, engineClass, threadCount, threads } = engine.features;
  const on = onThreads(threadCount);
  byId('engine').replaceChildren(
    isa === 'relaxed'
      ? `Engine: WebAssembly relaxed SIMD ${on}, int8 dot products of class ${engineClass}.`
      : `Engine: WebAssembly SIMD ${on}. This browser has no relaxed SIMD; results are the same, only slower.`,
    threadChooser(state.threads, threads),
  );

  const app: App = { engine, modelName: '', modelBytes: 0, calibration: [], evaluation: [], chosen: [], isSample: false };
  const result = resultPanel(app, {
    change: (change) => quantize.change(change),
    measure: () => quantize.measure(),
    undo: () => quantize.undo(),
  });
  const draw = drawPanel(app);
  const quantize = quantizePanel(app, async () => {
    await result.show();
    await draw.show();
  });
  const pictures = picturesPanel(app, () => quantize.refresh());
  const model = modelPanel(app, {
    beforeChange: quantize.stop,
    onChange: () => {
      result.hide();
      void draw.hide();
      pictures.show();
      quantize.refresh();
    },
    onSampleReady: quantize.start,
  });
  quantize.refresh();
  document.documentElement.dataset.ready = 'true'; // tests wait for it
  if (state.sample) model.openSample();
  if (import.meta.env.PROD && 'serviceWorker' in navigator) {
    // Without it the page works, only not offline.
    navigator.serviceWorker.register(new URL('./sw.js', document.baseURI)).catch(() => {});
  }
}

void main();
