// The engine: a wasm module in a worker (or in this thread), and the one that is made when nobody makes one.

import { type Remote, wrap } from 'comlink';
import { OctavoError } from './errors.js';
import { type Features, isNode } from './features.js';
import { Host, type Outcome } from './host.js';
import type { LoadOptions } from './load.js';
import { chooseThreads, type ThreadOptions } from './threads.js';

export interface EngineOptions extends LoadOptions, ThreadOptions {
  /** Run in a worker, so that the caller's thread stays free. Default true. */
  worker?: boolean;
}

type HostMethods = {
  [K in keyof Host as Host[K] extends (...args: never[]) => Promise<Outcome<unknown>> ? K : never]: Host[K];
};
export type HostMethod = keyof HostMethods;
type Args<M extends HostMethod> = Parameters<HostMethods[M]>;
type Value<M extends HostMethod> = Awaited<ReturnType<HostMethods[M]>> extends Outcome<infer T> ? T : never;

interface Connection {
  host: Host | Remote<Host>;
  features: Features;
  terminate: () => void;
  death: Death;
  ref: () => void;
  unref: () => void;
}

/** The end of a worker, which calls under way end with. */
class Death {
  readonly #waiting = new Set<(error: OctavoError) => void>();
  #error: OctavoError | undefined;

  come(error: OctavoError): void {
    if (this.#error) return;
    this.#error = error;
    for (const reject of this.#waiting) reject(error);
    this.#waiting.clear();
  }
  /** Calls back once, when it comes. */
  onceItComes(callback: (error: OctavoError) => void): void {
    if (this.#error) callback(this.#error);
    else this.#waiting.add(callback);
  }
  /** The result of `work`, or a rejection when the worker dies. Not Promise.race with a promise of the death: that would keep each result until then. */
  orElse<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.onceItComes(reject);
      work.then(resolve, reject).finally(() => this.#waiting.delete(reject));
    });
  }
}

/** What belongs to an engine knows the start of it that it was made in. */
export interface Owner {
  engine: Engine;
  generation: number;
}

/**
 * Firefox (153) now and then never comes back from starting a worker in a worker, which threads are: in 1 to 3 of 100 loads of a page.
 * Starting takes milliseconds, so a worker that is silent for so long is given up for another.
 */
const startMilliseconds = 4000;
const startAttempts = 4;

/** An engine with its threads; where a browser does not start them, and 'auto' asked for them, with one. */
async function connect(options: EngineOptions): Promise<Connection> {
  const threads = await chooseThreads(options);
  for (let attempt = 0; threads > 1 && attempt < startAttempts; attempt++) {
    const connection = await attach(options, threads);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(resolve, startMilliseconds, undefined);
    });
    const count = await Promise.race([connection.death.orElse(connection.host.startThreads(threads)), late]);
    clearTimeout(timer);
    if (count?.ok) {
      connection.unref(); // an idle engine does not keep Node alive
      return { ...connection, features: { ...connection.features, threadCount: count.value } };
    }
    connection.terminate();
    if (count) throw new OctavoError(count.error);
  }
  if (threads > 1 && options.threads !== 'auto' && options.threads !== undefined) {
    throw new OctavoError({
      code: 'ENGINE_FAILED',
      what: `The browser did not start ${threads} threads.`,
      where: 'createEngine',
      hint: "Load the page again, or ask for { threads: 'auto' }, which goes on with one.",
    });
  }
  if (threads > 1) console.warn('Octavo runs on one thread, since this browser did not start others. Loading the page again may help.');
  const connection = await attach(options, 1);
  connection.unref();
  return connection;
}

/** A worker with the module for so many threads in it, none of them started yet. */
async function attach(options: EngineOptions, threads: number): Promise<Connection> {
  const { worker = true, ...load } = options;
  const death = new Death();
  const onDeath = (reason: string): void =>
    death.come(
      new OctavoError({
        code: 'ENGINE_FAILED',
        what: `The engine's worker ended: ${reason}.`,
        where: 'engine',
        hint: 'Load the model again; a new worker starts by itself.',
      }),
    );
  const nothing = (): void => {};

  let connection: Omit<Connection, 'features'>;
  if (!worker) {
    const host = new Host();
    connection = { host, terminate: () => host.endThreads(), death, ref: nothing, unref: nothing };
  } else if (isNode()) {
    const path = './node-worker.js'; // not a literal import: bundlers for browsers must not follow it
    const { startNodeWorker } = (await import(/* @vite-ignore */ /* webpackIgnore: true */ path)) as typeof import('./node-worker.js');
    const { remote, ...rest } = startNodeWorker(onDeath);
    connection = { host: remote, death, ...rest };
  } else {
    const thread = new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'octavo' });
    thread.addEventListener('error', (event) => onDeath(event.message || 'it could not be loaded'));
    connection = { host: wrap<Host>(thread), terminate: () => thread.terminate(), death, ref: nothing, unref: nothing };
  }
  try {
    const started = await death.orElse(connection.host.start({ ...load, threads }));
    if (!started.ok) throw new OctavoError(started.error);
    const terminate = (): void => {
      connection.terminate();
      onDeath('it was closed'); // calls under way end too: a worker of a browser says nothing when it is terminated
    };
    return { ...connection, terminate, features: { ...started.value, worker } };
  } catch (error) {
    connection.terminate();
    throw error;
  }
}

