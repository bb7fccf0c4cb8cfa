// What the panels share: the engine, the loaded network, the chosen pictures, the last result.

import { type Engine, type Model, OctavoError, type QuantizeOptions, type QuantizeResult, type Recipe, type Report } from 'octavo';
import { h } from './dom.ts';

/** One picture as the page keeps it: raw pixels or a file, perhaps with its label. */
export interface Picture {
  name: string;
  file?: File;
  /** 28 x 28 grey bytes of a digit of the built-in sample. */
  digit?: Uint8Array;
  label?: number;
}

export interface Result {
  float: Model;
  int8: Model;
  report: Report;
  recipe: Recipe;
  /** What is kept of the quantization, for changes. */
  source: Pick<QuantizeResult, 'change' | 'close'>;
  /** The one that this was made of by changing a single decision, in words. */
  before?: { result: Result; change: string };
}

/** One decision about one layer, as a person makes it in the result; without `words` nothing is decided, only measured. */
export interface Change {
  words?: string;
  sensitivity?: boolean;
  exclude?: string;
  observer?: { tensor: string; name: NonNullable<NonNullable<QuantizeOptions['observerOverrides']>[string]> };
}

export interface App {
  engine: Engine;
  model?: Model;
  modelName: string;
  modelBytes: number;
  /** Watched while calibrating. */
  calibration: Picture[];
  /** Compared afterwards; never used for calibration where there are enough. */
  evaluation: Picture[];
  /** All pictures in the order in which they were chosen. */
  chosen: Picture[];
  isSample: boolean;
  /** What the next quantization follows to the byte, instead of the form. */
  recipe?: Recipe;
  result?: Result;
}

/** Frees a result and those that it came from. The float model stays. */
export async function closeResult(result: Result | undefined): Promise<void> {
  await result?.source.close();
  for (let one = result; one; one = one.before?.result) await one.int8.close();
}

/** An error as the page shows it: what, where, what would work, and every further finding. */
export function errorNotice(error: unknown): HTMLElement {
  if (error instanceof OctavoError) {
    const findings = (error.all ?? []).slice(0, 12);
    const left = (error.all?.length ?? 0) - findings.length;
    return h(
      'div',
      { className: 'notice error', role: 'alert' },
      h('strong', {}, error.what),
      error.where && findings.length === 0 ? h('p', {}, 'Where: ', h('span', { className: 'mono' }, error.where)) : null,
      findings.length
        ? h(
            'ul',
            {},
            ...findings.map((one) => h('li', {}, h('span', { className: 'mono' }, one.where), ': ', one.what)),
            left > 0 ? h('li', {}, `and ${left} more`) : null,
          )
        : null,
      error.hint ? h('p', {}, error.hint) : null,
      h('p', { className: 'code' }, error.code),
    );
  }
  const message = error instanceof Error ? error.message : String(error);
  return h('div', { className: 'notice error', role: 'alert' }, h('strong', {}, message));
}

export const isAbort = (error: unknown): boolean => error instanceof OctavoError && error.code === 'ABORTED';
