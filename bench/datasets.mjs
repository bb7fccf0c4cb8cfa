// The pictures that tests and benches measure accuracy with, read in place from a data folder (default ../shared/data
// beside the project). Each set is a list of { pixels, height, width, channels, label? }, bytes in HWC order.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import jpeg from 'jpeg-js';

export const project = join(dirname(fileURLToPath(import.meta.url)), '..');
export const dataFolder = process.env.OCTAVO_DATA ?? join(project, '../shared/data');
export const haveData = existsSync(join(dataFolder, 'INDEX.md'));

/** CIFAR-10 binary layout: a label byte, then red, green and blue planes of 32 x 32. */
function cifar(file) {
  const bytes = gunzipSync(readFileSync(join(dataFolder, 'pictures', file)));
  const plane = 32 * 32;
  const list = [];
  for (let at = 0; at < bytes.length; at += 1 + 3 * plane) {
    const pixels = new Uint8Array(3 * plane);
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < 3; c++) pixels[3 * i + c] = bytes[at + 1 + c * plane + i];
    }
    list.push({ pixels, height: 32, width: 32, channels: 3, label: bytes[at] });
  }
  return list;
}

/** A label byte, then 28 x 28 grey bytes. */
function mnist(file) {
  const bytes = gunzipSync(readFileSync(join(dataFolder, 'pictures', file)));
  const list = [];
  for (let at = 0; at < bytes.length; at += 785) {
    list.push({ pixels: bytes.subarray(at + 1, at + 785), height: 28, width: 28, channels: 1, label: bytes[at] });
  }
  return list;
}

function jpegFile(path, label) {
  const { data, width, height } = jpeg.decode(readFileSync(path), { useTArray: true, formatAsRGBA: false });
  return { pixels: data, height, width, channels: 3, label };
}

/** A folder of JPEG files with labels.tsv: file, ImageNet index. */
function imagenet(folder) {
  const root = join(dataFolder, 'pictures', folder);
  return readFileSync(join(root, 'labels.tsv'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split('\t'))
    .filter(([file, index]) => existsSync(join(root, file)) && /^\d+$/.test(index ?? ''))
    .map(([file, index]) => jpegFile(join(root, file), Number(index)));
}

const loaders = {
  cifarTest: () => cifar('cifar10_jpeg_test_1000.bin.gz'),
  cifarCalib: () => cifar('cifar10_jpeg_train_calib_200.bin.gz'),
  mnistTest: () => mnist('mnist_t10k_0-4999.bin.gz'),
  mnistCalib: () => mnist('mnist_train_calib_500.bin.gz'),
  imagenetTest: () => imagenet('imagenet_samples_256'),
  imagenetCalib: () => imagenet('imagenet_calib_256'),
  misc: () => ['solvay.jpg', 'ocr_ch_en_num.jpg'].map((file) => jpegFile(join(dataFolder, 'pictures/misc', file))),
};
const loaded = new Map();

/** The set of that name, read once. */
export function dataset(name) {
  if (!loaded.has(name)) loaded.set(name, loaders[name]());
  return loaded.get(name);
}

/** Bilinear resize with area averaging when shrinking (a triangle filter), then a centre crop. */
function resized(picture, height, width, shortSide) {
  const { pixels, channels } = picture;
  const scale = shortSide ? shortSide / Math.min(picture.height, picture.width) : undefined;
  const h = scale ? Math.round(picture.height * scale) : height;
  const w = scale ? Math.round(picture.width * scale) : width;
  const weights = (from, to) =>
    Array.from({ length: to }, (_, o) => {
      const ratio = from / to;
      const support = Math.max(1, ratio);
      const centre = (o + 0.5) * ratio - 0.5;
      const taps = [];
      for (let i = Math.max(0, Math.ceil(centre - support)); i <= Math.min(from - 1, Math.floor(centre + support)); i++) {
        const weight = Math.max(0, 1 - Math.abs(i - centre) / support);
        if (weight > 0) taps.push([i, weight]);
      }
      const sum = taps.reduce((a, [, x]) => a + x, 0);
      return taps.map(([i, x]) => [i, x / sum]);
    });
  const rows = weights(picture.height, h);
  const columns = weights(picture.width, w);
  const top = Math.floor((h - height) / 2);
  const left = Math.floor((w - width) / 2);
  const middle = new Float32Array(picture.height * width * channels);
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < width; x++) {
      for (const [i, weight] of columns[x + left]) {
        for (let c = 0; c < channels; c++)
          middle[(y * width + x) * channels + c] += weight * pixels[(y * picture.width + i) * channels + c];
      }
    }
  }
  const out = new Float32Array(height * width * channels);
  for (let y = 0; y < height; y++) {
    for (const [i, weight] of rows[y + top]) {
      for (let k = 0; k < width * channels; k++) out[y * width * channels + k] += weight * middle[i * width * channels + k];
    }
  }
  return out;
}

/**
 * A picture as an NCHW float tensor: resize (unless it fits), reorder to BGR or make grey if asked, then (x * scale - mean[c]) / std[c].
 */
export function toTensor(picture, { height, width, shortSide, bgr = false, scale = 1, mean = [0], std = [1], channels = 3 }) {
  const fits = picture.height === height && picture.width === width;
  const source = fits ? picture.pixels : resized(picture, height, width, shortSide);
  const plane = height * width;
  const data = new Float32Array(channels * plane);
  for (let c = 0; c < channels; c++) {
    const from = picture.channels === 1 ? 0 : bgr ? 2 - c : c;
    const m = mean[c % mean.length];
    const s = std[c % std.length];
    for (let i = 0; i < plane; i++) data[c * plane + i] = (source[i * picture.channels + from] * scale - m) / s;
  }
  return { data, shape: [1, channels, height, width] };
}
