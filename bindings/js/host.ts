// The engine's side of the border: owns the module and everything made in it. Runs in a worker, or in the caller's thread.
//
// Every method takes and gives structured-cloneable data and returns an Outcome; nothing is thrown across. Long work is cut
// into slices of some milliseconds with a turn of the event loop between them, so that abort() is heard.

import { transfer } from 'comlink';
import { type ErrorData, OctavoError } from './errors.js';
import { type Features, hasRelaxedSimd, hasSimd, hasThreads } from './features.js';
import { chooseIsa, type LoadOptions, loadModule, type RunModule, type WasmModule } from './load.js';
import type { Bytes, Comparison, Model, QuantizeJob, Session } from './octavo.simd.mjs';
import { type Hash, sha256InPieces } from './sha256.js';

export type Outcome<T> = { ok: true; value: T } | { ok: false; error: ErrorData; fatal?: boolean };

export interface TensorInfo {
  name: string;
  /** 'float32', 'uint8', ... */
  type: string;
  /** A name or '?' where the dimension is open. */
  shape: (number | string)[];
}
export interface ModelInfo {
  id: number;
  inputs: TensorInfo[];
  outputs: TensorInfo[];
  quantized: boolean;
}
export interface SessionInfo {
  id: number;
  inputs: TensorInfo[];
  outputs: TensorInfo[];
}
/** How RGBA bytes become channels: of each the byte in a pixel (none: grey), and scale, low, mean, std. */
export interface PixelMapping {
  source: number[];
  normalization: number[];
}
export interface Memory {
  /** Activations, as planned. */
  arenaBytes: number;
  /** What any plan needs at least. */
  lowerBoundBytes: number;
  /** Packed weights. */
  weightBytes: number;
}
export interface StepProfile {
  node: string;
  op: string;
  kernel: string;
  macs: number;
  milliseconds: number;
}
/** A tensor as it crosses: its bytes, in row-major order. */
export interface RawTensor {
  type: string;
  bytes: Uint8Array;
  shape: number[];
}
export type RawFeeds = Record<string, RawTensor>;
export interface RawProgress {
  stage: string;
  done: number;
  total: number;
}

/** Files under way into the module's memory. */
class Files {
  readonly hash: Hash = sha256InPieces();
  readonly model: Bytes;
  /** The model, and those beside it. */
  readonly #all: Bytes[];
  #last: Bytes;
  #at = 0;

