// What a quantization did and what it cost: an object, JSON, and one HTML file that needs nothing else.

import type { BudgetReport } from './budget.js';
import type { CompareResult } from './compare.js';

export type Fate = 'int8' | 'float' | 'folded' | 'fused' | 'removed';

export interface NodeReport {
  name: string;
  op: string;
  fate: Fate;
  reason: string;
  /** The node that it was folded or fused into. */
  into?: string;
}
export interface TensorReport {
  name: string;
  /** Who makes it. */
  node: string;
  op: string;
  dtype: string;
  scale: number;
  zeroPoint: number;
  /** What the codes can express. */
  min: number;
  max: number;
  /** What was asked for, of which `scale` and `zeroPoint` are made. */
  range: [number, number];
  /** Over the samples that were fed. */
  observedMin: number;
  observedMax: number;
  /** What found the range; 'given' where it was an option. */
  observer: string;
  /** Signal to noise against float in dB; null where equal or not measured. */
  sqnr: number | null;
  /** Of the float values (`counts`) and of the int8 ones, over what was seen. */
  histogram: { min: number; max: number; counts: number[]; int8: number[] } | null;
  /** The largest magnitude of each channel, before and after equalization; only where that changed it. */
  channels?: { before: number[]; after: number[] };
}
/** What an int8 layer costs the outputs: noise as a share of their size, and in dB (null where there is none). */
export interface LayerSensitivity {
  node: string;
  op: string;
  /** With this layer in int8 and all others in float. */
  alone: { sqnr: number | null; relativeRms: number };
  /** With this layer and all before it in int8. */
  sequence: { sqnr: number | null; relativeRms: number };
  /** Its time in a run of the float and of the int8 network; what was fused into it is in it, and 0 is in the time of another. */
  floatMs: number;
  int8Ms: number;
}
/** What a target costs, beside the float network. */
export interface TargetCost {
  target: 'octavo' | 'onnxruntime';
  /** On how many samples. */
  samples: number;
  /** The share of right answers; null without labels. */
  top1: number | null;
  /** The share of answers that are the float network's; null where the outputs are no scores. */
  top1Agreement: number | null;
  /** Noise as a share of the output's size, of the worst output. */
  relativeRms: number;
  /** Median of a run in this engine. */
  milliseconds: number;
  /** Of the ONNX file. */
  bytes: number;
}
/** The shape is src/quantize/report.h's, with `evaluation`, `budget` and `targets`. */
export interface ReportData {
  version: number;
  /** `opset` is the float file's. */
  model: { name: string; opset: number; floatBytes: number; int8Bytes: number };
  options: Record<string, unknown>;
  samples: number;
  /** How many of them weights and channels were fitted to: 32, or 0 where there were fewer or nothing is fitted. */
  fittedSamples: number;
  nodes: NodeReport[];
  batchNorm: { name: string; fate: 'folded' | 'int8' | 'float'; reason: string }[];
  tensors: TensorReport[];
  /** `codes` is the FNV-1a of the codes of weights and bias; `pairSafe` is there where it was asked for. */
  weights: { name: string; node: string; scheme: string; sqnr: number | null; codes: string; pairSafe?: boolean }[];
  outputs: { name: string; sqnr: number | null; relativeRms: number }[];
  /** On the evaluated samples, as `outputs` and the tensors' sqnr are; of samples that calibration did not see tells `evaluation`. */
  top1Agreement: number | null;
  /** How many of the calibration samples float and int8 were compared on. */
  evaluatedSamples: number;
  /** Medians over the evaluated samples, one thread. */
  latency: { floatMs: number; int8Ms: number };
  /** Float (a) and int8 (b) on the `evaluation` samples; null where none were given. */
  evaluation: CompareResult | null;
  /** Where option `sensitivity` asked for it: every int8 layer, in the order of the network, on the evaluated samples. */
  sensitivity: LayerSensitivity[] | null;
  /** What a search for mixed precision found; null without a budget. */
  budget: BudgetReport | null;
  /** This result's target and the other one, where option `compareTargets` asked for it. */
  targets: TargetCost[] | null;
  /** What was computed for this result: ranges that were searched for, layers that were fitted, nodes that the sensitivity ran. */
  work: { calibrated: number; fitted: number; nodesRun: number };
}

export interface Report extends ReportData {}
export class Report {
  constructor(data: ReportData) {
    Object.assign(this, data);
  }
  toJSON(): ReportData {
    return { ...this };
  }
  /** One self-contained page: no script, no request; every name from the model is escaped. */
  toHTML(): string {
    return renderHTML(this);
  }
}

