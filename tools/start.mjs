// Sets up and builds what is missing or out of date, serves the demo page, prints its address. `npm start [-- --port N]`

import { parseArgs } from 'node:util';
import { build } from './build.mjs';
import { fail } from './project.mjs';
import { serve } from './serve.mjs';
import { setup } from './setup.mjs';

try {
  const { values } = parseArgs({ options: { port: { type: 'string', default: '8080' } } });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Error(`--port ${values.port}: a port is a number from 0 to 65535`);
  await setup();
  await build();
  const { url } = await serve({ port });
  console.log(`Octavo: ${url}`);
} catch (error) {
  fail(error);
}