/**
 * Runs models. Made by createEngine(); after a failure inside the module it starts anew with the next model, and what was made
 * before answers ENGINE_FAILED.
 */
export class Engine {
  readonly #options: EngineOptions;
  #connection: Connection | undefined;
  #starting: Promise<Connection> | undefined;
  #features: Features;
  #generation = 0;
  #pending = 0;
  #closed = false;
  #nextCall = -1;

  private constructor(options: EngineOptions, connection: Connection) {
    this.#options = options;
    this.#connection = connection;
    this.#features = connection.features;
    this.#watch(connection);
  }

  static async start(options: EngineOptions = {}): Promise<Engine> {
    return new Engine(options, await connect(options));
  }

  /** What runs: instruction set, engine class of the dot product, worker, threads. */
  get features(): Features {
    return this.#features;
  }
  get closed(): boolean {
    return this.#closed;
  }
  get generation(): number {
    return this.#generation;
  }
  /** An id for abort() of a run; negative, so that it meets no object's. */
  nextCallId(): number {
    return this.#nextCall--;
  }

  /** Stops everything and frees the memory. Models and sessions of this engine answer CLOSED from then on. */
  close(): Promise<void> {
    this.#closed = true;
    this.#connection?.terminate();
    this.#connection = undefined;
    return Promise.resolve();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Calls the host; a failure that leaves the module broken ends this start of the engine. */
  async call<M extends HostMethod>(method: M, args: Args<M>, owner?: Owner): Promise<Value<M>> {
    const connection = await this.#connected(owner);
    const generation = this.#generation;
    connection.ref();
    this.#pending++;
    try {
      const target = connection.host as unknown as Record<M, (...args: Args<M>) => Promise<Outcome<Value<M>>>>;
      const outcome = await connection.death.orElse(target[method](...args));
      if (outcome.ok) return outcome.value;
      if (outcome.fatal) this.#drop(connection, generation);
      throw new OctavoError(outcome.error);
    } catch (error) {
      if (this.#closed) throw this.#closedError();
      // Thrown before the worker got anything: a buffer that was transferred away, or none that can be.
      if (error instanceof DOMException && error.name === 'DataCloneError') {
        throw new OctavoError(
          {
            code: 'INVALID_STATE',
            what: `The data cannot be handed to the engine: ${error.message}`,
            where: method,
            hint: 'Its memory may have been transferred elsewhere; give data that you still own.',
          },
          { cause: error },
        );
      }
      throw error;
    } finally {
      this.#pending--;
      if (this.#pending === 0) connection.unref();
    }
  }

  async #connected(owner: Owner | undefined): Promise<Connection> {
    if (this.#closed) throw this.#closedError();
    if (owner && owner.generation !== this.#generation) {
      throw new OctavoError({
        code: 'ENGINE_FAILED',
        what: 'The engine was replaced after a failure; this object went with it.',
        where: 'engine',
        hint: 'Load the model again.',
      });
    }
    if (this.#connection) return this.#connection;
    this.#starting ??= connect(this.#options).finally(() => {
      this.#starting = undefined;
    });
    const connection = await this.#starting;
    if (this.#connection !== connection) {
      this.#connection = connection;
      this.#features = connection.features;
      this.#watch(connection);
    }
    return connection;
  }

  #watch(connection: Connection): void {
    const generation = this.#generation;
    connection.death.onceItComes(() => this.#drop(connection, generation));
  }
  #drop(connection: Connection, generation: number): void {
    connection.terminate();
    if (generation !== this.#generation || this.#connection !== connection) return;
    this.#connection = undefined;
    this.#generation++;
  }
  #closedError(): OctavoError {
    return new OctavoError({
      code: 'CLOSED',
      what: 'This engine was closed.',
      where: 'engine',
      hint: 'Make a new one with createEngine().',
    });
  }
}

/** Starts an engine. Everything that takes `engine` uses the default one when it is left out. */
export const createEngine = (options: EngineOptions = {}): Promise<Engine> => Engine.start(options);

let shared: Promise<Engine> | undefined;
/** The engine that is made on first use. */
export async function defaultEngine(): Promise<Engine> {
  const current = await shared?.catch(() => undefined);
  if (!current || current.closed) shared = Engine.start();
  return shared as Promise<Engine>;
}
