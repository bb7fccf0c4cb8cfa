// Decodes JPEG and PNG files for the command line; browsers decode by themselves.

import { inflateSync } from 'node:zlib';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { OctavoError } from './errors.js';
import { checkPictureSize, maxPicturePixels, pictureSize } from './picture-size.js';

export interface DecodedPicture {
  name: string;
  /** RGBA bytes, row by row. */
  data: Uint8Array;
  width: number;
  height: number;
}

const extensions = /\.(jpe?g|png)$/i;
export const isPicture = (path: string): boolean => extensions.test(path);

/** What jpeg-js may take to decode, by its own account: coefficients of all components, 4 bytes each. */
const jpegMegabytes = 1024;
/** Bytes that one byte of deflated data gives at most. */
const mostOfDeflate = 1032;
/** Pixels that one byte of a JPEG gives at most: each block of 64 takes a bit. */
const mostOfJpeg = 512;

/**
 * What has to hold before pngjs takes memory: it believes the last header, and inflates all that an interlaced picture has.
 *
 * @throws Error where the picture is damaged, OctavoError IMAGE_TOO_LARGE
 */
function checkPng(bytes: Buffer, name: string, memoryLimit?: number): void {
  const deflated: Buffer[] = [];
  const headers: Buffer[] = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (type === 'IHDR') headers.push(data);
    if (type === 'IDAT') deflated.push(data);
    at += 12 + length;
  }
  const [header, second] = headers;
  if (!header || second || header.length !== 13) throw new Error('there is not one header');
  const [width, height, depth, interlace] = [header.readUInt32BE(0), header.readUInt32BE(4), header[8] ?? 0, header[12] ?? 0];
  if (width === 0 || height === 0) throw new Error('it has no pixels');
  checkPictureSize({ width, height }, name, memoryLimit);
  const samples = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }[header[9] ?? 0] ?? 4;
  const inflated = Math.ceil((width * samples * depth) / 8) * height;
  const given = deflated.reduce((sum, { length }) => sum + length, 0);
  if (inflated > given * mostOfDeflate) throw new Error(`${given} bytes cannot hold ${width} x ${height} pixels`);
  // Of the seven passes each row has a byte of its own, and may fill up another.
  if (interlace) inflateSync(Buffer.concat(deflated), { maxOutputLength: inflated + 2 * (2 * height + 7) });
}

/**
 * Decodes by content, not by name.
 *
 * @param memoryLimit bytes of the RGBA pixels at most; 0 or left out is no limit beside maxPicturePixels
 * @throws OctavoError BAD_IMAGE and IMAGE_TOO_LARGE, which name the file
 */
export function decodePicture(bytes: Uint8Array, name: string, memoryLimit?: number): DecodedPicture {
  try {
    if (bytes[0] === 0xff && bytes[1] === 0xd8) {
      const size = pictureSize(bytes);
      if (!size) throw new Error('there is no header');
      checkPictureSize(size, name, memoryLimit);
      if (size.width * size.height > mostOfJpeg * bytes.length)
        throw new Error(`${bytes.length} bytes cannot hold ${size.width} x ${size.height} pixels`);
      const limits = { maxMemoryUsageInMB: jpegMegabytes, maxResolutionInMP: maxPicturePixels / 1e6 };
      const { data, width, height } = jpeg.decode(bytes, { useTArray: true, ...limits });
      return { name, data, width, height };
    }
    if (bytes[0] === 0x89 && bytes[1] === 0x50) {
      const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      checkPng(file, name, memoryLimit);
      const { data, width, height } = PNG.sync.read(file);
      return { name, data: new Uint8Array(data.buffer, data.byteOffset, data.length), width, height };
    }
  } catch (error) {
    if (error instanceof OctavoError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new OctavoError({
      code: 'BAD_IMAGE',
      what: `The picture cannot be decoded: ${why}.`,
      where: name,
      hint: 'Save it again as JPEG or PNG, or take it out of the folder.',
    });
  }
  throw new OctavoError({
    code: 'BAD_IMAGE',
    what: 'This is neither a JPEG nor a PNG file.',
    where: name,
    hint: 'Give JPEG or PNG pictures.',
  });
}
