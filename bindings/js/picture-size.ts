// How large a picture says that it is, read from its header: before anybody takes memory for it.

import { OctavoError } from './errors.js';

/** Pixels of a picture at most, 8192 x 8192: 256 MiB of RGBA bytes. */
export const maxPicturePixels: number = 2 ** 26;

export interface PictureSize {
  width: number;
  height: number;
}

const text = (bytes: Uint8Array, at: number, length: number): string => String.fromCharCode(...bytes.subarray(at, at + length));

/** The size in the first frame header; behind it segments do not matter. */
function jpegSize(view: DataView): PictureSize | undefined {
  for (let at = 2; at + 9 <= view.byteLength; ) {
    const marker = view.getUint8(at + 1);
    if (view.getUint8(at) !== 0xff || marker === 0xff) {
      at++; // a byte that fills up
    } else if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    } else {
      const bare = marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8);
      at += bare ? 2 : 2 + view.getUint16(at + 2);
    }
  }
  return undefined;
}

function webpSize(view: DataView, kind: string): PictureSize | undefined {
  const three = (at: number): number => view.getUint16(at, true) + 65536 * view.getUint8(at + 2);
  if (kind === 'VP8X') return { width: three(24) + 1, height: three(27) + 1 };
  if (kind === 'VP8 ') return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  if (kind !== 'VP8L') return undefined;
  const bits = view.getUint32(21, true);
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
}

/** The largest of the sizes that an AVIF or HEIC file's items have (the picture, its tiles, a thumbnail). */
function itemsSize(bytes: Uint8Array, view: DataView): PictureSize | undefined {
  let largest: PictureSize | undefined;
  for (let at = bytes.indexOf(0x69); at >= 0 && at + 16 <= bytes.length; at = bytes.indexOf(0x69, at + 1)) {
    if (text(bytes, at, 4) !== 'ispe') continue;
    const size = { width: view.getUint32(at + 8), height: view.getUint32(at + 12) };
    if (!largest || size.width * size.height > largest.width * largest.height) largest = size;
  }
  return largest;
}

/**
 * The size that a picture's header gives: of PNG, JPEG, GIF, BMP, WebP, AVIF and HEIC, from the start of the file.
 *
 * @returns undefined where it is of another format, or the header is not complete
 */
export function pictureSize(bytes: Uint8Array): PictureSize | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  try {
    if (text(bytes, 1, 3) === 'PNG') return { width: view.getUint32(16), height: view.getUint32(20) };
    if (view.getUint16(0) === 0xffd8) return jpegSize(view);
    if (text(bytes, 0, 4) === 'GIF8') return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
    if (text(bytes, 0, 2) === 'BM') return { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
    if (text(bytes, 8, 4) === 'WEBP') return webpSize(view, text(bytes, 12, 4));
    if (text(bytes, 4, 4) === 'ftyp') return itemsSize(bytes, view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // it ends within its header
  }
  return undefined;
}

/**
 * Refuses a picture that is too large, before it is decoded.
 *
 * @param memoryLimit bytes of its RGBA pixels at most; 0 or left out is no limit beside maxPicturePixels
 * @throws OctavoError IMAGE_TOO_LARGE
 */
export function checkPictureSize({ width, height }: PictureSize, where: string, memoryLimit = 0): void {
  const pixels = width * height;
  if (pixels > maxPicturePixels) {
    throw new OctavoError({
      code: 'IMAGE_TOO_LARGE',
      what: `It has ${width} x ${height} pixels; at most ${maxPicturePixels} are read.`,
      where,
      hint: 'Make it smaller: networks take a few hundred pixels a side.',
    });
  }
  if (memoryLimit > 0 && 4 * pixels > memoryLimit) {
    throw new OctavoError({
      code: 'IMAGE_TOO_LARGE',
      what: `Its ${width} x ${height} pixels take ${4 * pixels} bytes; memoryLimit = ${memoryLimit}.`,
      where,
      hint: 'Make it smaller, or raise `memoryLimit`.',
    });
  }
}
