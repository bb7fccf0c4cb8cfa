// Asks the registry for known defects of what the package depends on and is built with: `npm run audit`
//
// Ends with 1 where there is one, and with 2 where the registry does not answer such questions (mirrors often do not): then nothing was
// checked, and the closing line says so.

import { run } from './project.mjs';

const { code, output } = await run(['npm', 'audit', '--json', '--audit-level=low']);
let answer = {};
try {
  answer = JSON.parse(output.slice(output.indexOf('{'), output.lastIndexOf('}') + 1));
} catch {} // what npm says instead is shown below
const { vulnerabilities, metadata } = answer;
if (vulnerabilities === undefined) {
  const why = answer.message ?? answer.error?.summary ?? output.trim().split('\n').at(-1);
  console.log(
    `audit: NOT CHECKED: the registry does not answer audits (${why}). Ask another one: npm_config_registry=ADDRESS npm run audit`,
  );
  process.exitCode = 2;
} else {
  for (const { name, severity, range } of Object.values(vulnerabilities)) console.log(`audit: ${name} ${range}: ${severity}`);
  console.log(`audit: ${metadata.dependencies.total} packages, ${metadata.vulnerabilities.total} with known defects`);
  process.exitCode = code === 0 ? 0 : 1;
}
