// Whether engines compute the same network: asked before anyone is timed, in pages and in Node.

const allEqual = 999; // dB: infinity does not cross from a page

/** How far `actual` is from `expected`: the share of equal numbers, and the ratio of signal to difference in dB. */
export function agreement(expected, actual) {
  let [signal, noise, equal] = [0, 0, 0];
  expected.forEach((value, i) => {
    signal += value * value;
    noise += (value - actual[i]) ** 2;
    equal += value === actual[i] ? 1 : 0;
  });
  return { equal: equal / expected.length, decibels: noise === 0 ? allEqual : 10 * Math.log10(signal / noise) };
}

/**
 * The least agreement with Octavo at which an engine computes the same network. An int8 network is 30 dB and more from its float one; the
 * engines' roundings of sums and means differ by a step here and there. Float sums differ in their order.
 */
export const leastDecibels = { int8: 25, pairs: 25, float: 60 };

/**
 * Compares [{ engine, type, group, output }] with Octavo's output of the same group and gives each its `agreement`. Whoever computes
 * something else gets an `error` and loses its output.
 */
export function compareOutputs(rows) {
  for (const row of rows) {
    const ours = rows.find((one) => one.engine === 'octavo' && one.group === row.group && one.output);
    if (!ours || !row.output) continue;
    const sameLength = row.output.length === ours.output.length;
    if (sameLength) row.agreement = agreement(ours.output, row.output);
    if (sameLength && row.agreement.decibels >= leastDecibels[row.type]) continue;
    const how = sameLength ? `${row.agreement.decibels.toFixed(1)} dB from Octavo's output` : `${row.output.length} numbers`;
    row.error = `computes something else: ${how}`;
    delete row.output;
  }
}