  constructor(model: Bytes) {
    this.model = model;
    this.#all = [model];
    this.#last = model;
  }
  add(name: string, bytes: Bytes): void {
    this.#all.push(bytes);
    this.#last = bytes;
    this.#at = 0;
    this.model.attach(name, bytes);
  }
  write(piece: Uint8Array): void {
    (this.#last.view() as Uint8Array).set(piece, this.#at);
    this.#at += piece.length;
    this.hash.update(piece);
  }
  delete(): void {
    for (const bytes of this.#all) bytes.delete();
  }
}

type Kinds = { model: Model; session: Session; job: QuantizeJob; comparison: Comparison; files: Files };
type Kind = keyof Kinds;
interface Deletable {
  delete(): void;
}

/** The bytes' sha256 in hexadecimal; null where a page has no crypto.subtle (neither https nor localhost). */
async function sha256(...parts: Uint8Array[]): Promise<string | null> {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return null;
  const copy = new Blob(parts as Uint8Array<ArrayBuffer>[]); // made before this returns: the caller may go on with its bytes
  const digest = await subtle.digest('SHA-256', await copy.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** As many samples as weights can be fitted to: src/quantize/options.h. */
const hashedSamples = 32;
/** A frame of a page, whose thread it may be; a turn costs half a millisecond there. */
const sliceMilliseconds = 16;
const stepsOfSlice = 4;

/** A turn of the event loop; setTimeout would be held back to 4 ms in browsers. */
const turn = (): Promise<void> =>
  new Promise((resolve) => {
    if (typeof setImmediate === 'function') {
      setImmediate(resolve);
      return;
    }
    const { port1, port2 } = new MessageChannel();
    port2.onmessage = () => {
      port1.close();
      resolve();
    };
    port1.postMessage(undefined);
  });

/** Takes the value out of what the module's functions give, or throws its error. */
function unwrap<T>(outcome: unknown): T {
  const result = outcome as Outcome<T>;
  if (result.ok) return result.value;
  throw new OctavoError(result.error);
}

const closed = (kind: string): OctavoError =>
  new OctavoError({ code: 'CLOSED', what: `This ${kind} was closed.`, where: kind, hint: 'Make a new one.' });

export class Host {
  #module: WasmModule | RunModule | undefined;
  #objects = new Map<number, { kind: Kind; object: Deletable }>();
  #aborted = new Set<number>();
  #busy = new Set<number>();
  #doomed = new Set<number>();
  /** Of a float model its file's hash; of a job that, and its first samples'. */
  #hashes = new Map<number, Promise<string | null>[]>();
  #nextId = 1;

  start({ threads, ...options }: LoadOptions & { threads: number }): Promise<Outcome<Features>> {
    return this.#outcome(async () => {
      const isa = chooseIsa(options.isa);
      this.#module = await loadModule(threads > 1 ? `${isa}.threads` : isa, options);
      return {
        isa,
        engineClass: this.#module.engineClass(),
        simd: hasSimd(),
        relaxedSimd: hasRelaxedSimd(),
        threads: hasThreads(),
        worker: false,
        threadCount: 1,
      };
    });
  }

  /** Starts the threads beside this one; gives the number of all. By itself, since a browser may never come back from it. */
  startThreads(threads: number): Promise<Outcome<number>> {
    const sleeps = typeof window === 'undefined'; // a page's own thread must not
    return this.#outcome(() => this.#wasm().setThreads(threads, sleeps));
  }
  /** Ends the threads beside this one. Where the host is in a worker, they end with it. */
  endThreads(): void {
    (this.#module as { PThread?: { terminateAllThreads(): void } } | undefined)?.PThread?.terminateAllThreads();
    this.#module = undefined;
  }

  operators(): Promise<Outcome<{ name: string; int8: boolean; notes: string }[]>> {
    return this.#outcome(() => this.#wasm().operators());
  }
  errorCodes(): Promise<Outcome<{ code: string; meaning: string }[]>> {
    return this.#outcome(() => this.#wasm().errorCodes());
  }

  // ---- models ----

  /**
   * Room for a file of so many bytes, which writeFile() fills in order: a model (`files` is null), or a file of weights that it names.
   * The answer goes to writeFile(), and in the end to loadModel() or release().
   */
  openFile(files: number | null, name: string | null, size: number): Promise<Outcome<number>> {
    return this.#outcome(() => {
      const bytes = unwrap<Bytes>(this.#wasm().Bytes.make(size));
      if (files === null) return this.#keep('files', new Files(bytes));
      this.#get('files', files).add(name ?? '', bytes);
      return files;
    });
  }
  /** The next bytes of the file that was opened last. */
  writeFile(files: number, piece: Uint8Array): Promise<Outcome<null>> {
    return this.#outcome(() => {
      this.#get('files', files).write(piece);
      return null;
    });
  }

