// Charts: bars of per-layer error, and a tensor's histogram with the int8 range drawn over it (uPlot).

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { h } from './dom.ts';

const cssColor = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A bar whose length is `fraction` of the width; for rows of a list. */
export function bar(fraction: number, color: string): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 100 6');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const rect = document.createElementNS(space, 'rect');
  rect.setAttribute('width', String(Math.max(0.5, Math.min(1, fraction) * 100)));
  rect.setAttribute('height', '6');
  rect.setAttribute('fill', color);
  svg.append(rect);
  return svg;
}

/** The largest magnitude of each channel before and after equalization, by their logarithm: one thin bar a channel. */
export function channelBars(values: number[], { low, high }: { low: number; high: number }): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', `0 0 ${values.length} 40`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('class', 'channels');
  values.forEach((value, i) => {
    const tall = high > low && value > 0 ? (40 * (Math.log2(value) - low)) / (high - low) : 40;
    const rect = document.createElementNS(space, 'rect');
    for (const [key, number] of Object.entries({ x: i, y: 40 - tall, width: 0.8, height: tall }))
      rect.setAttribute(key, String(Math.max(0, number)));
    rect.setAttribute('fill', 'var(--bar)');
    svg.append(rect);
  });
  return svg;
}

export interface Histogram {
  min: number;
  max: number;
  counts: number[];
  int8: number[];
}

/**
 * Draws how often each value occurred (log scale) and where int8's range [low, high] lies.
 * Returns the chart's destructor.
 */
export function histogramChart(target: HTMLElement, histogram: Histogram, range: { low: number; high: number }): () => void {
  const bins = histogram.counts.length;
  const width = (histogram.max - histogram.min) / bins || 1;
  const x = histogram.counts.map((_, i) => histogram.min + (i + 0.5) * width);
  const [y, outline] = [histogram.counts, histogram.int8].map((counts) => counts.map((n) => Math.log10(1 + n))) as [number[], number[]];
  const low = Math.min(histogram.min, range.low);
  const high = Math.max(histogram.max, range.high);
  const margin = (high - low || 1) * 0.03;

  const drawRange = (plot: uPlot): void => {
    const { ctx, bbox } = plot;
    const left = plot.valToPos(range.low, 'x', true);
    const right = plot.valToPos(range.high, 'x', true);
    ctx.save();
    ctx.fillStyle = cssColor('--good');
    ctx.globalAlpha = 0.12;
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    ctx.globalAlpha = 1;
    for (const edge of [left, right]) ctx.fillRect(edge - 1, bbox.top, 2, bbox.height);
    ctx.restore();
  };
  const ink = cssColor('--soft');
  const grid = { stroke: cssColor('--line'), width: 1 };
  const plot = new uPlot(
    {
      width: target.clientWidth || 320,
      height: 240,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: [low - margin, high + margin] }, y: { range: [0, Math.max(1, ...y, ...outline) * 1.05] } },
      axes: [
        { stroke: ink, grid, label: 'value', labelSize: 20 },
        {
          stroke: ink,
          grid,
          label: 'how often',
          labelSize: 20,
          size: 56,
          values: (_, ticks) => ticks.map((t) => (Number.isInteger(t) ? (t === 0 ? '0' : `1e${t}`) : '')),
        },
      ],
      series: [
        {},
        {
          fill: cssColor('--bar'),
          stroke: cssColor('--bar'),
          paths: uPlot.paths.bars?.({ size: [1, Number.POSITIVE_INFINITY], gap: 0 }) as uPlot.Series.PathBuilder,
          points: { show: false },
        },
        { stroke: cssColor('--ink'), width: 1, points: { show: false } },
      ],
      hooks: { draw: [drawRange] },
    },
    [x, y, outline],
    target,
  );
  const resize = new ResizeObserver(() => plot.setSize({ width: target.clientWidth, height: 240 }));
  resize.observe(target);
  target.append(
    h(
      'p',
      { className: 'hint' },
      'Bars: how often values occur in the float network, log scale; outline: in the int8 one. Shaded: what int8 can express; beyond it values are clipped.',
    ),
  );
  return () => {
    resize.disconnect();
    plot.destroy();
    target.replaceChildren();
  };
}
