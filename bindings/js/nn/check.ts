// What comes in from JavaScript is of the kind that the types say: behind these checks the WebAssembly module gets numbers, arrays of
// numbers and objects, and says itself which of them fit.

import { type ErrorCode, OctavoError } from '../errors.js';

/** Throws INVALID_OPTION, or another code. */
export function refuse(what: string, where: string, hint: string, code: ErrorCode = 'INVALID_OPTION'): never {
  throw new OctavoError({ code, what, where, hint });
}

/** A value as messages show it. */
export const shown = (value: unknown): string =>
  typeof value === 'function'
    ? value.name || 'a function'
    : typeof value === 'object' && value !== null
      ? Object.prototype.toString.call(value).slice(8, -1)
      : String(value);

/** @throws OctavoError INVALID_OPTION for what is no number; NaN and infinities are numbers */
export function real(value: number, name: string): number {
  if (typeof value === 'number') return value;
  return refuse(`${name} = ${shown(value)} is no number.`, name, 'Give a number.');
}

/** @throws OctavoError INVALID_OPTION for what is no whole number: the WebAssembly module would cut it off */
export function whole(value: number, name: string): number {
  if (Number.isSafeInteger(value)) return value;
  return refuse(`${name} = ${shown(value)} is no whole number.`, name, 'Give a whole number.');
}

/** An array of what `check` lets pass. @throws OctavoError INVALID_OPTION for what cannot be iterated over */
function list(values: Iterable<number>, name: string, check: (value: number, name: string) => number): number[] {
  if (typeof values === 'object' && values !== null && Symbol.iterator in values) return Array.from(values, (value) => check(value, name));
  return refuse(`${name} = ${shown(values)} is no list of numbers.`, name, 'Give an array.');
}
export const reals = (values: Iterable<number>, name: string): number[] => list(values, name, real);
export const wholes = (values: Iterable<number>, name: string): number[] => list(values, name, whole);

/** Options, or something else with fields. @throws OctavoError INVALID_OPTION for what has none */
export function object<T>(value: T, where: string, hint = 'Give an object of options.'): T & object {
  if (typeof value === 'object' && value !== null) return value;
  return refuse(`${shown(value)} is no object.`, where, hint);
}

/** Checks the fields that are there: `check(options.key, 'key')` for each of `keys`. */
export function fields<T extends object>(options: T, check: (value: never, name: string) => unknown, ...keys: (keyof T & string)[]): void {
  for (const key of keys) if (options[key] !== undefined) check(options[key] as never, key);
}
