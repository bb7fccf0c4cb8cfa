// The server of `npm start` and of the browser tests: files of one folder on this machine only.

import { realpathSync } from 'node:fs';
import { createServer } from 'node:http';
import { join, sep } from 'node:path';
import { inRoot } from './project.mjs';

/** What shared memory, and with it threads, asks of a page. */
export const isolationHeaders = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

/** With these the page shows that it needs no eval, no inline script, no other host. */
export const headers = {
  ...isolationHeaders,
  'Content-Security-Policy': [
    "default-src 'self'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "connect-src 'self'",
    "img-src 'self' blob: data:",
    "worker-src 'self'",
    "style-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; '),
  'X-Content-Type-Options': 'nosniff',
};

/** Whether what a path of a URL may stand for lies in `folder`, or nowhere: a link in it may lead out of it. */
function staysIn(folder, path) {
  const top = realpathSync(folder);
  return ['', '.html', '.htm', '/index.html', '/index.htm'].every((more) => {
    try {
      const real = realpathSync(join(top, decodeURIComponent(path) + more));
      return real === top || real.startsWith(top + sep);
    } catch {
      return true; // there is no such file, or no such path can be
    }
  });
}

function listen(server, port) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve(server.address().port);
    });
  });
}

/**
 * Serves `folder` on 127.0.0.1: at `port`, or the next free one after it; port 0 is any free one.
 * Returns { url, close }.
 */
export async function serve({ folder = inRoot('dist/web'), port = 0, headers: given = headers } = {}) {
  const { default: sirv } = await import('sirv');
  const files = sirv(folder, {
    dev: true, // look at the disk for each request: the folder may be built anew meanwhile
    setHeaders(response) {
      for (const [name, value] of Object.entries(given)) response.setHeader(name, value);
    },
  });
  const server = createServer((request, response) => {
    const absent = () => {
      response.writeHead(404, { 'Content-Type': 'text/plain', ...isolationHeaders });
      response.end('Not found\n');
    };
    if (staysIn(folder, request.url.split(/[?#]/)[0])) files(request, response, absent);
    else absent();
  });
  for (let at = port; ; at++) {
    try {
      const got = await listen(server, at);
      return {
        url: `http://localhost:${got}/`,
        close: () =>
          new Promise((resolve) => {
            server.close(resolve);
            server.closeAllConnections();
          }),
      };
    } catch (error) {
      if (error.code !== 'EADDRINUSE' || at === 0 || at >= port + 100) throw error;
    }
  }
}
