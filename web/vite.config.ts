// How the page is built: plain files below dist/web, every address relative, so that any folder of any server will do.

import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';
import { headers } from '../tools/serve.mjs';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

function filesBelow(folder: string, prefix = ''): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesBelow(path, `${prefix}${name}/`) : [`${prefix}${name}`];
  });
}

/** Writes sw.js with the list of the page's files in front, and a hash of their contents as the cache's version. */
function offline(): Plugin {
  return {
    name: 'octavo-offline',
    apply: 'build',
    writeBundle({ dir }) {
      const folder = dir ?? here('../dist/web');
      const files = filesBelow(folder)
        .filter((file) => file !== 'sw.js')
        .sort();
      const hash = createHash('sha256');
      for (const file of files) hash.update(file).update(readFileSync(join(folder, file)));
      const precache = { version: hash.digest('hex').slice(0, 16), files: ['./', ...files.map((file) => `./${file}`)] };
      writeFileSync(join(folder, 'sw.js'), `self.OCTAVO_PRECACHE = ${JSON.stringify(precache)};\n${readFileSync(here('./sw.js'), 'utf8')}`);
    },
  };
}

/** The page states its own policy, so that it is as closed on a server that sends no such header. */
function contentSecurityPolicy(): Plugin {
  return {
    name: 'octavo-csp',
    apply: 'build',
    transformIndexHtml: () => [
      {
        tag: 'meta',
        attrs: { 'http-equiv': 'Content-Security-Policy', content: headers['Content-Security-Policy'] },
        injectTo: 'head-prepend',
      },
    ],
  };
}

/** Names the styles that Vite's client writes into the page; another one for each server. */
const nonce = randomBytes(18).toString('base64url');

export default defineConfig(({ command }) => ({
  root: here('.'),
  base: './',
  resolve: { alias: { octavo: here('../dist/index.js') } },
  worker: { format: 'es' },
  build: {
    outDir: here('../dist/web'),
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0, // wasm and icons stay files: a data: address would need a laxer Content-Security-Policy
    modulePreload: { polyfill: false },
  },
  optimizeDeps: { exclude: ['octavo'] },
  // While developing: the page, what the package is made of and what Vite adds to it, under the policy that the built page has, but
  // for the styles of Vite's own script, which show this number.
  server: {
    host: '127.0.0.1',
    headers: {
      ...headers,
      'Content-Security-Policy': headers['Content-Security-Policy'].replace("style-src 'self'", `$& 'nonce-${nonce}'`),
    },
    fs: { allow: [here('.'), here('../dist'), here('../node_modules/vite/dist/client'), here('../node_modules/.vite')] },
  },
  ...(command === 'serve' ? { html: { cspNonce: nonce } } : {}),
  plugins: [contentSecurityPolicy(), offline()],
}));
