// Sets up what is missing to build Octavo, and with --all also what its tests need. `npm run setup`
//
// Packages of the system are installed with apt as root or with sudo. Without either, the header packages and
// Emscripten are unpacked below .cache instead, and what remains is named in a line.

import { createWriteStream, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { CommandError, emscriptenRoot, fail, findProgram, inRoot, isMain, mustRun, run, seconds, withLock } from './project.mjs';

export const headerFolders = ['/usr/include', '/usr/local/include', inRoot('.cache/headers/usr/include')];
const hasHeader = (name) => headerFolders.some((folder) => existsSync(`${folder}/${name}`));

/** Debian packages by what shows that they are there. */
const headerPackages = [
  { package: 'doctest-dev', present: () => hasHeader('doctest/doctest.h') },
  { package: 'libprotozero-dev', present: () => hasHeader('protozero/pbf_reader.hpp') },
  { package: 'nlohmann-json3-dev', present: () => hasHeader('nlohmann/json.hpp') },
  { package: 'libsimde-dev', present: () => hasHeader('simde/wasm/simd128.h') },
];

export const browsers = {
  chromium: {
    package: 'chromium',
    find: () => process.env.OCTAVO_CHROMIUM ?? findProgram('chromium', 'google-chrome', 'google-chrome-stable', 'chromium-browser'),
  },
  firefox: {
    package: 'firefox-esr',
    find: () => process.env.OCTAVO_FIREFOX ?? findProgram('firefox-esr', 'firefox'),
  },
};

const toolsNeeded = ['cmake', 'ninja', 'python3', 'c++', 'npm'];

/** Whether node_modules holds what package-lock.json asks for (packages of other platforms aside). */
function npmIsCurrent() {
  const installed = inRoot('node_modules/.package-lock.json');
  if (!existsSync(installed)) return false;
  const read = (path) => JSON.parse(readFileSync(path, 'utf8')).packages;
  const have = read(installed);
  return Object.entries(read(inRoot('package-lock.json'))).every(
    ([path, { version, optional }]) => path === '' || (path in have ? have[path].version === version : optional),
  );
}

/** How to become root: [] when we are, ['sudo', ...] when that works, undefined when nothing does. */
let rootCommand;
async function becomeRoot(why) {
  if (rootCommand !== undefined) return rootCommand ?? undefined;
  rootCommand = null;
  if (process.getuid?.() === 0) rootCommand = [];
  else if (findProgram('sudo')) {
    if ((await run(['sudo', '-n', 'true'])).code === 0) rootCommand = ['sudo', '-n'];
    else if (process.stdin.isTTY && process.stdout.isTTY) {
      console.log(`setup: sudo is asked for, to ${why} (refuse it, and what can be done without is done)`);
      if ((await run(['sudo', '-v'], { show: true })).code === 0) rootCommand = ['sudo', '-n'];
    }
  }
  return rootCommand ?? undefined;
}

const aptGet = ['apt-get', '-o', 'DPkg::Lock::Timeout=600', '-o', 'Acquire::Retries=3', '-qq'];
let listsRead = false;

async function install(packages, as) {
  const apt = [...as, 'env', 'DEBIAN_FRONTEND=noninteractive', ...aptGet];
  const attempt = () => run([...apt, '-y', '--no-install-recommends', 'install', ...packages]);
  // Lists that are absent or out of date make the first attempt fail.
  let result = await attempt();
  if (result.code !== 0 && !listsRead) {
    listsRead = true;
    await run([...apt, 'update']);
    result = await attempt();
  }
  if (result.code !== 0) throw new CommandError([...apt, 'install', ...packages], result.code, result.output);
}

/** Without root: package lists and archives of our own, for `apt-get download`. Sets APT_CONFIG for every apt after it. */
async function privateApt() {
  if (process.env.APT_CONFIG || !findProgram('apt-get')) return;
  const folder = inRoot('.cache/apt');
  mkdirSync(`${folder}/lists/partial`, { recursive: true });
  mkdirSync(`${folder}/cache/archives/partial`, { recursive: true });
  const config = `${folder}/apt.conf`;
  writeFileSync(
    config,
    [`Dir::State::lists "${folder}/lists";`, `Dir::Cache "${folder}/cache";`, 'Acquire::Languages "none";', ''].join('\n'),
  );
  process.env.APT_CONFIG = config;
  await mustRun(['apt-get', '-qq', 'update']);
}

async function unpackHeaders(packages) {
  await privateApt();
  const debs = inRoot('.cache/debs');
  rmSync(debs, { recursive: true, force: true });
  mkdirSync(debs, { recursive: true });
  await mustRun(['apt-get', '-qq', 'download', ...packages], { cwd: debs });
  for (const deb of readdirSync(debs)) await mustRun(['dpkg-deb', '-x', `${debs}/${deb}`, inRoot('.cache/headers')]);
}

const missingHeaders = () => headerPackages.filter((one) => !one.present()).map((one) => one.package);

async function headers() {
  const missing = missingHeaders();
  if (missing.length === 0) return false;
  const byHand = `Please install: ${missing.join(' ')}`;
  const as = findProgram('apt-get') && (await becomeRoot(`install ${missing.join(' ')}`));
  try {
    if (as) await install(missing, as);
    else if (findProgram('apt-get') && findProgram('dpkg-deb')) await unpackHeaders(missing);
    else throw new Error(`setup: there is no apt here. ${byHand}`);
  } catch (error) {
    error.message += `\nsetup: ${byHand}`;
    throw error;
  }
  return true;
}

async function emscripten() {
  if (emscriptenRoot()) return false;
  const as = await becomeRoot('install the LLVM that Emscripten runs on');
  if (!as) await privateApt();
  mkdirSync(inRoot('.cache'), { recursive: true });
  const log = createWriteStream(inRoot('.cache/emscripten-install.log'));
  const output = await mustRun(['bash', 'tools/install-emscripten.sh'], { onLine: (line) => log.write(`${line}\n`) });
  log.end();
  const folder = output.trim().split('\n').at(-1);
  writeFileSync(inRoot('.cache/emscripten-root'), `${await emscriptenScripts(folder)}\n`);
  return true;
}

/** The folder of Emscripten's scripts and CMake files, of which `bin` may only hold links (Debian's /usr/bin). */
async function emscriptenScripts(bin) {
  if (existsSync(`${bin}/cmake/Modules/Platform/Emscripten.cmake`)) return bin;
  const output = await mustRun(['python3', '-c', 'import os,sys; print(os.path.dirname(os.path.realpath(sys.argv[1])))', `${bin}/emcc`]);
  const folder = [output.trim(), '/usr/share/emscripten'].find((at) => existsSync(`${at}/cmake/Modules/Platform/Emscripten.cmake`));
  if (!folder) throw new Error(`setup: ${bin}/emcc is there, but not its CMake toolchain file; set EMSCRIPTEN_ROOT`);
  return folder;
}

/** A compiler cache: what the two WebAssembly builds have in common is compiled once. Builds do without it. */
async function compilerCache() {
  const as = findProgram('apt-get') && (await becomeRoot('install ccache'));
  if (!as) return false;
  return install(['ccache'], as).then(
    () => true,
    () => false,
  );
}

/** Installs browsers that are not there, where that is possible. Those that stay away are tested for by `find`. */
async function browserPackages(say) {
  const missing = Object.values(browsers)
    .filter((one) => !one.find())
    .map((one) => one.package);
  if (missing.length === 0) return false;
  const as = findProgram('apt-get') && (await becomeRoot(`install ${missing.join(' ')}`));
  if (as) {
    try {
      await install(missing, as);
      return true;
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      say(error.output.trim().split('\n').at(-1));
    }
  }
  say(`setup: browser tests need a package that could not be installed: ${missing.join(' ')}`);
  return false;
}

/** Sets up what is missing; with `all`, also browsers. `say` gets a line for each part that had to be done. */
export async function setup({ all = false, say = console.log } = {}) {
  const absent = toolsNeeded.filter((tool) => !findProgram(tool));
  if (absent.length) throw new Error(`setup: please install ${absent.join(', ')} (Debian: g++ cmake ninja-build python3 npm)`);
  const part = async (name, work) => {
    const from = performance.now();
    if (await work()) say(`setup: ${name.padEnd(14)} ${seconds(from).padStart(8)}`);
  };
  const npm = part('npm packages', async () => {
    if (npmIsCurrent()) return false;
    return withLock(async () => {
      if (npmIsCurrent()) return false;
      await mustRun(['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error']);
      return true;
    });
  });
  const system = (async () => {
    if (missingHeaders().length > 0) await part('headers', () => withLock(headers));
    if (all && !findProgram('ccache')) await part('compiler cache', compilerCache);
    if (!emscriptenRoot()) await part('emscripten', () => withLock(emscripten));
    if (all) await part('browsers', () => browserPackages(say));
  })();
  const ended = await Promise.allSettled([npm, system]); // both, so that neither is cut off
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
}

if (isMain(import.meta.url)) await setup({ all: process.argv.includes('--all') }).catch(fail);
