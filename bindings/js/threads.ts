// How many threads an engine gets.

import { OctavoError } from './errors.js';
import { hasThreads, isNode } from './features.js';
import { type LoadOptions, lacksThreads } from './load.js';

export interface ThreadOptions {
  /**
   * On how many threads networks run. Default 'auto': half of the logical processors, as the other half usually shares their
   * arithmetic, but 2 where there are 2, and 4 at most. Where the page is not cross-origin isolated, or the browser does not start them, it is one, with
   * a warning. In the caller's own thread ({ worker: false }) 'auto' is one; a number counts the caller, which does its share of each run and,
   * where it is a page's, waits for the others without sleeping.
   */
  threads?: 'auto' | number | undefined;
}

/** More than any page has use for; each has a worker. */
const mostThreads = 64;
/** Layers of small networks do not keep more of them busy. */
const mostAutomatic = 4;

async function processors(): Promise<number> {
  if (!isNode()) return navigator.hardwareConcurrency || 1;
  const { availableParallelism } = await import(/* @vite-ignore */ 'node:os');
  return availableParallelism();
}

let warned = false;
function warnOnce(): void {
  if (warned) return;
  warned = true;
  console.warn(
    'Octavo runs on one thread, since this page is not cross-origin isolated. Serve it with the headers ' +
      '`Cross-Origin-Opener-Policy: same-origin` and `Cross-Origin-Embedder-Policy: require-corp`, or ask for { threads: 1 }.',
  );
}

/**
 * The number of threads to start.
 *
 * @throws OctavoError INVALID_OPTION where several are asked for that cannot be had in any page
 */
export async function chooseThreads(options: ThreadOptions & LoadOptions & { worker?: boolean }): Promise<number> {
  const { threads = 'auto', worker = true } = options;
  const bad = (what: string, hint: string): OctavoError => new OctavoError({ code: 'INVALID_OPTION', what, where: 'createEngine', hint });
  if (threads !== 'auto' && !(Number.isInteger(threads) && threads >= 1 && threads <= mostThreads))
    throw bad(`threads = ${String(threads)} is no number of threads.`, `Use 'auto' or a whole number from 1 to ${mostThreads}.`);
  if (threads === 1) return 1;
  // The caller's thread looks for work as long as a run takes, which is for the caller to ask for.
  if (!worker && threads === 'auto') return 1;
  if (lacksThreads(options)) {
    if (threads === 'auto') return 1;
    throw bad(
      `threads = ${threads} needs a module with threads; \`wasmUrl\` or \`wasmBinary\` names none.`,
      "Add the keys 'simd.threads' and 'relaxed.threads', or use { threads: 1 }.",
    );
  }
  const there = threads === 'auto' ? await processors() : threads;
  const wanted = threads === 'auto' ? Math.min(there, Math.max(2, Math.ceil(there / 2)), mostAutomatic) : threads;
  if (wanted > 1 && !hasThreads()) {
    warnOnce();
    return 1;
  }
  return wanted;
}
