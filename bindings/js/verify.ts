// Beside ONNX Runtime: the same file and the same inputs through both, every int8 tensor compared code by code.

import type { Engine } from './engine.js';
import { abortable, OctavoError, throwIfAborted } from './errors.js';
import { type CallOptions, Model } from './model.js';
import { InferenceSession } from './session.js';
import { Tensor, type TensorType } from './tensor.js';
import { extended, externalFiles, fields, toText, valueInfo, withoutExternalFiles } from './wire.js';

export interface VerifyOptions extends CallOptions {
  /** Files with weights that lie outside the model, by the name that it gives them. */
  externalData?: Record<string, Uint8Array>;
}

export interface VerifiedTensor {
  name: string;
  type: string;
  elements: number;
  /** How many are equal in both. */
  equal: number;
  largestDifference: number;
}
export interface Verification {
  tensors: VerifiedTensor[];
  /** Over all tensors of codes. */
  codes: number;
  equalCodes: number;
}

/** Operators whose first output is uint8 or int8 codes, with the input whose type says which (its zero point). */
const makesCodes: Record<string, number> = {
  QuantizeLinear: 2,
  QLinearConv: 7,
  QLinearMatMul: 7,
  QGemm: 8,
  QLinearAdd: 7,
  QLinearMul: 7,
  QLinearConcat: 1,
  QLinearGlobalAveragePool: 4,
  QLinearAveragePool: 4,
  QLinearLeakyRelu: 4,
  QLinearSigmoid: 4,
  QLinearSoftmax: 4,
};

/** { file, names }: the file with the codes of every quantized tensor as outputs of the graph. */
export function exposeCodes(file: Uint8Array): { file: Uint8Array; names: string[] } {
  const types = new Map<string, number>(); // of initializers
  const known = new Set<string>(); // outputs that it has already
  const found: { name: string; zero: string }[] = [];
  for (const { field, body } of fields(file)) {
    if (field !== 7) continue;
    for (const part of fields(body)) {
      if (part.field === 5) {
        const tensor = [...fields(part.body)];
        types.set(
          toText(tensor.find((f) => f.field === 8)?.body ?? new Uint8Array()),
          Number(tensor.find((f) => f.field === 2)?.value ?? 0),
        );
      }
      if (part.field === 12) known.add(toText([...fields(part.body)].find((f) => f.field === 1)?.body ?? new Uint8Array()));
      if (part.field !== 1) continue;
      const node = [...fields(part.body)];
      const texts = (number: number): string[] => node.filter((f) => f.field === number).map((f) => toText(f.body));
      const zero = makesCodes[texts(4)[0] ?? ''];
      const [name] = texts(2);
      if (zero !== undefined && name) found.push({ name, zero: texts(1)[zero] ?? '' });
    }
  }
  const codes = found.filter(({ name }) => !known.has(name));
  // Without a zero point codes are uint8.
  const outputs = codes.map(({ name, zero }) => valueInfo(12, name, types.get(zero) ?? 2));
  return { file: extended(file, outputs), names: codes.map(({ name }) => name) };
}

