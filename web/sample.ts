// The built-in sample: our digits network and a few hundred MNIST digits (made by tools/make-sample.mjs).

import { type Engine, Model } from 'octavo';
import type { Picture } from './app.ts';

export interface Sample {
  model: Model;
  bytes: number;
  calibration: Picture[];
  evaluation: Picture[];
}

const side = 28;
const record = 1 + side * side; // label, then grey bytes

function pictures(bytes: Uint8Array, kind: string): Picture[] {
  const list: Picture[] = [];
  for (let at = 0; at + record <= bytes.length; at += record) {
    const label = bytes[at] ?? 0;
    list.push({ name: `${kind} digit ${list.length} (a ${label})`, digit: bytes.subarray(at + 1, at + record), label });
  }
  return list;
}

async function fetchBytes(path: string, signal: AbortSignal): Promise<Uint8Array> {
  const response = await fetch(new URL(path, document.baseURI), { signal });
  if (!response.ok) throw new Error(`The sample file ${path} could not be read (HTTP ${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}

export async function loadSample(engine: Engine, signal: AbortSignal): Promise<Sample> {
  const [network, train, test] = await Promise.all([
    fetchBytes('samples/digits_mobilenet_bn.onnx', signal),
    fetchBytes('samples/digits_train.bin', signal),
    fetchBytes('samples/digits_test.bin', signal),
  ]);
  const bytes = network.length;
  const model = await Model.load(network, { engine, signal });
  return { model, bytes, calibration: pictures(train, 'training'), evaluation: pictures(test, 'test') };
}

/** A digit as the network's input: [1, 1, 28, 28], x / 255. */
export function digitTensor(grey: Uint8Array): { data: Float32Array; shape: number[] } {
  return { data: Float32Array.from(grey, (byte) => byte / 255), shape: [1, 1, side, side] };
}

/** Draws a digit for people. */
export function digitCanvas(grey: Uint8Array): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = side;
  canvas.height = side;
  const context = canvas.getContext('2d');
  const image = context?.createImageData(side, side);
  if (context && image) {
    grey.forEach((byte, i) => image.data.set([byte, byte, byte, 255], 4 * i));
    context.putImageData(image, 0, 0);
  }
  return canvas;
}
