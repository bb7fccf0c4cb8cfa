// Pictures as tensors: decode, resize, crop, normalize.
//
// Browsers decode; the resizing is ours, so that Chromium, Firefox and Node make the same numbers of the same pixels.

import { OctavoError } from './errors.js';
import type { PixelMapping, TensorInfo } from './host.js';
import { checkPictureSize, type PictureSize, pictureSize } from './picture-size.js';
import { Tensor } from './tensor.js';

/** RGBA bytes, row by row: ImageData is one, a decoder's result in Node is another. */
export interface Pixels {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
  name?: string;
}
export type ImageSource = Blob | Pixels | ImageBitmap | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas;

export interface ImageOptions {
  /** Height and width of the tensor; the picture's own where it is left out. */
  size?: readonly [number, number];
  /** First resize the short side to this, then cut `size` out; without it the whole picture is squeezed into `size`. */
  resize?: number;
  /** What is cut out after `resize`. */
  crop?: 'center';
  /** What bytes 0 and 255 become, before mean and std. Default [0, 1]. */
  range?: readonly [number, number];
  /** Subtracted, one number a channel (or one for all). Default 0. */
  mean?: readonly number[];
  /** Divided by, one number a channel (or one for all). Default 1. */
  std?: readonly number[];
  /** Default 'NCHW'. */
  layout?: 'NCHW' | 'NHWC';
  /** Default 'RGB'. Grey is 0.299 R + 0.587 G + 0.114 B. */
  channels?: 'RGB' | 'BGR' | 'GRAY';
}

/** What a picture may take; options of how it becomes numbers are kept in recipes, this is not. */
export interface PictureLimit {
  /** Bytes of a picture's RGBA pixels at most, IMAGE_TOO_LARGE above it; 0 is no limit but that of 2^26 pixels, which always holds. */
  memoryLimit?: number;
}

/** How a picture's bytes become numbers. */
export type PixelOptions = Pick<ImageOptions, 'range' | 'mean' | 'std' | 'channels'>;