interface OrtTensor {
  type: string;
  dims: readonly number[];
  data: ArrayLike<number | bigint>;
}
/** What of onnxruntime-node is used. */
interface Ort {
  Tensor: new (type: string, data: unknown, dims: readonly number[]) => OrtTensor;
  InferenceSession: {
    create(model: Uint8Array, options: { logSeverityLevel: number; extra?: { session: Record<string, string> } }): Promise<OrtSession>;
  };
}
interface OrtSession {
  outputNames: string[];
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

async function loadOrt(): Promise<Ort> {
  const name = 'onnxruntime-node';
  try {
    return (await import(/* @vite-ignore */ name)) as Ort;
  } catch (error) {
    throw new OctavoError(
      {
        code: 'INVALID_STATE',
        what: 'The package onnxruntime-node is not installed.',
        where: 'verify',
        hint: 'npm install onnxruntime-node',
      },
      { cause: error },
    );
  }
}

/**
 * On x86 without VNNI ONNX Runtime adds products of uint8 and int8 codes in pairs of 16 bits, which saturate, unless it is asked not to. Its pass
 * for that fails on a constant that several DequantizeLinear read: such a file is run as it is.
 */
async function openReference(ort: Ort, file: Uint8Array): Promise<OrtSession> {
  const options = { logSeverityLevel: 4 };
  try {
    return await ort.InferenceSession.create(file, { ...options, extra: { session: { x64quantprecision: '1' } } });
  } catch {
    return await ort.InferenceSession.create(file, options);
  }
}

/**
 * Runs `file` in Octavo and in onnxruntime-node on the given inputs and compares all outputs and all tensors of codes; ONNX Runtime is asked
 * for sums that do not saturate (session option x64quantprecision).
 *
 * @param feeds float32 tensors of the model's inputs, one list for each run
 */
export async function verify(
  file: Uint8Array,
  feeds: Record<string, Tensor>[],
  engine: Engine,
  options: VerifyOptions = {},
): Promise<Verification> {
  throwIfAborted(options.signal, 'verify');
  const { externalData = {}, ...call } = options;
  const ort = await loadOrt();
  // onnxruntime-node looks for such files below the working directory, wherever the model is.
  const whole = externalFiles(file).length > 0 ? withoutExternalFiles(file, externalData) : file;
  const { file: open } = exposeCodes(whole);
  await using model = await Model.load(open, { engine, ...call });
  const inputShapes = Object.fromEntries(Object.entries(feeds[0] ?? {}).map(([name, { shape }]) => [name, [...shape]]));
  await using session = await InferenceSession.create(model, { engine, inputShapes, ...call });
  const reference = await openReference(ort, open);
  const tensors = new Map<string, VerifiedTensor>();
  try {
    for (const feed of feeds) {
      const ours = await session.run(feed, call);
      const given = Object.entries(feed).map(([name, { type, data, shape }]) => [name, new ort.Tensor(type, data, shape)] as const);
      const theirs = await abortable(reference.run(Object.fromEntries(given)), options.signal, 'verify');
      for (const [name, tensor] of Object.entries(ours)) {
        const other = theirs[name];
        const found = tensors.get(name) ?? { name, type: tensor.type, elements: 0, equal: 0, largestDifference: 0 };
        tensors.set(name, found);
        found.elements += tensor.data.length;
        for (let i = 0; i < tensor.data.length; i++) {
          const [a, b] = [Number(tensor.data[i]), Number(other?.data[i] ?? Number.NaN)];
          if (Object.is(a, b) || a === b) found.equal++;
          else
            found.largestDifference = Math.max(found.largestDifference, Number.isNaN(a - b) ? Number.POSITIVE_INFINITY : Math.abs(a - b));
        }
      }
    }
  } finally {
    await reference.release();
  }
  const list = [...tensors.values()];
  const isCodes = ({ type }: VerifiedTensor): boolean => type === 'uint8' || type === 'int8';
  const total = (key: 'elements' | 'equal'): number => list.filter(isCodes).reduce((sum, tensor) => sum + tensor[key], 0);
  return { tensors: list, codes: total('elements'), equalCodes: total('equal') };
}

/** Seeded inputs for a model: floats of a normal size, small integers. */
export function randomFeeds(model: Model, shapes: Record<string, number[]>, seed: number): Record<string, Tensor> {
  let state = seed >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Object.fromEntries(
    model.inputs.map(({ name, type, shape }) => {
      const dims = shapes[name] ?? shape.map((dim) => (typeof dim === 'number' ? dim : 1));
      const length = dims.reduce((product, dim) => product * dim, 1);
      const make = {
        float32: () => Float32Array.from({ length }, () => 2 * next() - 1),
        float64: () => Float64Array.from({ length }, () => 2 * next() - 1),
        uint8: () => Uint8Array.from({ length }, () => 256 * next()),
        int8: () => Int8Array.from({ length }, () => 256 * next() - 128),
        int32: () => Int32Array.from({ length }, () => 8 * next()),
        uint32: () => Uint32Array.from({ length }, () => 8 * next()),
        int64: () => BigInt64Array.from({ length }, () => BigInt(Math.floor(8 * next()))),
        bool: () => Uint8Array.from({ length }, () => (next() < 0.5 ? 0 : 1)),
      }[type as TensorType];
      if (!make)
        throw new OctavoError({
          code: 'UNSUPPORTED_DTYPE',
          what: `The model takes ${type}.`,
          where: `input '${name}'`,
          hint: 'float32 is supported.',
        });
      return [name, new Tensor(type as TensorType, make(), dims)];
    }),
  );
}
