// Panel 4: gains and costs, side by side; downloads.

import { compare, InferenceSession, portabilityNotes, type QuantizeOptions, quantizeStatic, type Report, type TensorReport } from 'octavo';
import { type App, type Change, errorNotice, type Picture } from '../app.ts';
import { bar, channelBars, histogramChart } from '../charts.ts';
import { byId, h } from '../dom.ts';
import { bytes, decibels, milliseconds, number, onThreads, percent } from '../format.ts';
import { feeds, inputShapes, samples } from '../inputs.ts';
import { digitCanvas } from '../sample.ts';
import { allowed, readState, writeState } from '../state.ts';

/** Smaller is worse; what is exact or was not measured comes last. */
const damage = (a: TensorReport, b: TensorReport): number => (a.sqnr ?? Number.POSITIVE_INFINITY) - (b.sqnr ?? Number.POSITIVE_INFINITY);

const tile = (value: string, words: string): HTMLElement => h('div', { className: 'tile' }, h('b', {}, value), h('span', {}, words));

function download(data: Uint8Array | string, name: string, type: string): void {
  const part = typeof data === 'string' ? data : (data as Uint8Array<ArrayBuffer>);
  const url = URL.createObjectURL(new Blob([part], { type }));
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** The index and share of the largest value; the share after softmax where the values are not shares already. */
function best(values: ArrayLike<number>): { index: number; share: number } {
  const list = Array.from(values);
  const sum = list.reduce((a, b) => a + b, 0);
  const areShares = list.every((v) => v >= 0 && v <= 1) && Math.abs(sum - 1) < 1e-2;
  const top = Math.max(...list);
  const weights = areShares ? list : list.map((v) => Math.exp(v - top));
  const total = weights.reduce((a, b) => a + b, 0);
  const index = list.indexOf(top);
  return { index, share: (weights[index] ?? 0) / total };
}

/** A batch of one list of scores: [1, 1000], also [1, 1000, 1, 1]. */
const isScores = (shape: readonly number[]): boolean => shape[0] === 1 && shape.slice(1).filter((dim) => dim > 1).length === 1;

function thumb(picture: Picture): HTMLElement {
  if (picture.digit) return digitCanvas(picture.digit);
  const image = h('img', { alt: '' });
  if (picture.file) {
    const url = URL.createObjectURL(picture.file);
    image.src = url;
    image.addEventListener('load', () => URL.revokeObjectURL(url), { once: true });
  }
  return image;
}

interface Hands {
  /** Makes the result anew with one decision changed. */
  change: (change: Change) => void;
  /** Measures what each layer costs. */
  measure: () => void;
  /** Goes back to the result before the last change. */
  undo: () => void;
}

export function resultPanel(app: App, { change, measure, undo }: Hands): { show: () => Promise<void>; hide: () => void } {
  const section = byId('result');
  const out = byId('result-out');
  let clearChart = (): void => {};

  function layers(report: Report): HTMLElement {
    const inOrder = readState().order === 'network';
    const tensors = inOrder ? report.tensors : [...report.tensors].sort(damage);
    const chart = h('div', { className: 'chart' });
    const facts = h('div', {});
    const hands = h('div', {});
    // Longer bars than this would all look alike; the graph input, which is merely rounded, can be far above it.
    const largest = Math.min(60, Math.max(1, ...tensors.map((t) => t.sqnr ?? 0)));
    const rows = tensors.map((tensor) => {
      const sqnr = tensor.sqnr;
      const color = sqnr !== null && sqnr < 15 ? 'var(--bad)' : sqnr !== null && sqnr < 25 ? 'var(--warn)' : 'var(--bar)';
      const row = h(
        'button',
        { type: 'button', className: 'layer', aria: { pressed: 'false' }, on: { click: () => select(tensor.name) } },
        h('span', { className: 'name mono', title: `${tensor.op} ${tensor.node}` }, `${tensor.op || 'Input'} · ${tensor.name}`),
        h('span', { className: 'value' }, decibels(sqnr)),
        h('span', { className: 'track' }, bar((sqnr ?? largest) / largest, color)),
      );
      return row;
    });
    function select(name: string): void {
      const index = Math.max(
        0,
        tensors.findIndex((t) => t.name === name),
      );
      const tensor = tensors[index];
      if (!tensor) return;
      writeState({ layer: tensor.name });
      rows.forEach((row, i) => row.setAttribute('aria-pressed', String(i === index)));
      clearChart();
      facts.replaceChildren(
        h('h3', { className: 'mono' }, tensor.name),
        h(
          'dl',
          { className: 'facts' },
          h('dt', {}, 'Made by'),
          tensor.op
            ? h('dd', {}, `${tensor.op} `, h('span', { className: 'mono' }, tensor.node))
            : h('dd', {}, 'the caller: it is an input of the network'),
          h('dt', {}, 'Seen'),
          h('dd', {}, `${number(tensor.observedMin)} to ${number(tensor.observedMax)}`),
          h('dt', {}, 'Int8 range'),
          h('dd', {}, `${number(tensor.min)} to ${number(tensor.max)}, by ${tensor.observer}`),
          h('dt', {}, 'Code'),
          h('dd', {}, `${tensor.dtype}, scale ${number(tensor.scale)}, zero point ${tensor.zeroPoint}`),
          h('dt', {}, 'Signal to noise'),
          h('dd', {}, decibels(tensor.sqnr)),
        ),
      );
      hands.replaceChildren(decisions(tensor, report), channels(tensor) ?? '');
      clearChart = tensor.histogram ? histogramChart(chart, tensor.histogram, { low: tensor.min, high: tensor.max }) : (): void => {};
    }
    const first = readState().layer || [...tensors].sort((a, b) => (a.sqnr ?? 1e9) - (b.sqnr ?? 1e9))[0]?.name || '';
    queueMicrotask(() => select(first));
    const order = (): void => {
      writeState({ order: inOrder ? 'damage' : 'network' });
      const next = layers(report);
      list.replaceWith(next);
      next.querySelector('button')?.focus();
    };
    const list = h(
      'div',
      { id: 'layers' },
      h('h3', {}, 'Layer by layer'),
      h(
        'p',
        { className: 'hint' },
        'Signal-to-noise ratio of each int8 tensor against float: longer is better; under 15 dB a layer is worth a look. Choose one to see its values. ',
      ),
      h('p', {}, h('button', { type: 'button', id: 'order', on: { click: order } }, inOrder ? 'Sort by damage' : 'Sort as in the network')),
      h('div', { className: 'columns' }, h('div', { className: 'layers' }, ...rows), h('div', {}, facts, hands, chart)),
    );
    return list;
  }

  /** What a search for mixed precision found. */
  function budgetNotice({ budget }: Report): HTMLElement | null {
    if (!budget) return null;
    const { met, drop, int8Drop, maxDrop, float, milliseconds: more } = budget;
    const words = met
      ? float.length === 0
        ? `All layers are int8: ${percent(drop)} of the answers differ, ${percent(maxDrop)} may.`
        : `${float.length} of the layers stay float (${milliseconds(more)} more): ${percent(drop)} of the answers differ, ${percent(maxDrop)} may. All int8: ${percent(int8Drop)}.`
      : `No choice of float layers meets ${percent(maxDrop)}; the nearest differs in ${percent(drop)} of the answers.`;
    return h(
      'div',
      { className: met ? 'notice' : 'notice error', id: 'budget' },
      h('p', {}, words),
      float.length ? h('p', { className: 'mono' }, float.join(', ')) : null,
    );
  }

  /** What each layer costs by itself, the worst first; measured when asked for. */
  function sensitivity(report: Report): HTMLElement {
    const measured = report.sensitivity;
    if (!measured) {
      return h(
        'p',
        {},
        h('button', { type: 'button', id: 'measure-layers', on: { click: measure } }, 'What does each layer cost by itself?'),
      );
    }
    const worst = [...measured].sort((a, b) => b.alone.relativeRms - a.alone.relativeRms);
    // Layers of small networks take less than the hundredth of a millisecond that other times are told in.
    const time = (ms: number): string => (ms < 0.1 ? `${(ms * 1000).toFixed(0)}\u00a0µs` : milliseconds(ms));
    const share = (noise: number): string => `${(noise * 100).toFixed(2)}\u00a0%`;
    const isFloat = new Set(report.nodes.filter(({ fate }) => fate === 'float').map(({ name }) => name));
    return h(
      'details',
      { open: true, id: 'sensitivity' },
      h('summary', {}, 'What each layer costs by itself'),
      h(
        'p',
        { className: 'hint' },
        'Noise in the answer, as a share of its size: with this layer alone in int8, and with all before it too. Time of a run in float and in int8.',
      ),
      table(
        ['Layer', 'Alone', 'With all before', 'Float', 'Int8', ''],
        worst.map(({ node, op, alone, sequence, floatMs, int8Ms }) => [
          h('span', {}, `${op} `, h('span', { className: 'mono' }, node)),
          share(alone.relativeRms),
          share(sequence.relativeRms),
          time(floatMs),
          time(int8Ms),
          isFloat.has(node)
            ? 'is float'
            : h('button', { type: 'button', on: { click: () => change({ words: `${node} in float`, exclude: node }) } }, 'Keep in float'),
        ]),
        true,
      ),
    );
  }

  /** What a person can decide otherwise for one layer. */
  function decisions(tensor: TensorReport, report: Report): HTMLElement {
    const isFloat = report.nodes.some(({ name, fate }) => name === tensor.node && fate === 'float');
    const names = allowed('observer') ?? [];
    const select = h(
      'select',
      {
        id: 'observer-for',
        aria: { label: `What finds the range of ${tensor.name}` },
        on: {
          change: () => {
            const name = select.value as 'mse';
            change({ words: `${tensor.name}: range by ${name}`, observer: { tensor: tensor.name, name } });
          },
        },
      },
      ...[...new Set([tensor.observer, ...names])].map((name) =>
        h('option', { value: name, selected: name === tensor.observer }, `range by ${name}`),
      ),
    );
    return h(
      'p',
      { className: 'row' },
      tensor.op && !isFloat
        ? h(
            'button',
            {
              type: 'button',
              id: 'exclude-layer',
              on: { click: () => change({ words: `${tensor.node} in float`, exclude: tensor.node }) },
            },
            `Keep this ${tensor.op} in float`,
          )
        : null,
      select,
    );
  }

  /** Channels before and after equalization, where that changed them. */
  function channels({ channels: both }: TensorReport): HTMLElement | null {
    if (!both) return null;
    const logs = [...both.before, ...both.after].filter((value) => value > 0).map(Math.log2);
    const range = { low: Math.min(...logs) - 1, high: Math.max(...logs) };
    const row = (words: string, values: number[]): HTMLElement =>
      h(
        'div',
        {},
        h('small', {}, `${words}: ${number(Math.min(...values))} to ${number(Math.max(...values))}`),
        channelBars(values, range),
      );
    return h(
      'div',
      {},
      h('p', { className: 'hint' }, `Its ${both.before.length} channels were evened out; the largest value of each, log scale.`),
      row('Before', both.before),
      row('After', both.after),
    );
  }

  /** What was changed by hand since the last whole quantization, and the way back. */
  function changes(): HTMLElement | null {
    const { result } = app;
    if (!result?.before) return null;
    const words: string[] = [];
    for (let one: typeof result | undefined = result; one?.before; one = one.before.result) words.unshift(one.before.change);
    return h(
      'div',
      { className: 'notice', id: 'changes' },
      h('p', {}, 'Changed by hand: ', h('span', { className: 'mono' }, words.join('; '))),
      h('button', { type: 'button', id: 'undo', on: { click: undo } }, 'Undo the last'),
    );
  }

  /** Quantizes for the other target and lays both side by side. */
  function targets(): HTMLElement {
    const out = h('div', { id: 'targets-out', aria: { live: 'polite' } });
    const work = async (): Promise<void> => {
      const { result } = app;
      if (!result) return;
      button.disabled = true;
      out.replaceChildren(h('p', {}, 'Quantizing for the other target…'));
      try {
        const options = result.recipe.options as QuantizeOptions;
        const target = options.target === 'onnxruntime' ? 'octavo' : 'onnxruntime';
        const shown = app.evaluation.length ? app.evaluation : app.calibration.slice(0, 50);
        const image = result.recipe.image ? { image: result.recipe.image } : {};
        const other = await quantizeStatic(result.float, samples(app.calibration), { ...options, target, ...image }).result;
        try {
          const inputs = { inputShapes: options.inputShapes ?? {}, layers: false, ...image };
          const theirs = await compare(result.float, other.model, samples(shown), inputs);
          const ours = await compare(result.float, result.int8, samples(shown), inputs);
          const row = (name: string, one: typeof ours, size: number): string[] => [
            name,
            one.top1Agreement === null ? '–' : percent(one.top1Agreement),
            decibels(one.outputs[0]?.sqnr ?? null),
            milliseconds(one.milliseconds.b),
            bytes(size),
          ];
          out.replaceChildren(
            table(
              ['Target', 'Same answer', 'Signal to noise', 'A picture', 'File'],
              [
                row(`${options.target} (this result)`, ours, result.report.model.int8Bytes),
                row(target, theirs, other.report.model.int8Bytes),
              ],
            ),
          );
        } finally {
          await other.model.close();
        }
      } catch (error) {
        out.replaceChildren(errorNotice(error));
      } finally {
        button.disabled = false;
      }
    };
    const button = h(
      'button',
      { type: 'button', id: 'compare-targets', on: { click: () => void work() } },
      'What would the other target give?',
    );
    return h('div', {}, h('p', {}, button), out);
  }

  /** What one has to know before the file runs elsewhere. */
  function notes(report: Report): HTMLElement | null {
    const list = portabilityNotes(report);
    return list.length
      ? h('details', { id: 'notes' }, h('summary', {}, 'Before it runs elsewhere'), h('ul', {}, ...list.map((note) => h('li', {}, note))))
      : null;
  }

  /** The picture whose outputs differ most. */
  function worst(report: Report): HTMLElement | null {
    const { evaluation } = report;
    const shown = app.evaluation.length ? app.evaluation : app.calibration;
    const picture = evaluation ? shown[evaluation.worst.sample] : undefined;
    if (!picture || !evaluation) return null;
    return h(
      'p',
      { className: 'row', id: 'worst' },
      thumb(picture),
      h(
        'span',
        {},
        'The picture whose answer differs most: ',
        h('span', { className: 'mono' }, picture.name),
        `, by ${percent(evaluation.worst.relativeRms)} of the outputs’ size.`,
      ),
    );
  }

  /** `stacked`: on a narrow screen the cells of a row lie below each other. */
  const table = (head: string[], rows: (Node | string)[][], stacked = false): HTMLElement =>
    h(
      'div',
      { className: 'scroll' },
      h(
        'table',
        { className: stacked ? 'stacked' : '' },
        h('thead', {}, h('tr', {}, ...head.map((words) => h('th', { scope: 'col' }, words)))),
        h('tbody', {}, ...rows.map((row) => h('tr', {}, ...row.map((cell) => h('td', {}, cell))))),
      ),
    );

  async function predictions(): Promise<HTMLElement | null> {
    const result = app.result;
    if (!result) return null;
    const pictures = (app.evaluation.length ? app.evaluation : app.calibration).slice(0, 12);
    const shapes = { inputShapes: inputShapes(result.float, readState()), engine: app.engine };
    const float = await InferenceSession.create(result.float, shapes);
    const int8 = await InferenceSession.create(result.int8, shapes);
    try {
      const rows: (Node | string)[][] = [];
      let i = 0;
      for await (const feed of feeds(result.float, pictures, readState())) {
        const picture = pictures[i++];
        const name = float.outputNames[0] ?? '';
        const a = (await float.run(feed))[name];
        const b = (await int8.run(feed))[name];
        if (
          !picture ||
          !a ||
          !b ||
          !isScores(a.shape) ||
          float.outputNames.length !== 1 ||
          a.data instanceof BigInt64Array ||
          b.data instanceof BigInt64Array
        )
          return null;
        const x = best(a.data as ArrayLike<number>);
        const y = best(b.data as ArrayLike<number>);
        const cell = (p: { index: number; share: number }): string => `${app.isSample ? 'a' : 'class'} ${p.index} (${percent(p.share)})`;
        rows.push([
          thumb(picture),
          picture.label === undefined ? picture.name : `a ${picture.label}`,
          cell(x),
          h('span', { className: x.index === y.index ? '' : 'differs' }, cell(y), x.index === y.index ? '' : ' ≠'),
        ]);
      }
      return h('div', {}, h('h3', {}, 'The same pictures, both networks'), table(['', 'Picture', 'Float says', 'Int8 says'], rows));
    } finally {
      await float.close();
      await int8.close();
    }
  }

  async function show(): Promise<void> {
    const result = app.result;
    if (!result) return;
    section.hidden = false;
    clearChart();
    const { report } = result;
    const comparison = report.evaluation; // the quantize panel asks for it
    if (!comparison) return;
    out.replaceChildren(h('p', { role: 'status' }, 'Comparing float and int8…'));
    try {
      const ms = comparison.milliseconds;
      const stem = app.modelName.replace(/\.onnx$/i, '');
      const tiles = [
        tile(
          `${bytes(report.model.floatBytes)} → ${bytes(report.model.int8Bytes)}`,
          `${(report.model.floatBytes / report.model.int8Bytes).toFixed(1)} times smaller`,
        ),
        tile(
          `${milliseconds(ms.a)} → ${milliseconds(ms.b)}`,
          `a picture, ${onThreads(app.engine.features.threadCount)}: ${(ms.a / ms.b).toFixed(1)} times ${ms.a >= ms.b ? 'as fast' : 'the float speed'}`,
        ),
      ];
      if (comparison.top1Agreement !== null) {
        tiles.push(tile(percent(comparison.top1Agreement), `same answer as float, ${comparison.samples} pictures`));
      }
      if (comparison.top1) tiles.push(tile(`${percent(comparison.top1.a)} → ${percent(comparison.top1.b)}`, 'right answers, float → int8'));
      if (comparison.boxes && comparison.boxes.agreement !== null)
        tiles.push(
          tile(
            percent(comparison.boxes.agreement),
            `same boxes as float, at IoU 0.5, of ${comparison.boxes.boxes.a} in ${comparison.samples} pictures`,
          ),
        );
      const output = comparison.outputs[0];
      if (output) tiles.push(tile(decibels(output.sqnr), `signal to noise of output ${output.name}`));
      const folded = new Map<string, string>([
        ['folded', 'folded'],
        ['int8', 'int8 of its own'],
        ['float', 'float'],
      ]);
      const kinds = new Map<string, number>();
      for (const node of report.nodes) kinds.set(node.fate, (kinds.get(node.fate) ?? 0) + 1);
      out.replaceChildren(
        changes() ?? '',
        h('div', { className: 'tiles' }, ...tiles),
        app.evaluation.length
          ? ''
          : h(
              'p',
              { className: 'hint' },
              'Measured on the calibration pictures themselves; with 20 or more, a fifth is kept back for this.',
            ),
        h(
          'p',
          { className: 'row' },
          h(
            'button',
            {
              type: 'button',
              className: 'primary',
              id: 'download-model',
              on: {
                click: () => void save(async () => download(await result.int8.toONNX(), `${stem}.int8.onnx`, 'application/octet-stream')),
              },
            },
            'Download int8 ONNX',
          ),
          h(
            'button',
            {
              type: 'button',
              id: 'download-report',
              on: { click: () => void save(async () => download(report.toHTML(), `${stem}.report.html`, 'text/html')) },
            },
            'Report (HTML)',
          ),
          h(
            'button',
            {
              type: 'button',
              id: 'download-json',
              on: {
                click: () => void save(async () => download(JSON.stringify(report, null, 2), `${stem}.report.json`, 'application/json')),
              },
            },
            'Report (JSON)',
          ),
          h(
            'button',
            {
              type: 'button',
              id: 'download-recipe',
              on: {
                click: () =>
                  void save(async () => download(JSON.stringify(result.recipe, null, 2), `${stem}.recipe.json`, 'application/json')),
              },
            },
            'Recipe',
          ),
        ),
        h('div', { id: 'save-out' }),
        budgetNotice(report) ?? '',
        layers(report),
        sensitivity(report),
        (await predictions()) ?? '',
        worst(report) ?? '',
        targets(),
        notes(report) ?? '',
        report.batchNorm.length
          ? h(
              'details',
              { open: report.batchNorm.some((bn) => bn.fate !== 'folded') },
              h(
                'summary',
                {},
                `Batch normalization: ${[...folded].map(([fate, words]) => `${report.batchNorm.filter((bn) => bn.fate === fate).length} ${words}`).join(', ')}`,
              ),
              table(
                ['Node', 'Fate', 'Why'],
                [...report.batchNorm]
                  .sort((a, b) => Number(a.fate === 'folded') - Number(b.fate === 'folded'))
                  .map((bn) => [h('span', { className: 'mono' }, bn.name), folded.get(bn.fate) ?? bn.fate, bn.reason]),
                true,
              ),
            )
          : '',
        h(
          'details',
          {},
          h('summary', {}, `All ${report.nodes.length} operators: ${[...kinds].map(([fate, n]) => `${n} ${fate}`).join(', ')}`),
          table(
            ['Node', 'Operator', 'Fate', 'Why'],
            report.nodes.map((node) => [h('span', { className: 'mono' }, node.name), node.op, node.fate, node.reason]),
            true,
          ),
        ),
      );
    } catch (error) {
      out.replaceChildren(errorNotice(error));
    }
    byId('result-title').focus({ preventScroll: true });
    section.scrollIntoView({ block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
  }

  async function save(work: () => Promise<void>): Promise<void> {
    byId('save-out').replaceChildren();
    try {
      await work();
    } catch (error) {
      byId('save-out').replaceChildren(errorNotice(error));
    }
  }

  return {
    show,
    hide: (): void => {
      clearChart();
      clearChart = (): void => {};
      section.hidden = true;
      out.replaceChildren();
    },
  };
}
