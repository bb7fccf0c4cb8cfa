// The engine in a Node worker thread, and its starter. Loaded in Node only.

import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { expose, type Remote, wrap } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { Host } from './host.js';

if (!isMainThread && parentPort) expose(new Host(), nodeEndpoint(parentPort));

/** Starts a worker thread; `onExit` is called when it ends by itself. */
export function startNodeWorker(onExit: (reason: string) => void): {
  remote: Remote<Host>;
  terminate: () => void;
  unref: () => void;
  ref: () => void;
} {
  const worker = new Worker(new URL(import.meta.url));
  worker.on('error', (error: unknown) => onExit(error instanceof Error ? error.message : String(error)));
  worker.on('exit', (code) => onExit(`the worker ended with code ${code}`));
  return {
    remote: wrap<Host>(nodeEndpoint(worker)),
    terminate: () => void worker.terminate(),
    unref: () => worker.unref(),
    ref: () => worker.ref(),
  };
}