  /** A model from its bytes, or from files that have been written. */
  loadModel(source: Uint8Array | number): Promise<Outcome<ModelInfo>> {
    return this.#outcome(() => {
      if (typeof source === 'number') {
        const files = this.#get('files', source);
        try {
          return this.#loaded(files.model, Promise.resolve(files.hash.hex()));
        } finally {
          this.#remove(source);
        }
      }
      const bytes = this.#copied(source);
      try {
        return this.#loaded(bytes, sha256(source));
      } finally {
        bytes.delete();
      }
    });
  }

  /** The sha256 of a float model's file; null where it cannot be told. */
  modelHash(id: number): Promise<Outcome<string | null>> {
    return this.#outcome(async () => {
      this.#get('model', id);
      return (await this.#hashes.get(id)?.[0]) ?? null;
    });
  }
  summary(id: number): Promise<Outcome<string>> {
    return this.#outcome(() => unwrap<string>(this.#quantizer().summary(this.#get('model', id))));
  }
  async toONNX(id: number, options: string): Promise<Outcome<Uint8Array>> {
    const outcome = await this.#outcome(() => unwrap<Uint8Array>(this.#quantizer().toONNX(this.#get('model', id), options)));
    return outcome.ok ? transfer(outcome, [outcome.value.buffer]) : outcome;
  }

  /** A float model with int8 weights and no calibration. */
  quantizeDynamic(id: number, options: string): Promise<Outcome<ModelInfo>> {
    return this.#outcome(() => this.#describe(unwrap<Model>(this.#quantizer().quantizeDynamic(this.#get('model', id), options))));
  }

  // ---- sessions ----

  createSession(
    modelId: number,
    inputShapes: Record<string, number[]>,
    memoryLimit: number,
    pixels: PixelMapping | null = null,
    fixed = false,
  ): Promise<Outcome<SessionInfo>> {
    return this.#outcome(() => {
      const session = unwrap<Session>(this.#wasm().Session.create(this.#get('model', modelId), inputShapes, memoryLimit, pixels, fixed));
      const id = this.#keep('session', session);
      return { id, inputs: session.inputs() as TensorInfo[], outputs: session.outputs() as TensorInfo[] };
    });
  }

  /** One run at a time for a session; `callId` is what abort() takes. The feeds go back: their memory is the next run's. */
  async run(id: number, feeds: RawFeeds, callId: number): Promise<Outcome<{ outputs: RawFeeds; feeds: RawFeeds }>> {
    const outcome = await this.#outcome(async () => {
      const session = this.#idle(id, 'session.run');
      this.#busy.add(id);
      try {
        planFor(session, feeds);
        writeFeeds(session, session.inputs() as TensorInfo[], feeds);
        await this.#inSlices(
          callId,
          'session.run',
          () => unwrap<boolean>(session.runSome(stepsOfSlice)),
          () => this.#doomed.has(id),
        );
        const outputs = Object.fromEntries(
          (session.outputs() as TensorInfo[]).map((info, i) => [
            info.name,
            { type: info.type, bytes: (session.output(i) as Uint8Array).slice(), shape: info.shape as number[] },
          ]),
        );
        return { outputs, feeds };
      } finally {
        this.#busy.delete(id);
        if (this.#doomed.has(id)) this.#remove(id);
      }
    });
    return outcome.ok ? transfer(outcome, buffersOf(outcome.value.outputs, feeds)) : outcome;
  }

  profile(id: number, feeds: RawFeeds): Promise<Outcome<{ steps: StepProfile[]; memory: Memory }>> {
    return this.#outcome(() => {
      const session = this.#idle(id, 'session.profile');
      planFor(session, feeds);
      writeFeeds(session, session.inputs() as TensorInfo[], feeds);
      return { steps: unwrap<StepProfile[]>(session.profile()), memory: session.memory() as Memory };
    });
  }

  // ---- quantization ----

  /** `samplesWanted`: as many as matter; Infinity for all. */
  createJob(modelId: number, options: string): Promise<Outcome<{ id: number; inputs: TensorInfo[]; samplesWanted: number }>> {
    return this.#outcome(() => {
      const job = unwrap<QuantizeJob>(this.#quantizer().QuantizeJob.create(this.#get('model', modelId), options));
      const id = this.#keep('job', job);
      this.#hashes.set(id, [...(this.#hashes.get(modelId) ?? [Promise.resolve(null)])]);
      return { id, inputs: job.inputs() as TensorInfo[], samplesWanted: job.samplesWanted() };
    });
  }

  /** One sample through the calibration. */
  jobSample(id: number, feeds: RawFeeds): Promise<Outcome<RawProgress>> {
    return this.#outcome(async () => {
      const job = this.#get('job', id);
      const inputs = job.inputs() as TensorInfo[];
      writeFeeds(job, inputs, feeds);
      const hashes = this.#hashes.get(id);
      if (hashes && hashes.length <= hashedSamples) hashes.push(sha256(...inputs.flatMap(({ name }) => feeds[name]?.bytes ?? [])));
      unwrap(job.beginSample());
      let progress: RawProgress = { stage: 'calibrate', done: 0, total: 0 };
      await this.#inSlices(id, 'quantizeStatic', () => {
        progress = unwrap<RawProgress>(job.step());
        return !job.sampleFinished();
      });
      return progress;
    });
  }

  /** What a calibration saved, as if its samples came now. */
  jobLoadCalibration(id: number, state: Uint8Array): Promise<Outcome<null>> {
    return this.#outcome(async () => {
      const job = this.#get('job', id);
      const bytes = this.#copied(state);
      try {
        unwrap(job.loadCalibration(bytes));
      } finally {
        bytes.delete();
      }
      await this.#inSlices(id, 'quantizeStatic', () => {
        if (!job.sampleFinished()) unwrap(job.step());
        return !job.sampleFinished();
      });
      const hashes = this.#hashes.get(id) ?? [];
      while (hashes.length <= hashedSamples) {
        const sample = job.keptSample(hashes.length - 1) as Uint8Array;
        if (sample.length === 0) break;
        hashes.push(sha256(sample));
      }
      return null;
    });
  }
  /** What the samples so far have shown; as a basis, what other calibrations need that will be merged with this one. */
  async jobSaveCalibration(id: number, basis: boolean): Promise<Outcome<Uint8Array>> {
    const outcome = await this.#outcome(() => unwrap<Uint8Array>(this.#get('job', id).saveCalibration(basis)));
    return outcome.ok ? transfer(outcome, [outcome.value.buffer]) : outcome;
  }

  jobEndSamples(id: number): Promise<Outcome<null>> {
    return this.#outcome(() => {
      unwrap(this.#get('job', id).endSamples());
      return null;
    });
  }

  /** Works for one slice; the stage is 'done' at the end. */
  jobStep(id: number): Promise<Outcome<RawProgress>> {
    return this.#outcome(async () => {
      const job = this.#get('job', id);
      const end = performance.now() + 2 * sliceMilliseconds;
      let progress: RawProgress;
      do {
        progress = unwrap<RawProgress>(job.step());
      } while (progress.stage !== 'done' && performance.now() < end);
      await turn();
      this.#checkAbort(id, 'quantizeStatic');
      return progress;
    });
  }

  /** Decides otherwise in a finished job that keeps what that needs; the answer is how many samples that takes. */
  jobChange(id: number, options: string): Promise<Outcome<number>> {
    return this.#outcome(() => {
      const job = this.#get('job', id);
      unwrap(job.change(options));
      return job.samplesWanted();
    });
  }

  /** The hash of the job's model (null: not known), and those of its first samples. */
  jobHashes(id: number): Promise<Outcome<{ model: string | null; samples: (string | null)[] }>> {
    return this.#outcome(async () => {
      this.#get('job', id);
      const [model = null, ...samples] = await Promise.all(this.#hashes.get(id) ?? []);
      return { model, samples };
    });
  }
  /** `exporting` are the ExportOptions, as JSON, of the file that is hashed. */
  jobResult(
    id: number,
    exporting: string,
  ): Promise<Outcome<{ model: ModelInfo; report: string; file: { bytes: number; sha256: string | null } }>> {
    return this.#outcome(async () => {
      const job = this.#get('job', id);
      const report = unwrap<string>(job.report());
      const model = this.#describe(unwrap<Model>(job.takeModel()));
      const file = unwrap<Uint8Array>(this.#quantizer().toONNX(this.#get('model', model.id), exporting));
      return { model, report, file: { bytes: file.length, sha256: await sha256(file) } };
    });
  }

  // ---- comparison ----

  createComparison(a: number, b: number, options: string): Promise<Outcome<{ id: number; inputs: TensorInfo[]; outputs: TensorInfo[] }>> {
    return this.#outcome(() => {
      const comparison = unwrap<Comparison>(this.#quantizer().Comparison.create(this.#get('model', a), this.#get('model', b), options));
      return {
        id: this.#keep('comparison', comparison),
        inputs: comparison.inputs() as TensorInfo[],
        outputs: comparison.outputs() as TensorInfo[],
      };
    });
  }
  /** With `wantsOutputs` it gives those of both models, as float32. */
  compareSample(id: number, feeds: RawFeeds, label: number, wantsOutputs: boolean): Promise<Outcome<{ a: RawFeeds; b: RawFeeds } | null>> {
    return this.#outcome(async () => {
      const comparison = this.#get('comparison', id);
      writeFeeds(comparison, comparison.inputs() as TensorInfo[], feeds);
      unwrap(comparison.runSample(label));
      await turn();
      this.#checkAbort(id, 'compare');
      if (!wantsOutputs) return null;
      const read = (ofSecond: boolean): RawFeeds =>
        Object.fromEntries(
          (comparison.outputs() as TensorInfo[]).map(({ name, shape }, i) => [
            name,
            { type: 'float32', bytes: comparison.output(ofSecond, i) as Uint8Array, shape: shape as number[] },
          ]),
        );
      return { a: read(false), b: read(true) };
    });
  }
  compareReport(id: number): Promise<Outcome<string>> {
    return this.#outcome(() => unwrap<string>(this.#get('comparison', id).report()));
  }

  // ---- life ----

  /** Frees an object; one that is running goes when its slice ends. Unknown ids are ignored: closing twice is fine. */
  release(id: number): Promise<Outcome<null>> {
    return this.#outcome(() => {
      if (this.#busy.has(id)) this.#doomed.add(id);
      else this.#remove(id);
      return null;
    });
  }
  /** Ends the job, comparison or run of that id at its next slice. */
  abort(id: number): Promise<Outcome<null>> {
    this.#aborted.add(id);
    return Promise.resolve({ ok: true, value: null });
  }
  /** How many objects live in the module: a test holds it at 0 after closing. */
  liveObjects(): Promise<Outcome<number>> {
    return this.#outcome(() => this.#objects.size);
  }
  /** Threads that work by now: workers start while the engine can already be used. */
  startedThreads(): Promise<Outcome<number>> {
    return this.#outcome(() => this.#wasm().startedThreads());
  }
  /** The module's memory, and how much of it is allocated. */
  heap(): Promise<Outcome<{ bytes: number; used: number }>> {
    return this.#outcome(() => ({ bytes: this.#wasm().HEAPU8.length as number, used: this.#wasm().usedBytes() }));
  }

  #wasm(): WasmModule | RunModule {
    if (!this.#module) throw new OctavoError({ code: 'ENGINE_FAILED', what: 'The engine has not started.', where: 'engine', hint: '' });
    return this.#module;
  }
  /** The module, with what is more than running models. */
  #quantizer(): WasmModule {
    const module = this.#wasm();
    if ('QuantizeJob' in module) return module;
    throw new OctavoError({
      code: 'INVALID_OPTION',
      what: 'This engine was made with { quantizer: false }: it loads models and runs them, and does nothing else.',
      where: 'engine',
      hint: 'Quantize, compare, summarise and export with an engine that was made without that option.',
    });
  }

  /** Bytes in the module's memory, which the caller deletes. */
  #copied(from: Uint8Array): Bytes {
    const buffer = unwrap<Bytes>(this.#wasm().Bytes.make(from.length));
    (buffer.view() as Uint8Array).set(from);
    return buffer;
  }
  #loaded(bytes: Bytes, hash: Promise<string | null>): ModelInfo {
    const info = this.#describe(unwrap<Model>(this.#wasm().Model.load(bytes)));
    if (!info.quantized) this.#hashes.set(info.id, [hash]);
    return info;
  }
  #keep<K extends Kind>(kind: K, object: Kinds[K]): number {
    const id = this.#nextId++;
    this.#objects.set(id, { kind, object });
    return id;
  }
  #get<K extends Kind>(kind: K, id: number): Kinds[K] {
    const entry = this.#objects.get(id);
    if (entry?.kind !== kind) throw closed(kind);
    return entry.object as Kinds[K];
  }
  /** A session that may be written to: none that is between two slices of a run. */
  #idle(id: number, where: string): Session {
    const session = this.#get('session', id);
    if (this.#busy.has(id)) {
      throw new OctavoError({
        code: 'INVALID_STATE',
        what: 'This session is running already.',
        where,
        hint: 'Await the run before, or create a second session.',
      });
    }
    return session;
  }
  #remove(id: number): void {
    this.#objects.get(id)?.object.delete();
    this.#objects.delete(id);
    this.#aborted.delete(id);
    this.#doomed.delete(id);
    this.#hashes.delete(id);
  }
  #describe(model: Model): ModelInfo {
    const id = this.#keep('model', model);
    return { id, inputs: model.inputs() as TensorInfo[], outputs: model.outputs() as TensorInfo[], quantized: model.quantized() };
  }

  #checkAbort(id: number, where: string): void {
    if (this.#aborted.delete(id)) throw new OctavoError({ code: 'ABORTED', what: 'The work was aborted.', where, hint: '' });
  }

  /** Calls step() until it gives false, in slices; between slices aborts and closings are seen. */
  async #inSlices(id: number, where: string, step: () => boolean, isClosed: () => boolean = () => false): Promise<void> {
    let end = performance.now() + sliceMilliseconds;
    while (step()) {
      if (performance.now() < end) continue;
      await turn();
      this.#checkAbort(id, where);
      if (isClosed()) throw closed('session');
      end = performance.now() + sliceMilliseconds;
    }
    this.#checkAbort(id, where);
  }

  async #outcome<T>(work: () => T | Promise<T>): Promise<Outcome<T>> {
    try {
      return { ok: true, value: await work() };
    } catch (error) {
      if (error instanceof OctavoError) {
        const { code, what, where, hint, all } = error;
        return { ok: false, error: { code, what, where, hint, all } };
      }
      // A trap leaves the module in an unknown state: the engine is replaced.
      return {
        ok: false,
        fatal: true,
        error: {
          code: 'INTERNAL',
          what: `The engine stopped: ${error instanceof Error ? error.message : String(error)}.`,
          where: 'engine',
          hint: 'Please report it with the model. The engine starts anew with the next model.',
          all: [],
        },
      };
    }
  }
}

