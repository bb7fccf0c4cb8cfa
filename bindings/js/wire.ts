// ONNX files field by field (protobuf's wire format; numbers: onnx.proto3), for looking into a file and adding to it.

export interface Field {
  field: number;
  /** 0 varint, 2 of a length, 1 and 5 of eight and four bytes. */
  wire: number;
  /** The bytes of a message, text or packed list, or of a number of fixed length; empty for a varint. */
  body: Uint8Array;
  /** A varint's value. */
  value: bigint;
  /** The field as it stands in the file. */
  raw: Uint8Array;
}

/** The fields of a message. @throws Error where it ends in the middle of one, or cannot be one */
export function* fields(bytes: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('The message ends in the middle of a field.');
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(64, value);
    }
    throw new Error('A number is longer than ten bytes.');
  };
  const empty = new Uint8Array();
  while (at < bytes.length) {
    const from = at;
    const tag = Number(varint());
    const [field, wire] = [tag >>> 3, tag & 7];
    if (wire === 0) {
      const value = varint();
      yield { field, wire, value, body: empty, raw: bytes.subarray(from, at) };
      continue;
    }
    const length = wire === 2 ? Number(varint()) : wire === 1 ? 8 : wire === 5 ? 4 : Number.NaN;
    // A negative length would lead back to where this has been.
    if (!(length >= 0 && at + length <= bytes.length)) throw new Error(`Field ${field} does not fit into the message.`);
    at += length;
    yield { field, wire, value: 0n, body: bytes.subarray(at - length, at), raw: bytes.subarray(from, at) };
  }
}

/** The names of the files in which a model's weights lie, besides its own. @throws Error as fields() */
export function externalFiles(model: Uint8Array): string[] {
  const inside = (bodies: Uint8Array[], field: number): Uint8Array[] =>
    bodies.flatMap((body) => [...fields(body)].filter((part) => part.field === field).map((part) => part.body));
  const entries = inside(inside(inside([model], 7), 5), 13); // graph, initializers, external_data
  const [key, value] = [1, 2].map((field) => (entry: Uint8Array) => toText(inside([entry], field)[0] ?? new Uint8Array()));
  return [...new Set(entries.filter((entry) => key?.(entry) === 'location').map((entry) => value?.(entry) ?? ''))];
}

/**
 * The model with its weights inside: what lies in other files is put in its place. A tensor without a length takes the rest of its file.
 *
 * @param files by the names that externalFiles() gives; what is in none of them is left as it is
 */
export function withoutExternalFiles(model: Uint8Array, files: Record<string, Uint8Array>): Uint8Array {
  const tensor = (body: Uint8Array, raw: Uint8Array): Uint8Array => {
    const parts = [...fields(body)];
    const place = new Map<string, string>();
    for (const entry of parts.filter(({ field }) => field === 13)) {
      const [key = '', value = ''] = [...fields(entry.body)].map((part) => toText(part.body));
      place.set(key, value);
    }
    const file = files[place.get('location') ?? ''];
    if (!file) return raw;
    const offset = Number(place.get('offset') ?? 0);
    const data = file.subarray(offset, offset + Number(place.get('length') ?? file.length - offset));
    const kept = parts.filter(({ field }) => field !== 13 && field !== 14);
    return message(5, ...kept.map((part) => part.raw), message(9, data));
  };
  const graph = (body: Uint8Array): Uint8Array[] =>
    [...fields(body)].map((part) => (part.field === 5 ? tensor(part.body, part.raw) : part.raw));
  return join([...fields(model)].map(({ field, body, raw }) => (field === 7 ? message(7, ...graph(body)) : raw)));
}

export function varint(value: bigint | number): number[] {
  let n = BigInt.asUintN(64, BigInt(value));
  const out: number[] = [];
  do {
    out.push(Number(n & 127n) | (n > 127n ? 128 : 0));
    n >>= 7n;
  } while (n > 0n);
  return out;
}

export function join(chunks: (Uint8Array | number[])[]): Uint8Array {
  const out = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}

export const int = (field: number, value: bigint | number): Uint8Array => join([varint(field << 3), varint(value)]);
export function message(field: number, ...chunks: (Uint8Array | number[])[]): Uint8Array {
  const body = join(chunks);
  return join([varint((field << 3) | 2), varint(body.length), body]);
}
export const text = (field: number, value: string): Uint8Array => message(field, new TextEncoder().encode(value));
export const toText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The model with more fields in its graph. */
export const extended = (model: Uint8Array, more: Uint8Array[]): Uint8Array =>
  join([...fields(model)].map(({ field, body, raw }) => (field === 7 ? message(7, body, ...more) : raw)));

/** A ValueInfoProto as the given field; without a shape not even the rank is said. `type` is ONNX's number. */
export function valueInfo(field: number, name: string, type: number, shape?: (number | string)[]): Uint8Array {
  const dims = shape?.map((d) => message(1, typeof d === 'number' ? int(1, d) : text(2, d)));
  return message(field, text(1, name), message(2, message(1, int(1, type), ...(dims ? [message(2, ...dims)] : []))));
}