/** The usual normalizations by name; spread one into ImageOptions. */
export const imagePresets: Readonly<Record<'imagenet' | 'mnist' | 'signed' | 'raw', ImageOptions>> = {
  imagenet: { range: [0, 1], mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  mnist: { range: [0, 1], channels: 'GRAY', size: [28, 28] },
  signed: { range: [-1, 1] },
  raw: { range: [0, 255] },
};

/** How an input takes pictures; what the model leaves open is left out. */
export interface ImageInput {
  layout: 'NCHW' | 'NHWC';
  channels?: number;
  height?: number;
  width?: number;
}

/**
 * How an input takes pictures, by its shape: channels are 1 or 3 and come second, or last where only that fits.
 *
 * @returns undefined where it takes none: another rank than 4, or another type than float32
 */
export function imageInput({ type, shape }: Pick<TensorInfo, 'type' | 'shape'>): ImageInput | undefined {
  if (shape.length !== 4 || type !== 'float32') return undefined;
  const [, second, third, last] = shape.map((dim) => (typeof dim === 'number' ? dim : undefined));
  const isDepth = (dim: number | undefined): boolean => dim === 1 || dim === 3;
  const layout = isDepth(last) && !isDepth(second) ? 'NHWC' : 'NCHW';
  const [channels, height, width] = layout === 'NHWC' ? [last, second, third] : [second, third, last];
  return {
    layout,
    ...(channels === undefined ? {} : { channels }),
    ...(height === undefined ? {} : { height }),
    ...(width === undefined ? {} : { width }),
  };
}

const isA = (name: string, value: unknown): boolean => {
  const constructor = (globalThis as Record<string, unknown>)[name];
  return typeof constructor === 'function' && value instanceof constructor;
};
const isPixels = (value: unknown): value is Pixels => {
  if (typeof value !== 'object' || value === null) return false;
  const { data, width, height } = value as Partial<Pixels>;
  return (data instanceof Uint8Array || data instanceof Uint8ClampedArray) && typeof width === 'number' && typeof height === 'number';
};
const drawables = ['ImageBitmap', 'HTMLImageElement', 'HTMLCanvasElement', 'OffscreenCanvas'];

export function isImageSource(value: unknown): value is ImageSource {
  return isA('Blob', value) || drawables.some((name) => isA(name, value)) || isPixels(value);
}

/** Of a file, what is read to find its size. */
const headerBytes = 65_536;

const nameOf = (source: ImageSource, index: number): string =>
  'name' in source && typeof source.name === 'string' && source.name ? source.name : `picture ${index}`;

/** What an image source says of its size before it is decoded; undefined where a format's header is not known to us. */
async function sizeOf(source: Exclude<ImageSource, Pixels>): Promise<PictureSize | undefined> {
  if (!isA('Blob', source)) {
    const { naturalWidth, naturalHeight, width, height } = source as PictureSize & Partial<HTMLImageElement>;
    return { width: naturalWidth ?? width, height: naturalHeight ?? height };
  }
  const blob = source as Blob;
  const bytesOf = async (length: number): Promise<Uint8Array> => new Uint8Array(await blob.slice(0, length).arrayBuffer());
  // A header may stand behind a long colour profile or preview.
  return pictureSize(await bytesOf(headerBytes)) ?? (blob.size > headerBytes ? pictureSize(await bytesOf(blob.size)) : undefined);
}

async function decode(source: ImageSource, where: string, memoryLimit?: number): Promise<Pixels> {
  if (isPixels(source)) {
    checkPictureSize(source, where, memoryLimit);
    if (source.data.length !== source.width * source.height * 4 || source.data.length === 0) {
      throw new OctavoError({
        code: 'BAD_IMAGE',
        what: `It has ${source.data.length} bytes for ${source.width} x ${source.height} RGBA pixels.`,
        where,
        hint: 'Give at least one pixel, and 4 bytes for each.',
      });
    }
    return source;
  }
  if (typeof createImageBitmap !== 'function' || typeof OffscreenCanvas !== 'function') {
    throw new OctavoError({
      code: 'BAD_IMAGE',
      what: 'This JavaScript engine does not decode pictures.',
      where,
      hint: 'Decode them with a package (jpeg-js, pngjs, sharp) and give { data, width, height } of RGBA bytes.',
    });
  }
  const size = await sizeOf(source);
  if (size) checkPictureSize(size, where, memoryLimit);
  try {
    // As stored: a page's colour profile or the file's gamma would make other numbers on other screens.
    const bitmap = await createImageBitmap(source as ImageBitmapSource, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
    const { width, height } = bitmap;
    checkPictureSize(bitmap, where, memoryLimit); // of a format that we do not know, before its pixels are copied
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    if (!context) throw new Error('no 2-d canvas');
    context.fillStyle = '#fff'; // behind transparent parts
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return context.getImageData(0, 0, width, height);
  } catch (error) {
    if (error instanceof OctavoError) throw error;
    throw new OctavoError(
      {
        code: 'BAD_IMAGE',
        what: `The picture cannot be decoded: ${error instanceof Error ? error.message : String(error)}.`,
        where,
        hint: 'Give JPEG, PNG, WebP or another format that the browser shows.',
      },
      { cause: error },
    );
  }
}

/** For each output place the input places it is made of, with weights that sum to 1: a triangle as wide as the shrinking. */
function weights(from: number, to: number, first: number, count: number): { start: number; weights: Float64Array }[] {
  const ratio = from / to;
  const support = Math.max(1, ratio);
  return Array.from({ length: count }, (_, i) => {
    const centre = (first + i + 0.5) * ratio - 0.5;
    const start = Math.max(0, Math.ceil(centre - support));
    const end = Math.min(from - 1, Math.floor(centre + support));
    const list = Float64Array.from({ length: Math.max(1, end - start + 1) }, (_, k) =>
      Math.max(0, 1 - Math.abs(start + k - centre) / support),
    );
    const sum = list.reduce((a, b) => a + b, 0);
    return { start: Math.min(start, from - 1), weights: sum > 0 ? list.map((w) => w / sum) : list.fill(1 / list.length) };
  });
}

/** RGB floats 0..255 of the part [top, left, height, width] of the picture resized to [tall, wide]. */
function resample(p: Pixels, tall: number, wide: number, top: number, left: number, height: number, width: number): Float32Array {
  const columns = weights(p.width, wide, left, width);
  const rows = weights(p.height, tall, top, height);
  const firstRow = Math.min(...rows.map((row) => row.start));
  const lastRow = Math.max(...rows.map((row) => row.start + row.weights.length));
  const middle = new Float32Array((lastRow - firstRow) * width * 3);
  for (let y = firstRow; y < lastRow; y++) {
    for (let x = 0; x < width; x++) {
      const column = columns[x];
      if (!column) continue;
      let [r, g, b] = [0, 0, 0];
      for (let k = 0; k < column.weights.length; k++) {
        const at = (y * p.width + column.start + k) * 4;
        const w = column.weights[k] ?? 0;
        r += w * (p.data[at] ?? 0);
        g += w * (p.data[at + 1] ?? 0);
        b += w * (p.data[at + 2] ?? 0);
      }
      middle.set([r, g, b], ((y - firstRow) * width + x) * 3);
    }
  }
  const out = new Float32Array(height * width * 3);
  for (let y = 0; y < height; y++) {
    const row = rows[y];
    if (!row) continue;
    for (let k = 0; k < row.weights.length; k++) {
      const w = row.weights[k] ?? 0;
      const from = (row.start + k - firstRow) * width * 3;
      for (let i = 0; i < width * 3; i++) out[y * width * 3 + i] = (out[y * width * 3 + i] ?? 0) + w * (middle[from + i] ?? 0);
    }
  }
  return out;
}

function fit(p: Pixels, options: ImageOptions): { rgb: Float32Array; height: number; width: number } {
  const [height, width] = options.size ?? [p.height, p.width];
  if (options.resize === undefined) return { rgb: resample(p, height, width, 0, 0, height, width), height, width };
  const scale = options.resize / Math.min(p.height, p.width);
  const tall = Math.max(height, Math.round(p.height * scale));
  const wide = Math.max(width, Math.round(p.width * scale));
  return { rgb: resample(p, tall, wide, Math.floor((tall - height) / 2), Math.floor((wide - width) / 2), height, width), height, width };
}

function checkOptions(options: ImageOptions): void {
  const bad = (what: string, hint: string): never => {
    throw new OctavoError({ code: 'INVALID_OPTION', what, where: 'images', hint });
  };
  const { size, resize, mean, std, range, channels = 'RGB', layout = 'NCHW' } = options;
  const depth = channels === 'GRAY' ? 1 : 3;
  if (!['RGB', 'BGR', 'GRAY'].includes(channels)) bad(`channels = '${channels}' is not known.`, "Use 'RGB', 'BGR' or 'GRAY'.");
  if (!['NCHW', 'NHWC'].includes(layout)) bad(`layout = '${layout}' is not known.`, "Use 'NCHW' or 'NHWC'.");
  if (size && (size.length !== 2 || size.some((n) => !Number.isInteger(n) || n < 1 || n > 16384)))
    bad(`size = [${size.join(', ')}] is not a height and a width.`, 'Give [height, width] in pixels.');
  if (resize !== undefined && (!Number.isInteger(resize) || resize < 1 || resize > 16384))
    bad(`resize = ${resize} is not a number of pixels.`, 'Give the short side in pixels.');
  for (const [name, list] of [
    ['mean', mean],
    ['std', std],
  ] as const) {
    if (list && ((list.length !== 1 && list.length !== depth) || !list.every(Number.isFinite)))
      bad(`${name} has ${list.length} numbers for ${depth} channels.`, `Give 1 or ${depth} numbers.`);
  }
  if (std?.some((s) => s === 0)) bad('std holds 0.', 'Values are divided by it.');
  if (range && (range.length !== 2 || !range.every(Number.isFinite)))
    bad('range is not two numbers.', 'Give what 0 and 255 become, e.g. [0, 1].');
}

/**
 * How bytes become channels: `source`, of each channel its place among R, G, B, or none for grey; `normalization`, of each channel scale, low, mean
 * and std, for (byte * scale + low - mean) / std.
 *
 * @throws OctavoError INVALID_OPTION
 */
export function pixelMapping(options: PixelOptions): PixelMapping {
  checkOptions(options);
  const { channels = 'RGB', range: [low, high] = [0, 1], mean = [0], std = [1] } = options;
  const of = (list: readonly number[], c: number): number => list[list.length === 1 ? 0 : c] as number;
  return {
    source: channels === 'GRAY' ? [] : channels === 'BGR' ? [2, 1, 0] : [0, 1, 2],
    normalization: Array.from({ length: channels === 'GRAY' ? 1 : 3 }, (_, c) => [(high - low) / 255, low, of(mean, c), of(std, c)]).flat(),
  };
}

/** One picture as RGBA bytes of a size: its own, or resized and rounded. */
export async function imageToPixels(
  source: ImageSource,
  [height, width]: readonly [number, number],
  where = 'picture',
  memoryLimit?: number,
): Promise<Uint8Array> {
  const pixels = await decode(source, where, memoryLimit);
  if (pixels.height === height && pixels.width === width)
    return new Uint8Array(pixels.data.buffer, pixels.data.byteOffset, pixels.data.length);
  const { rgb } = fit(pixels, { size: [height, width] });
  const bytes = new Uint8ClampedArray(height * width * 4).fill(255);
  for (let i = 0; i < height * width; i++) for (let c = 0; c < 3; c++) bytes[4 * i + c] = rgb[3 * i + c] as number;
  return new Uint8Array(bytes.buffer);
}

/** One picture as a float32 tensor of [1, C, H, W] or [1, H, W, C]. */
export async function imageToTensor(
  source: ImageSource,
  options: ImageOptions & PictureLimit = {},
  where = 'picture',
): Promise<Tensor<'float32'>> {
  const { source: places, normalization } = pixelMapping(options);
  const { rgb, height, width } = fit(await decode(source, where, options.memoryLimit), options);
  const { layout = 'NCHW' } = options;
  const depth = places.length || 1;
  const plane = height * width;
  const data = new Float32Array(depth * plane);
  for (let c = 0; c < depth; c++) {
    const [scale, low, m, s] = normalization.slice(4 * c) as [number, number, number, number];
    const from = places[c] ?? 0;
    for (let i = 0; i < plane; i++) {
      const byte =
        depth === 1 ? 0.299 * (rgb[3 * i] ?? 0) + 0.587 * (rgb[3 * i + 1] ?? 0) + 0.114 * (rgb[3 * i + 2] ?? 0) : (rgb[3 * i + from] ?? 0);
      data[layout === 'NCHW' ? c * plane + i : i * depth + c] = (byte * scale + low - m) / s;
    }
  }
  return new Tensor('float32', data, layout === 'NCHW' ? [1, depth, height, width] : [1, height, width, depth]);
}

/**
 * Pictures as tensors, one at a time: give it to quantizeStatic or compare.
 *
 * @throws OctavoError BAD_IMAGE and IMAGE_TOO_LARGE naming the picture, INVALID_OPTION
 */
export async function* images(
  sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
  options: ImageOptions & PictureLimit = {},
): AsyncGenerator<Tensor<'float32'>> {
  checkOptions(options);
  let index = 0;
  for await (const source of sources) {
    if (!isImageSource(source)) {
      throw new OctavoError({
        code: 'BAD_IMAGE',
        what: 'This is not a picture.',
        where: `picture ${index}`,
        hint: 'Give Files, Blobs, ImageData, or { data, width, height } of RGBA bytes.',
      });
    }
    yield await imageToTensor(source, options, nameOf(source, index++));
  }
}
