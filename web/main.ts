// The demo page: three panels in, two out. Everything happens in this browser.

import { createEngine, type Engine } from 'octavo';
import { type App, errorNotice } from './app.ts';
import { byId } from './dom.ts';
import { drawPanel } from './panels/draw.ts';
import { modelPanel } from './panels/model.ts';
import { picturesPanel } from './panels/pictures.ts';
import { quantizePanel } from './panels/quantize.ts';
import { resultPanel } from './panels/result.ts';
import { readState } from './state.ts';

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
  const { isa, engineClass, threadCount } = engine.features;
  const on = threadCount === 1 ? 'on one thread' : `on ${threadCount} threads`;
  byId('engine').textContent =
    isa === 'relaxed'
      ? `Engine: WebAssembly relaxed SIMD ${on}, int8 dot products of class ${engineClass}.`
      : `Engine: WebAssembly SIMD ${on}. This browser has no relaxed SIMD; results are the same, only slower.`;

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