/** Which weights are pair safe; empty where that was not asked for. */
function pairSafeWords({ weights }: ReportData): string {
  const asked = weights.filter(({ pairSafe }) => pairSafe !== undefined);
  if (asked.length === 0) return '';
  const safe = asked.filter(({ pairSafe }) => pairSafe).length;
  const which = safe === asked.length ? 'These' : `Those of ${safe} of ${asked.length} layers`;
  return ` ${which} are pair safe in the order in which Octavo pairs them, which need not be that of another runtime.`;
}

/** What one has to know before the int8 file runs in other runtimes, a sentence each. */
export function portabilityNotes(report: ReportData): string[] {
  const { activation, weight, target } = report.options as {
    activation?: { dtype?: string };
    weight?: { reduceRange?: boolean; pairSafe?: boolean | 'auto' };
    target?: string;
  };
  const says: [boolean, string][] = [
    [
      activation?.dtype === 'qint8',
      'Activations are int8: ONNX Runtime has integer kernels for uint8 activations on x86 and in WebAssembly, and converts or falls back to float there.',
    ],
    [
      weight?.reduceRange !== true,
      `Weights use all 8 bits: ONNX Runtime on x86 with AVX2 but without VNNI adds pairs of products in 16 bits, which can saturate. Octavo does not; reduceRange makes 7-bit weights that are safe there too.${pairSafeWords(report)}`,
    ],
    [
      report.model.opset < 13,
      `The float file has opset ${report.model.opset}, the int8 file a later one: scales for each channel need 13. A runtime that is as old as the float file will not read it.`,
    ],
    [
      target === 'octavo',
      "Logits and pooled features stay float (target 'octavo'): every runtime reads the file and gives the same codes, but those layers run in float; target 'onnxruntime' puts them in int8 too, at some cost in error.",
    ],
  ];
  return says.filter(([applies]) => applies).map(([, note]) => note);
}

