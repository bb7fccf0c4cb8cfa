// Runs the tests of threads (the pool, sessions on it) under ThreadSanitizer: `npm run tsan`
//
// Natively, with the compiler's -fsanitize=thread; a data race ends the program. Its shadow memory does not lie where every kernel puts
// programs, so it runs without address-space randomization.

import { ninja } from './build.mjs';
import { fail, findProgram, inRoot, run } from './project.mjs';
import { doctestCounts } from './test.mjs';

try {
  await ninja('tsan', 'test_runtime');
  const setarch = findProgram('setarch');
  const command = [...(setarch ? [setarch, '-R'] : []), inRoot('build/tsan/test_runtime')];
  const result = await run(command, { env: { ...process.env, TSAN_OPTIONS: 'halt_on_error=1 second_deadlock_stack=1' } });
  const { passed, failed, skipped, output } = doctestCounts(result);
  if (failed > 0) console.log(output);
  console.log(`tsan: ${passed} passed, ${failed} failed, ${skipped} skipped`);
  process.exitCode = failed > 0 ? 1 : 0;
} catch (error) {
  fail(error);
}
