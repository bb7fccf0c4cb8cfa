// Formats C++ with clang-format, or with --check only says what it would change. `npm run format`, `npm run lint`

import { readdirSync } from 'node:fs';
import { fail, findProgram, inRoot, mustRun } from './project.mjs';

const sources = ['src', 'tests', 'bindings/embind', 'bench', 'examples'].flatMap((folder) =>
  readdirSync(inRoot(folder), { recursive: true })
    .filter((file) => /\.(cpp|h)$/.test(file))
    .map((file) => `${folder}/${file}`),
);

try {
  const program = findProgram('clang-format', 'clang-format-19');
  if (!program) throw new Error('format: please install clang-format');
  const check = process.argv.includes('--check');
  await mustRun([program, ...(check ? ['--dry-run', '--Werror'] : ['-i']), ...sources]);
  console.log(`format: ${sources.length} files${check ? ' are as they should be' : ''}`);
} catch (error) {
  fail(error);
}
