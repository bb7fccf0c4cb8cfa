// Brings the build up to date, then runs a script with Node 24: `node tools/with-build.mjs SCRIPT [ARGUMENT...]`

import { build } from './build.mjs';
import { fail, node24, run } from './project.mjs';
import { setup } from './setup.mjs';

try {
  const say = (line) => console.error(line); // standard output is the script's
  await setup({ say });
  await build({ page: false, say });
  const { code } = await run([node24(), ...process.argv.slice(2)], { cwd: process.cwd(), show: true });
  process.exitCode = typeof code === 'number' ? code : 1;
} catch (error) {
  fail(error);
}
