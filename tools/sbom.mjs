// Writes what the package is made of, as CycloneDX: `npm run sbom [-- FILE]`, dist/sbom.json unless told.
//
// `npm run build` does the same, so that the list is in the package. npm knows its own packages; what is compiled into the modules, header packages and Emscripten's C and C++ libraries, is added from
// the headers themselves.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { emscriptenRoot, fail, inRoot, isMain, mustRun } from './project.mjs';
import { headerFolders } from './setup.mjs';

/** The first version that `pattern` finds in a header: one group with all of it, or one for each number. */
function headerVersion(path, pattern) {
  const folder = headerFolders.find((one) => existsSync(join(one, path)));
  if (!folder) throw new Error(`sbom: ${path} is missing; npm run setup installs it`);
  return [...readFileSync(join(folder, path), 'utf8').matchAll(pattern)].map(([, number]) => number).join('.');
}

function emscriptenVersion() {
  const folder = emscriptenRoot();
  if (!folder) throw new Error('sbom: Emscripten is missing; npm run setup installs it');
  return readFileSync(join(folder, 'emscripten-version.txt'), 'utf8').replaceAll('"', '').trim();
}

/** What is compiled into the WebAssembly modules. */
const compiledIn = () => [
  {
    name: 'protozero',
    version: headerVersion('protozero/version.hpp', /VERSION_STRING "([\d.]+)"/g),
    license: 'BSD-2-Clause',
    home: 'mapbox/protozero',
  },
  {
    name: 'json',
    version: headerVersion('nlohmann/detail/abi_macros.hpp', /define NLOHMANN_JSON_VERSION_\w+ (\d+)/g),
    license: 'MIT',
    home: 'nlohmann/json',
  },
  { name: 'emscripten', version: emscriptenVersion(), license: 'MIT', home: 'emscripten-core/emscripten' },
];

/** Writes the list to `path`; the components it names. */
export async function writeSbom(path = inRoot('dist/sbom.json')) {
  const list = JSON.parse(await mustRun(['npm', 'sbom', '--omit', 'dev', '--package-lock-only', '--sbom-format', 'cyclonedx']));
  list.metadata.component.name = 'octavo'; // not the folder's
  for (const { name, version, license, home } of compiledIn()) {
    const purl = `pkg:github/${home}@${version}`;
    list.components.push({
      'bom-ref': purl,
      type: 'library',
      name,
      version,
      scope: 'required',
      purl,
      licenses: [{ license: { id: license } }],
    });
  }
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(list, null, 2)}\n`);
  return list.components;
}

if (isMain(import.meta.url)) {
  try {
    const path = resolve(process.argv[2] ?? inRoot('dist/sbom.json'));
    const components = await writeSbom(path);
    console.log(`${path}: ${components.map(({ name, version }) => `${name} ${version}`).join(', ')}`);
  } catch (error) {
    fail(error);
  }
}