const escapes: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escape = (text: unknown): string => String(text).replace(/[&<>"']/g, (c) => escapes[c] ?? c);
const decibels = (x: number | null): string => (x === null ? 'exact' : `${x.toFixed(1)} dB`);
const short = (x: number): string =>
  (Math.abs(x) >= 1e-3 && Math.abs(x) < 1e6) || x === 0 ? String(Number(x.toPrecision(4))) : x.toExponential(2);
const kilobytes = (n: number): string => (n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(2)} MB`);

const style = `
:root{color-scheme:light dark;--paper:#fff;--ink:#1d2530;--soft:#57606d;--line:#d8d8d2;--bar:#7ba3c9;--low:#c8553d;--range:#2b7a4b}
@media (prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#e7e9ec;--soft:#a3adb8;--line:#38414b;--bar:#4d7aa5;--low:#e0806b;--range:#6fc792}}
body{margin:0 auto;padding:1rem;max-width:70rem;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}code{font-size:.92em;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft)}.scroll{overflow-x:auto}.soft{color:var(--soft)}svg{display:block;max-width:100%}
.tiles{display:flex;flex-wrap:wrap;gap:1.5rem}.tiles b{display:block;font-size:1.4rem}
details{border-bottom:1px solid var(--line);padding:.2rem 0}summary{display:grid;grid-template-columns:minmax(0,1fr) 5rem;gap:0 .6rem;cursor:pointer}
summary svg{grid-column:1/-1}.name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.num{text-align:right;font-variant-numeric:tabular-nums}`;

function histogram(tensor: TensorReport): string {
  const { histogram: h } = tensor;
  if (!h || h.counts.length === 0) return '';
  const [width, height] = [640, 140];
  const low = Math.min(h.min, tensor.min);
  const high = Math.max(h.max, tensor.max);
  const x = (value: number): number => (high > low ? ((value - low) / (high - low)) * width : width / 2);
  const top = Math.log10(1 + Math.max(...h.counts, ...h.int8));
  const step = (h.max - h.min) / h.counts.length;
  const bars = h.counts
    .map((count, i) => {
      const tall = top > 0 ? (Math.log10(1 + count) / top) * (height - 20) : 0;
      const left = x(h.min + i * step);
      return count === 0
        ? ''
        : `<rect x="${left.toFixed(1)}" y="${(height - 16 - tall).toFixed(1)}" width="${Math.max(0.5, x(h.min + (i + 1) * step) - left).toFixed(2)}" height="${tall.toFixed(1)}"/>`;
    })
    .join('');
  const outline = h.int8
    .map((count, i) => {
      const y = (height - 16 - (top > 0 ? (Math.log10(1 + count) / top) * (height - 20) : 0)).toFixed(1);
      return `${i === 0 ? 'M' : 'L'}${x(h.min + i * step).toFixed(1)} ${y}H${x(h.min + (i + 1) * step).toFixed(1)}`;
    })
    .join('');
  const edge = (value: number): string => `<rect x="${(x(value) - 1).toFixed(1)}" y="0" width="2" height="${height - 16}"/>`;
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="Histogram of values from ${short(h.min)} to ${short(h.max)}; int8 expresses ${short(tensor.min)} to ${short(tensor.max)}">
<g fill="var(--range)" opacity=".12"><rect x="${x(tensor.min).toFixed(1)}" y="0" width="${(x(tensor.max) - x(tensor.min)).toFixed(1)}" height="${height - 16}"/></g>
<g fill="var(--bar)">${bars}</g><path d="${outline}" fill="none" stroke="var(--ink)"/><g fill="var(--range)">${edge(tensor.min)}${edge(tensor.max)}</g>
<text x="0" y="${height - 3}" font-size="12" fill="var(--soft)">${short(low)}</text><text x="${width}" y="${height - 3}" font-size="12" text-anchor="end" fill="var(--soft)">${short(high)}</text></svg>`;
}

/** A row of bars, one a channel, by the logarithm of its largest magnitude. */
function channelBars(words: string, values: number[], low: number, high: number): string {
  const bars = values
    .map((value, i) => {
      const tall = value > 0 && high > low ? (40 * (Math.log2(value) - low)) / (high - low) : 0;
      return `<rect x="${i}" y="${(40 - tall).toFixed(1)}" width=".8" height="${tall.toFixed(1)}"/>`;
    })
    .join('');
  const range = `${short(Math.min(...values))} to ${short(Math.max(...values))}`;
  return `<p class="soft">${words}: ${range}</p><svg viewBox="0 0 ${values.length} 40" preserveAspectRatio="none" width="100%" height="40" role="img" aria-label="${words}, channel by channel: ${range}"><g fill="var(--bar)">${bars}</g></svg>`;
}
function channelCharts({ channels }: TensorReport): string {
  if (!channels) return '';
  const logs = [...channels.before, ...channels.after].filter((value) => value > 0).map(Math.log2);
  const [low, high] = [Math.min(...logs) - 1, Math.max(...logs)];
  return `${channelBars('Channels before equalization', channels.before, low, high)}${channelBars('After', channels.after, low, high)}`;
}

function tensorRow(tensor: TensorReport, largest: number): string {
  const share = Math.max(0.005, Math.min(1, (tensor.sqnr ?? largest) / largest));
  const color = tensor.sqnr !== null && tensor.sqnr < 15 ? 'var(--low)' : 'var(--bar)';
  return `<details><summary><span class="name"><code>${escape(tensor.name)}</code> <span class="soft">${escape(tensor.op)}</span></span><span class="num">${decibels(tensor.sqnr)}</span>
<svg viewBox="0 0 100 3" preserveAspectRatio="none" width="100%" height="5" aria-hidden="true"><rect width="${(share * 100).toFixed(1)}" height="3" fill="${color}"/></svg></summary>
<p>Seen ${short(tensor.observedMin)} to ${short(tensor.observedMax)}; int8 expresses ${short(tensor.min)} to ${short(tensor.max)} (${escape(tensor.dtype)}, scale ${short(tensor.scale)}, zero point ${tensor.zeroPoint}, ${escape(tensor.observer)}).</p>${histogram(tensor)}${channelCharts(tensor)}</details>`;
}

function table(head: string[], rows: string[][]): string {
  return `<div class="scroll"><table><thead><tr>${head.map((cell) => `<th scope="col">${cell}</th>`).join('')}</tr></thead><tbody>${rows
    .map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join('')}</tr>`)
    .join('')}</tbody></table></div>`;
}

function sensitivityTable(layers: LayerSensitivity[]): string {
  const worst = [...layers].sort((a, b) => b.alone.relativeRms - a.alone.relativeRms);
  return `<h2>What each layer costs by itself</h2><p class="soft">Noise in the outputs, as a share of their size: with this layer alone in int8, and with all before it too. Time of a run in float and in int8.</p>${table(
    ['Layer', 'Operator', 'Alone', 'With all before', 'Float', 'Int8'],
    worst.map(({ node, op, alone, sequence, floatMs, int8Ms }) => [
      `<code>${escape(node)}</code>`,
      escape(op),
      percent(alone.relativeRms),
      percent(sequence.relativeRms),
      `${floatMs.toFixed(3)} ms`,
      `${int8Ms.toFixed(3)} ms`,
    ]),
  )}`;
}

function targetsTable(targets: TargetCost[]): string {
  return `<h2>What the target costs</h2><p class="soft">Against float, on ${targets[0]?.samples ?? 0} samples; the first is this result.</p>${table(
    ['Target', 'Same answer', 'Right answers', 'Noise', 'A run', 'File'],
    targets.map(({ target, top1Agreement, top1, relativeRms, milliseconds, bytes }) => [
      target,
      top1Agreement === null ? '–' : percent(top1Agreement),
      top1 === null ? '–' : percent(top1),
      `${(100 * relativeRms).toFixed(2)} %`,
      `${milliseconds.toFixed(3)} ms`,
      kilobytes(bytes),
    ]),
  )}`;
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

function evaluationTiles(evaluation: CompareResult | null, tile: (value: string, words: string) => string): string[] {
  if (!evaluation) return [];
  const { samples, top1Agreement, top1, boxes, worst } = evaluation;
  return [
    ...(top1Agreement === null
      ? []
      : [tile(percent(top1Agreement), `same answer as float, on ${samples} samples that calibration did not see`)]),
    ...(boxes && boxes.agreement !== null ? [tile(percent(boxes.agreement), `same boxes as float at IoU 0.5, of ${boxes.boxes.a}`)] : []),
    tile(percent(worst.relativeRms), `of the outputs' size is the largest error, on sample ${worst.sample}`),
    ...(top1 ? [tile(`${percent(top1.a)} → ${percent(top1.b)}`, 'right answers, float → int8')] : []),
  ];
}

