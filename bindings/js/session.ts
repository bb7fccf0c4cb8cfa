// A model made ready to run.

import type { Engine, Owner } from './engine.js';
import { abortable, OctavoError, throwIfAborted } from './errors.js';
import type { Memory, RawFeeds, SessionInfo, StepProfile, TensorInfo } from './host.js';
import { type ImageSource, imageToPixels, isImageSource, type PixelOptions, pixelMapping } from './images.js';
import { type CallOptions, Model, type ModelSource } from './model.js';
import { type Feeds, moved, toFeeds } from './samples.js';
import { Tensor, tensorOfBytes } from './tensor.js';

export interface SessionOptions {
  /** Shapes of inputs that the model leaves open. The batch is 1 unless given; where other sizes are open and not given, the first run says them. */
  inputShapes?: Record<string, number[]>;
  engine?: Engine;
  signal?: AbortSignal;
  /**
   * The network's only input takes pictures as bytes: ImageData or a uint8 tensor [1, H, W, 4] of RGBA, whose way to normalized numbers is the
   * session's first step; pictures of another size are resized, and rounded to bytes. `images()` with the same options gives the same results of
   * pictures that have the size, from four times the memory. `{ ...imagePresets.imagenet }`, or `{}` for bytes as 0 to 1.
   */
  pixels?: PixelOptions;
  /** Upper bound in bytes for activations and packed weights (LIMIT_EXCEEDED above it), and for the pixels of a picture (IMAGE_TOO_LARGE). */
  memoryLimit?: number;
  /**
   * Runs of the first shapes alone. A session of a model with open sizes otherwise keeps the model's own weights, and is planned anew when a run
   * has other shapes. Default false.
   */
  fixedShapes?: boolean;
}
export interface RunOptions {
  signal?: AbortSignal;
  /** Moves the feeds' memory to the worker instead of copying it: do not use them afterwards. Default false. */
  transfer?: boolean;
}
export interface Profile {
  steps: StepProfile[];
  memory: Memory;
}

