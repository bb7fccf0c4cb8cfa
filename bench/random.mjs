// Numbers that are the same for a seed on every machine, in Node and in a page.

/** Numbers in [0, 1). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A tensor, { data, shape }, of numbers in [-1, 1). */
export function sample(shape, seed = 1) {
  const next = random(seed);
  const length = shape.reduce((all, dim) => all * dim, 1);
  return { data: Float32Array.from({ length }, () => 2 * next() - 1), shape };
}
