// Trees of modules, as torch.nn has them: children are fields, forward() is yours.

import { OctavoError } from '../errors.js';
import { Tensor } from '../tensor.js';
import { object, refuse, shown } from './check.js';
import type { QConfig } from './qconfig.js';
import type { QTensor, TensorLike } from './tensor.js';

/** What flows through a model: floats, codes once it is converted. */
export type Value = Tensor | QTensor;
export type StateDict = Map<string, Tensor | QTensor>;

/** What sits behind a module while a model is prepared: an observer or a fake quantization. torch: activation_post_process. */
export interface PostProcess {
  forward(x: Tensor): Tensor;
  calculateQParams(): QParams;
  /** The gradient of what forward() got; observers have none, since they change nothing. */
  backward?(gradOutput: TensorLike): Tensor | { x: Tensor };
}

/** The gradient of what `process` got last, where there is a process and it has one. */
export function backThrough(process: PostProcess | undefined, grad: Tensor<'float32'>): Tensor<'float32'> {
  const found = process?.backward?.(grad) ?? grad;
  return (found instanceof Tensor ? found : found.x) as Tensor<'float32'>;
}

/** One scale and zero point, or one per channel; for which codes. */
export interface QParams {
  scale: number[];
  zeroPoint: number[];
}

/**
 * Derive from it, make children in the constructor as fields, and write forward(). Fields that are modules are children; their names
 * are the keys of stateDict() and of fuseModules().
 */
export abstract class Module {
  /** Whether train() was called last, as new modules are. */
  training = true;
  /** How to quantize this module and what is below it; null for not at all, undefined for as the parent. */
  qconfig: QConfig | null | undefined = undefined;
  /** Set by prepare(): sees what forward() returns. */
  activationPostProcess: PostProcess | undefined = undefined;

  abstract forward(...inputs: never[]): unknown;

  /** The direct children with their names, in the order of the fields. */
  namedChildren(): [string, Module][] {
    return Object.entries(this).filter((entry): entry is [string, Module] => entry[1] instanceof Module);
  }
  /** This module and all below it, with their paths ('' for this one). */
  *namedModules(prefix = ''): Generator<[string, Module]> {
    yield [prefix, this];
    for (const [name, child] of this.namedChildren()) yield* child.namedModules(prefix ? `${prefix}.${name}` : name);
  }
  setChild(name: string, child: Module): void {
    (this as Record<string, unknown>)[name] = child;
  }
  /** The module at 'features.0.conv'. @throws OctavoError INVALID_OPTION where there is none */
  getSubmodule(path: string): Module {
    let module: Module = this;
    if (typeof path !== 'string') refuse(`${shown(path)} is no path.`, this.constructor.name, "Give names with dots: 'features.0.conv'.");
    for (const name of path ? path.split('.') : []) {
      const child = new Map(module.namedChildren()).get(name);
      if (!child) {
        const names = module.namedChildren().map(([key]) => key);
        return refuse(
          `There is no module '${path}'.`,
          this.constructor.name,
          `'${name}' is none of: ${names.join(', ') || '(no children)'}.`,
        );
      }
      module = child;
    }
    return module;
  }

  train(mode = true): this {
    for (const [, module] of this.namedModules()) module.training = mode;
    return this;
  }
  eval(): this {
    return this.train(false);
  }

  /** This module's own parameters and buffers, under torch's names. */
  protected ownState(): StateDict {
    return new Map();
  }
  /** Takes its own entries. @throws OctavoError for missing, unexpected and misfit ones */
  protected loadOwnState(state: StateDict): void {
    if (state.size === 0) return;
    refuse(
      `Unexpected key(s) in state_dict: ${[...state.keys()].map((key) => `"${key}"`).join(', ')}.`,
      this.constructor.name,
      'The model that saved it has other modules.',
      'INVALID_STATE',
    );
  }
  /** All parameters and buffers, keyed by path: 'features.0.weight'. */
  stateDict(): StateDict {
    const all: StateDict = new Map();
    for (const [path, module] of this.namedModules()) {
      for (const [key, value] of module.ownState()) all.set(path ? `${path}.${key}` : key, value);
    }
    return all;
  }
  /**
   * Strict, as torch's: every key has a place and every place a key. An error names the module in `where`; as in torch, what was loaded before
   * it stays loaded.
   */
  loadStateDict(state: StateDict | Record<string, Tensor | QTensor>): void {
    const rest: StateDict = new Map(state instanceof Map ? state : Object.entries(object(state, 'loadStateDict', 'Give a state dict.')));
    const children = [...this.namedModules()].reverse(); // deepest paths first: each key goes to its own module
    for (const [path, module] of children) {
      const own: StateDict = new Map();
      for (const [key, value] of rest) {
        if (path && !key.startsWith(`${path}.`)) continue;
        own.set(path ? key.slice(path.length + 1) : key, value);
        rest.delete(key);
      }
      try {
        module.loadOwnState(own);
      } catch (error) {
        if (!(error instanceof OctavoError && path)) throw error;
        const { code, what, where, hint } = error;
        throw new OctavoError({ code, what, where: `${path}: ${where}`, hint }, { cause: error });
      }
    }
  }

  /** Frees what this module and those below it hold in the wasm memory now, rather than when the garbage collector comes by. */
  close(): void {
    for (const [, child] of this.namedChildren()) child.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }

  /** Options of this module in the tree that toString() prints. */
  protected describe(): string {
    return '';
  }
  toString(): string {
    const children = this.namedChildren().map(([name, child]) => `(${name}): ${child}`.replaceAll('\n', '\n  '));
    const inside = children.length ? `\n  ${children.join('\n  ')}\n` : this.describe();
    return `${this.constructor.name}(${inside})`;
  }
}

/** @throws OctavoError INVALID_OPTION for what is no module */
export function checkedModule<M extends Module>(module: M, where: string): M {
  return module instanceof Module ? module : refuse(`${shown(module)} is no module.`, where, 'Give an object of a class of nn.');
}

/** A module that maps one value. */
export abstract class Layer extends Module {
  abstract override forward(x: Value): Value;
}

/** One after the other; children are named '0', '1', ... */
export class Sequential extends Layer {
  [index: number]: Module;

  constructor(...modules: Layer[]) {
    super();
    modules.forEach((module, index) => {
      this[index] = checkedModule(module, 'Sequential');
    });
  }
  get length(): number {
    return this.namedChildren().length;
  }
  forward(x: Value): Value {
    return this.namedChildren().reduce((value, [, child]) => (child as Layer).forward(value), x);
  }
}

/** Gives back what it gets; what fuseModules() leaves where a module was. */
export class Identity extends Layer {
  forward(x: Value): Value {
    return x;
  }
}