function checkOptions({ inputShapes = {}, memoryLimit = 0 }: SessionOptions): void {
  const bad = (what: string, hint: string): never => {
    throw new OctavoError({ code: 'INVALID_OPTION', what, where: 'InferenceSession.create', hint });
  };
  if (!Number.isSafeInteger(memoryLimit) || memoryLimit < 0)
    bad(`memoryLimit = ${String(memoryLimit)} is no number of bytes.`, 'Give a whole number; 0 is no limit.');
  for (const [name, shape] of Object.entries(inputShapes ?? {})) {
    if (!Array.isArray(shape) || !shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
      bad(`inputShapes['${name}'] = ${JSON.stringify(shape)} is no shape.`, 'Give an array of whole numbers, one for each dimension.');
  }
}

export class InferenceSession {
  /**
   * As it was made: with all dimensions as numbers, or as the model has them where the first run says sizes. Runs may choose others where
   * `openInputs` leaves them open.
   */
  readonly inputs: TensorInfo[];
  /** Where a run alone knows how many rows there are (NonMaxSuppression), the shape has the most; results have theirs. */
  readonly outputs: TensorInfo[];
  /** What runs may have: the model's inputs, with names where a size is free. */
  readonly openInputs: TensorInfo[];
  readonly inputNames: string[];
  readonly outputNames: string[];
  readonly #owner: Owner;
  readonly #id: number;
  readonly #takesPixels: boolean;
  readonly #memoryLimit: number;
  #closed = false;
  /** Runs that were aborted and that the engine has not given up yet: it hears of it between two pieces of work. */
  #ending: Promise<unknown> | undefined;
  /** Memory for the next feeds. It goes to the worker and comes back: new memory for each run would take longer than writing it. */
  #spare: RawFeeds = {};

  private constructor(owner: Owner, info: SessionInfo, takesPixels: boolean, openInputs: TensorInfo[], memoryLimit: number) {
    this.#takesPixels = takesPixels;
    this.#memoryLimit = memoryLimit;
    this.openInputs = openInputs;
    this.#owner = owner;
    this.#id = info.id;
    this.inputs = info.inputs;
    this.outputs = info.outputs;
    this.inputNames = info.inputs.map(({ name }) => name);
    this.outputNames = info.outputs.map(({ name }) => name);
  }

  /**
   * Plans memory and packs weights. The model may be closed afterwards. Where it leaves a height, a width, ... open that `inputShapes` does not
   * say, the first run does that, for the shape of its feeds.
   *
   * @param model a Model, or anything that Model.load takes
   * @throws OctavoError DYNAMIC_DIMENSION where a size is open and stays so (`pixels`, `fixedShapes`), SHAPE_MISMATCH, OUT_OF_MEMORY, LIMIT_EXCEEDED, ...
   */
  static async create(model: Model | ModelSource, options: SessionOptions = {}): Promise<InferenceSession> {
    throwIfAborted(options.signal, 'InferenceSession.create');
    checkOptions(options);
    const pixels = options.pixels ? pixelMapping(options.pixels) : null;
    const own = !(model instanceof Model);
    const loaded = own
      ? await Model.load(model, {
          ...(options.engine ? { engine: options.engine } : {}),
          ...(options.signal ? { signal: options.signal } : {}),
        })
      : model;
    try {
      const { owner } = loaded;
      const fixed = options.fixedShapes ?? false;
      const memoryLimit = options.memoryLimit ?? 0;
      const creating = owner.engine
        .call('createSession', [loaded.id, options.inputShapes ?? {}, memoryLimit, pixels, fixed], owner)
        .then((info) => new InferenceSession(owner, info, pixels !== null, fixed || pixels ? info.inputs : loaded.inputs, memoryLimit));
      return await abortable(creating, options.signal, 'InferenceSession.create', (session) => session.close().catch(() => {}));
    } finally {
      if (own) await loaded.close();
    }
  }

  /**
   * Runs the network once. Where the model leaves sizes open, feeds with a shape of their own choose them: the session is planned for it, within its
   * `memoryLimit`, and keeps the plans of the last four shapes.
   *
   * @param feeds a tensor for each input, by name; for one input it may stand alone, and a picture may stand for it
   * @returns the outputs by name
   * @throws OctavoError SAMPLE_SHAPE where the model fixes another size; SHAPE_MISMATCH, LIMIT_EXCEEDED, ... where the network cannot have that
   *   shape. The session goes on with those it had.
   */
  async run(feeds: Feeds | Tensor | ImageSource, options: RunOptions = {}): Promise<Record<string, Tensor>> {
    this.#check();
    throwIfAborted(options.signal, 'session.run');
    const raw = await this.#feeds(feeds, 'session.run');
    const { engine } = this.#owner;
    if (this.#ending) await abortable(this.#ending, options.signal, 'session.run');
    const call = engine.nextCallId();
    const mine = !options.transfer && engine.features.worker;
    const given = mine ? this.#copied(raw) : raw;
    const running = engine.call('run', [this.#id, engine.features.worker ? moved(given) : given, call], this.#owner);
    const abort = (): void => {
      engine.call('abort', [call], this.#owner).catch(() => {});
      const ending = running
        .catch(() => {})
        .finally(() => {
          if (this.#ending === ending) this.#ending = undefined;
        });
      this.#ending = ending;
    };
    options.signal?.addEventListener('abort', abort);
    try {
      const { outputs, feeds: back } = await abortable(running, options.signal, 'session.run');
      if (mine) this.#spare = back;
      return Object.fromEntries(Object.entries(outputs).map(([name, { type, bytes, shape }]) => [name, tensorOfBytes(type, bytes, shape)]));
    } finally {
      options.signal?.removeEventListener('abort', abort);
    }
  }

  /** Runs once and times each step; with the memory that the session uses. */
  async profile(feeds: Feeds | Tensor | ImageSource, { signal }: CallOptions = {}): Promise<Profile> {
    this.#check();
    throwIfAborted(signal, 'session.profile');
    const raw = await this.#feeds(feeds, 'session.profile');
    return abortable(this.#owner.engine.call('profile', [this.#id, raw], this.#owner), signal, 'session.profile');
  }

  /** Frees its memory; a run under way ends with CLOSED. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const { engine, generation } = this.#owner;
    if (engine.closed || generation !== engine.generation) return;
    await engine.call('release', [this.#id], this.#owner);
    await this.#ending; // what still runs has its memory until then
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #feeds(feeds: Feeds | Tensor | ImageSource, where: string): Promise<RawFeeds> {
    const [input] = this.inputs;
    if (this.#takesPixels && input && isImageSource(feeds)) {
      const shape = input.shape as [number, number, number, number];
      const bytes = await imageToPixels(feeds, [shape[1], shape[2]], where, this.#memoryLimit);
      return toFeeds(new Tensor('uint8', bytes, [1, ...shape.slice(1)]), { inputs: this.inputs, inputShapes: {} }, where);
    }
    return toFeeds(feeds, { inputs: this.inputs, inputShapes: {}, open: this.openInputs, memoryLimit: this.#memoryLimit }, where);
  }

  #copied(feeds: RawFeeds): RawFeeds {
    const spare = this.#spare;
    this.#spare = {}; // a second run meanwhile gets its own
    return Object.fromEntries(
      Object.entries(feeds).map(([name, { type, bytes, shape }]) => {
        const own = spare[name]?.bytes;
        const copy = own?.length === bytes.length ? own : new Uint8Array(bytes.length);
        copy.set(bytes);
        return [name, { type, bytes: copy, shape }];
      }),
    );
  }

  #check(): void {
    if (this.#closed)
      throw new OctavoError({ code: 'CLOSED', what: 'This session was closed.', where: 'session', hint: 'Create a new one.' });
  }
}
