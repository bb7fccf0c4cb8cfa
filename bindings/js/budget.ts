// Mixed precision: the fewest layers in float with which a budget of accuracy is met.

import type { CompareResult } from './compare.js';
import { OctavoError } from './errors.js';
import type { Model } from './model.js';

/** What may be lost, and how that is measured. */
export interface Budget {
  /**
   * - `top1`: the share of right answers that is lost; needs `evaluation.labels`
   * - `top1Agreement`: the share of answers that are not the float network's
   * - `sqnr`: noise as a share of the outputs' size; 0.1 is a signal-to-noise ratio of 20 dB
   * - a function that gives what is lost by a model, in any unit
   */
  metric: 'top1' | 'top1Agreement' | 'sqnr' | ((measured: { model: Model; comparison: CompareResult }) => number | Promise<number>);
  /** The most that may be lost, in the metric's unit. */
  maxDrop: number;
}

/** What the search found. */
export interface BudgetReport {
  metric: string;
  maxDrop: number;
  /** Whether the result meets it; otherwise it is the nearest that was found. */
  met: boolean;
  /** What the result loses, and what it would lose with every layer in int8. */
  drop: number;
  int8Drop: number;
  /** The layers that stay float for it. */
  float: string[];
  /** The milliseconds of a run that these cost, by the layers' times in this engine. */
  milliseconds: number;
  /** How many networks were measured. */
  tried: number;
}

/** A layer that could stay float: what it costs the outputs in int8 (`noise`, a share), and a run in float (`milliseconds` more). */
export interface Candidate {
  node: string;
  noise: number;
  milliseconds: number;
}

const invalid = (what: string, hint: string): OctavoError =>
  new OctavoError({ code: 'INVALID_OPTION', what, where: "option 'budget'", hint });

/** @throws OctavoError INVALID_OPTION */
export function checkBudget(budget: Budget, hasLabels: boolean): void {
  const { metric, maxDrop } = budget;
  const names = ['top1', 'top1Agreement', 'sqnr'];
  if (typeof metric !== 'function' && !names.includes(metric))
    throw invalid(`There is no metric ${JSON.stringify(metric)}.`, `Use one of: ${names.join(', ')}; or a function.`);
  if (typeof maxDrop !== 'number' || !Number.isFinite(maxDrop))
    throw invalid(`maxDrop is ${String(maxDrop)}.`, 'Give a number, as { metric: "top1Agreement", maxDrop: 0.01 }.');
  if (metric === 'top1' && !hasLabels)
    throw invalid("'top1' needs to know the right answers.", 'Give evaluation: { samples, labels }, or take top1Agreement.');
}

/** What a model loses. @throws OctavoError INVALID_OPTION where the network's outputs do not have that metric */
export async function measureDrop(budget: Budget, model: Model, comparison: CompareResult): Promise<number> {
  const { metric } = budget;
  if (typeof metric === 'function') {
    const drop = await metric({ model, comparison });
    if (typeof drop !== 'number' || Number.isNaN(drop)) throw invalid('The metric gave no number.', 'Return how much is lost.');
    return drop;
  }
  if (metric === 'top1' && comparison.top1) return comparison.top1.a - comparison.top1.b;
  if (metric === 'top1Agreement' && comparison.top1Agreement !== null) return 1 - comparison.top1Agreement;
  if (metric === 'sqnr') return Math.max(...comparison.outputs.map(({ relativeRms }) => relativeRms));
  throw invalid(`The network's outputs are no list of scores, so there is no ${metric}.`, 'Use sqnr, or a function.');
}

/** More would take longer than a person waits; found sets only grow by what is left out. */
const mostToLeaveOut = 12;

/**
 * Looks for the fewest milliseconds of float layers with which `attempt` loses at most `maxDrop`: layers in the order of noise for the time that they
 * save, as many as are needed (by doubling, then by halves), then without each that turns out not to be needed, the dearest first.
 *
 * @returns the float layers of the best attempt: one that meets the budget, or else the one that loses least
 */
export async function searchFloatLayers(
  candidates: Candidate[],
  { maxDrop, int8Drop }: { maxDrop: number; int8Drop: number },
  attempt: (float: string[]) => Promise<number>,
): Promise<string[]> {
  // A layer that costs nothing in float still counts as a little, or it would come first whatever it is worth.
  const least = candidates.reduce((sum, { milliseconds }) => sum + Math.max(0, milliseconds), 0) / 100 || 1;
  const worth = ({ noise, milliseconds }: Candidate): number => noise ** 2 / (Math.max(0, milliseconds) + least);
  const order = [...candidates].sort((a, b) => worth(b) - worth(a));
  const drops = new Map([[0, int8Drop]]); // by how many of `order` are float
  const dropOf = async (count: number): Promise<number> => {
    const known = drops.get(count) ?? (await attempt(order.slice(0, count).map(({ node }) => node)));
    drops.set(count, known);
    return known;
  };

  let [low, high] = [0, 1];
  while (high < order.length && (await dropOf(high)) > maxDrop) [low, high] = [high, 2 * high];
  high = Math.min(high, order.length);
  if ((await dropOf(high)) > maxDrop) {
    const [best] = [...drops].reduce((a, b) => (b[1] < a[1] ? b : a));
    return order.slice(0, best).map(({ node }) => node);
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if ((await dropOf(middle)) > maxDrop) low = middle;
    else high = middle;
  }

  let chosen = order.slice(0, high);
  // The last one is needed: without it the budget was missed.
  const doubtful = chosen.slice(0, -1).sort((a, b) => b.milliseconds - a.milliseconds);
  for (const one of doubtful.slice(0, mostToLeaveOut)) {
    const rest = chosen.filter((other) => other !== one);
    if ((await attempt(rest.map(({ node }) => node))) <= maxDrop) chosen = rest;
  }
  return chosen.map(({ node }) => node);
}