function renderHTML(report: ReportData): string {
  const { model, latency } = report;
  const largest = Math.max(1, ...report.tensors.map((tensor) => tensor.sqnr ?? 0));
  const tile = (value: string, words: string): string => `<div><b>${value}</b><span class="soft">${words}</span></div>`;
  const tiles = [
    tile(`${kilobytes(model.floatBytes)} → ${kilobytes(model.int8Bytes)}`, 'size of the ONNX file'),
    tile(`${latency.floatMs.toFixed(2)} → ${latency.int8Ms.toFixed(2)} ms`, 'median of a run, float → int8, one thread'),
    ...report.outputs.map((output) =>
      tile(
        decibels(output.sqnr),
        `signal to noise of output <code>${escape(output.name)}</code>, on ${report.evaluatedSamples} calibration samples`,
      ),
    ),
    ...(report.top1Agreement === null || report.evaluation
      ? []
      : [tile(percent(report.top1Agreement), `same answer as float, on ${report.evaluatedSamples} calibration samples`)]),
    ...evaluationTiles(report.evaluation, tile),
    ...(report.budget
      ? [
          tile(
            report.budget.met ? 'met' : 'missed',
            `budget of ${report.budget.maxDrop} ${escape(report.budget.metric)}: loses ${short(report.budget.drop)} with ${report.budget.float.length} layers in float`,
          ),
        ]
      : []),
  ];
  const byDamage = [...report.tensors].sort((a, b) => (a.sqnr ?? Number.POSITIVE_INFINITY) - (b.sqnr ?? Number.POSITIVE_INFINITY));
  const notes = portabilityNotes(report);
  const code = (text: string): string => `<code>${escape(text)}</code>`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Quantization report: ${escape(model.name)}</title><style>${style}</style></head><body>
<h1>Quantization report: ${escape(model.name)}</h1>
<p class="soft">Made by Octavo from ${report.samples} calibration samples.</p>
<div class="tiles">${tiles.join('')}</div>
<h2>Error by tensor</h2><p class="soft">Signal-to-noise ratio of int8 against float on ${report.evaluatedSamples} calibration samples, the most damaged first; longer is better, and below 15 dB a layer is worth a look. Open one for its histogram (log scale; bars: float, outline: int8) and the range of int8.</p>
${byDamage.map((tensor) => tensorRow(tensor, largest)).join('\n')}
${report.sensitivity ? sensitivityTable(report.sensitivity) : ''}
${report.targets ? targetsTable(report.targets) : ''}
${
  report.batchNorm.length
    ? `<h2>Batch normalization</h2>${table(
        ['Node', 'Fate', 'Why'],
        report.batchNorm.map((bn) => [code(bn.name), escape(bn.fate), escape(bn.reason)]),
      )}`
    : ''
}
<h2>Weights</h2>${table(
    ['Tensor', 'Node', 'Scheme', 'SQNR'],
    report.weights.map((w) => [code(w.name), code(w.node), escape(w.scheme), decibels(w.sqnr)]),
  )}
<h2>Operators</h2>${table(
    ['Node', 'Operator', 'Fate', 'Why'],
    report.nodes.map((node) => [code(node.name), escape(node.op), escape(node.fate), escape(node.reason)]),
  )}
${notes.length ? `<h2>Before it runs elsewhere</h2><ul>${notes.map((note) => `<li>${escape(note)}</li>`).join('')}</ul>` : ''}
<h2>Options</h2><pre><code>${escape(JSON.stringify(report.options, null, 2))}</code></pre>
</body></html>
`;
}
