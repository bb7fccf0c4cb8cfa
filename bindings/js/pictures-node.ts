// Decodes JPEG and PNG files for the command line; browsers decode by themselves.

import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { OctavoError } from './errors.js';

export interface DecodedPicture {
  name: string;
  /** RGBA bytes, row by row. */
  data: Uint8Array;
  width: number;
  height: number;
}

const extensions = /\.(jpe?g|png)$/i;
export const isPicture = (path: string): boolean => extensions.test(path);

/** Decodes by content, not by name. BAD_IMAGE names the file. */
export function decodePicture(bytes: Uint8Array, name: string): DecodedPicture {
  try {
    if (bytes[0] === 0xff && bytes[1] === 0xd8) {
      const { data, width, height } = jpeg.decode(bytes, { useTArray: true, maxMemoryUsageInMB: 1024 });
      return { name, data, width, height };
    }
    if (bytes[0] === 0x89 && bytes[1] === 0x50) {
      const { data, width, height } = PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
      return { name, data: new Uint8Array(data.buffer, data.byteOffset, data.length), width, height };
    }
  } catch (error) {
    throw new OctavoError({
      code: 'BAD_IMAGE',
      what: `The picture cannot be decoded: ${error instanceof Error ? error.message : String(error)}.`,
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
