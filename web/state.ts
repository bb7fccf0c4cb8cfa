// What the page shows, kept in the URL hash so that every view is a link and a reload keeps the choices.

const fields = {
  sample: ['', 'digits'],
  isa: ['', 'simd', 'relaxed'],
  threads: ['auto', '1', '2', '3', '4'],
  observer: ['mse', 'auto', 'percentile', 'entropy', 'minmax', 'histogram', 'movingAverage'],
  bn: ['auto', 'fold', 'quantized', 'float'],
  target: ['octavo', 'onnxruntime'],
  budget: ['', '2', '1', '0.5', '0'],
  order: ['damage', 'network'],
  weights: ['per_channel_symmetric', 'per_tensor_symmetric'],
  pairs: ['no', 'auto', 'yes'],
  preset: ['imagenet', 'unit', 'signed', 'bytes'],
  channels: ['RGB', 'BGR'],
  size: null, // free text, as are the next
  exclude: null,
  layer: null,
} as const satisfies Record<string, readonly string[] | null>;

export type Field = keyof typeof fields;
export type State = Record<Field, string>;

/** The values that a field allows (the first is the default), or null for free text. */
export const allowed = (field: Field): readonly string[] | null => fields[field];

export function readState(hash: string = location.hash): State {
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  const state = {} as State;
  for (const field of Object.keys(fields) as Field[]) {
    const values = fields[field] as readonly string[] | null;
    const value = given.get(field) ?? '';
    state[field] = values === null || values.includes(value) ? value : (values[0] ?? '');
  }
  return state;
}

/** Changes some fields; defaults stay out of the URL. */
export function writeState(change: Partial<State>): State {
  const state = { ...readState(), ...change };
  const kept = new URLSearchParams();
  for (const field of Object.keys(fields) as Field[]) {
    const values = fields[field] as readonly string[] | null;
    if (state[field] !== (values?.[0] ?? '')) kept.set(field, state[field]);
  }
  const hash = kept.toString();
  history.replaceState(null, '', hash ? `#${hash}` : location.pathname + location.search);
  return state;
}