/** The memory of tensors, each once: what crosses as it is instead of as a copy. */
export const buffersOf = (...all: RawFeeds[]): ArrayBuffer[] => [
  ...new Set(all.flatMap((feeds) => Object.values(feeds).map(({ bytes }) => bytes.buffer as ArrayBuffer))),
];

/** Plans anew where feeds have other shapes than the session was planned for last. */
function planFor(session: Session, feeds: RawFeeds): void {
  const same = (a: readonly unknown[], b: readonly unknown[]): boolean => a.length === b.length && a.every((dim, axis) => dim === b[axis]);
  const changed = (session.inputs() as TensorInfo[]).some(({ name, shape }) => !same(shape, feeds[name]?.shape ?? shape));
  if (changed) unwrap(session.planFor(Object.fromEntries(Object.entries(feeds).map(([name, { shape }]) => [name, shape]))));
}

interface HasInputs {
  input(i: number): unknown;
}
/** Copies feeds that were checked (samples.ts) into the module's memory. */
function writeFeeds(target: HasInputs, inputs: TensorInfo[], feeds: RawFeeds): void {
  inputs.forEach((info, i) => {
    const feed = feeds[info.name];
    const view = target.input(i) as Uint8Array;
    if (!feed)
      throw new OctavoError({ code: 'SAMPLE_MISSING', what: `Input '${info.name}' is missing.`, where: `input '${info.name}'`, hint: '' });
    if (feed.bytes.length !== view.length) {
      throw new OctavoError({
        code: 'SAMPLE_SHAPE',
        what: `It has ${feed.bytes.length} bytes, the input takes ${view.length} ([${info.shape.join(', ')}]).`,
        where: `input '${info.name}'`,
        hint: 'Give the shape with `inputShapes` when the model is made ready.',
      });
    }
    view.set(feed.bytes);
  });
}
