// A recipe: all that a quantization decided, as plain data, so that it can be done again to the byte. docs/reference/recipe.md

import { OctavoError } from './errors.js';
import type { ImageOptions } from './images.js';
import type { ExportOptions } from './model.js';
import type { ReportData } from './report.js';

/** What a quantization decided. JSON; docs/reference/recipe.md tells what each part is for. */
export interface Recipe {
  version: 1;
  /** The float file. `sha256` is null where the page has no crypto.subtle: neither https nor localhost. */
  model: { name: string; bytes: number; sha256: string | null };
  /** How many samples calibration saw, and the sha256 of each that weights were fitted to: the first 32, or none. */
  samples: { count: number; fitted: (string | null)[] };
  /** How pictures became tensors, where the samples were pictures. */
  image?: ImageOptions;
  /** The quantization options, with all defaults filled in. */
  options: Record<string, unknown>;
  /** How the file is written. */
  export: ExportOptions;
  /** Every tensor with a grid of its own: the range is what decides, scale and zero point follow from it. */
  tensors: { name: string; observer: string; range: [number, number]; scale: number; zeroPoint: number; dtype: string }[];
  /** Nodes that stay float. */
  float: { node: string; op: string; reason: string }[];
  /** Fitted or not: `codes` is the FNV-1a of the codes of weights and bias. */
  weights: { node: string; name: string; scheme: string; codes: string }[];
  /** The int8 file. */
  file: { bytes: number; sha256: string | null };
}

const where = "option 'recipe'";
export const mismatch = (what: string, hint: string): OctavoError => new OctavoError({ code: 'RECIPE_MISMATCH', what, where, hint });

/** What a finished job says of itself, as a recipe. */
export function makeRecipe(
  report: Omit<ReportData, 'evaluation' | 'budget' | 'targets'>,
  hashes: { model: string | null; samples: (string | null)[] },
  file: Recipe['file'],
  given: { image?: ImageOptions | undefined; export?: ExportOptions | undefined },
): Recipe {
  return {
    version: 1,
    model: { name: report.model.name, bytes: report.model.floatBytes, sha256: hashes.model },
    samples: { count: report.samples, fitted: hashes.samples.slice(0, report.fittedSamples) },
    ...(given.image ? { image: given.image } : {}),
    options: report.options,
    export: given.export ?? {},
    tensors: report.tensors.map(({ name, observer, range, scale, zeroPoint, dtype }) => ({
      name,
      observer,
      range,
      scale,
      zeroPoint,
      dtype,
    })),
    float: report.nodes.filter(({ fate }) => fate === 'float').map(({ name, op, reason }) => ({ node: name, op, reason })),
    weights: report.weights.map(({ node, name, scheme, codes }) => ({ node, name, scheme, codes })),
    file,
  };
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** A recipe as it was written. @throws OctavoError INVALID_OPTION naming the part that is missing */
export function checkRecipe(value: unknown): Recipe {
  const bad = (what: string): never => {
    throw new OctavoError({ code: 'INVALID_OPTION', what, where, hint: 'Give the JSON that an earlier quantization made, as it is.' });
  };
  if (!isObject(value)) return bad('It is no recipe: it is not an object.');
  if (value.version !== 1) return bad(`It has version ${JSON.stringify(value.version) ?? 'none'}, this Octavo reads version 1.`);
  for (const part of ['model', 'samples', 'options', 'export', 'file']) if (!isObject(value[part])) bad(`It has no object '${part}'.`);
  for (const part of ['tensors', 'float', 'weights']) if (!Array.isArray(value[part])) bad(`It has no array '${part}'.`);
  if (!Array.isArray((value.samples as Record<string, unknown>).fitted)) bad("It has no array 'samples.fitted'.");
  return value as unknown as Recipe;
}

/** Hashes that cannot be told (null) differ from none. */
const differ = (a: string | null | undefined, b: string | null | undefined): boolean => Boolean(a && b && a !== b);

/** Whether the recipe is this model's. @throws OctavoError RECIPE_MISMATCH */
export function checkModel(recipe: Recipe, sha256: string | null): void {
  if (!differ(recipe.model.sha256, sha256)) return;
  throw mismatch(
    `It was made for another model: '${recipe.model.name}' of ${recipe.model.bytes} bytes, sha256 ${recipe.model.sha256}; this one has ${sha256}.`,
    'Give the float file that the recipe was made from.',
  );
}

/** Whether the samples are those that weights were fitted to. @throws OctavoError NO_SAMPLES, RECIPE_MISMATCH */
export function checkSamples(recipe: Recipe, hashes: (string | null)[]): void {
  const { fitted } = recipe.samples;
  if (hashes.length < fitted.length) {
    const what = `Its weights were fitted to the first ${fitted.length} samples; there are ${hashes.length}.`;
    const hint =
      'Give the calibration samples that it was made with, in the same order; or make recipes without fitting (docs/reference/recipe.md).';
    throw hashes.length === 0 ? new OctavoError({ code: 'NO_SAMPLES', what, where, hint }) : mismatch(what, hint);
  }
  const odd = fitted.findIndex((hash, i) => differ(hash, hashes[i]));
  if (odd < 0) return;
  throw mismatch(
    `Sample ${odd} is not the one that its weights were fitted to.`,
    'Give the same samples in the same order. JPEG decoders differ by a little: pictures as PNG are the same everywhere.',
  );
}

/** Whether the result is the recipe's. @throws OctavoError RECIPE_MISMATCH naming the first layer that differs */
export function checkResult(recipe: Recipe, made: Recipe): void {
  if (!differ(recipe.file.sha256, made.file.sha256)) return;
  const codes = new Map(made.weights.map((weight) => [weight.node, weight.codes]));
  const odd = recipe.weights.find((weight) => codes.get(weight.node) !== weight.codes);
  throw mismatch(
    `The file came out otherwise (sha256 ${made.file.sha256} instead of ${recipe.file.sha256})${odd ? `; the first difference is in the weights of '${odd.node}'` : ''}.`,
    'It may be of another version of Octavo, or changed by hand: quantize anew.',
  );
}
