// Numbers as a person reads them; a unit stays with its number (\u00a0).

export function bytes(n: number): string {
  if (n < 1000) return `${n}\u00a0B`;
  if (n < 1e6) return `${(n / 1e3).toPrecision(3)}\u00a0kB`;
  return `${(n / 1e6).toPrecision(3)}\u00a0MB`;
}

export function count(n: number): string {
  if (n < 1e4) return n.toLocaleString('en');
  if (n < 1e6) return `${(n / 1e3).toPrecision(3)} k`;
  if (n < 1e9) return `${(n / 1e6).toPrecision(3)} M`;
  return `${(n / 1e9).toPrecision(3)} G`;
}

export function milliseconds(n: number): string {
  if (n >= 100) return `${n.toFixed(0)}\u00a0ms`;
  if (n >= 1) return `${n.toPrecision(3)}\u00a0ms`;
  return `${n.toFixed(2)}\u00a0ms`;
}

export const onThreads = (n: number): string => (n === 1 ? 'on one thread' : `on ${n} threads`);

export function percent(fraction: number): string {
  return `${(fraction * 100).toFixed(1)}\u00a0%`;
}

export function decibels(sqnr: number | null): string {
  return sqnr === null ? 'exact' : `${sqnr.toFixed(1)} dB`;
}

export function number(n: number): string {
  return Math.abs(n) >= 1e-3 || n === 0 ? String(Number(n.toPrecision(4))) : n.toExponential(2);
}
