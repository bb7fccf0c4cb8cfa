// Rewrites an ONNX file so that the result of every QuantizeLinear is an output of the graph: then two runtimes can be compared
// code by code, not only at the end.

function* fields(bytes, start = 0, end = bytes.length) {
  let at = start;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < end) {
    const tag = varint();
    const wire = tag & 7;
    if (wire === 2) {
      const length = varint();
      yield { field: tag >>> 3, body: bytes.subarray(at, at + length) };
      at += length;
    } else {
      const value = wire === 0 ? varint() : undefined;
      if (wire === 5) at += 4;
      if (wire === 1) at += 8;
      yield { field: tag >>> 3, value };
    }
  }
}

const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...varint(Math.floor(n / 128))]);
const message = (field, body) => [...varint(field * 8 + 2), ...varint(body.length), ...body];

/** { file, names }: the file with those outputs added, of uint8. */
export function exposeCodes(file) {
  const decoder = new TextDecoder();
  const names = [];
  for (const { field, body } of fields(file)) {
    if (field !== 7) continue;
    for (const node of fields(body)) {
      if (node.field !== 1) continue;
      const parts = [...fields(node.body)];
      const op = decoder.decode(parts.find((part) => part.field === 4).body);
      if (op === 'QuantizeLinear') names.push(decoder.decode(parts.find((part) => part.field === 2).body));
    }
  }
  const outputs = names.flatMap((name) =>
    message(12, [...message(1, [...new TextEncoder().encode(name)]), ...message(2, message(1, [8, 2]))]),
  );
  const chunks = [];
  for (const { field, body, value } of fields(file)) {
    if (body === undefined) {
      chunks.push(Uint8Array.from([...varint(field * 8), ...varint(value)]));
      continue;
    }
    const more = field === 7 ? outputs : [];
    chunks.push(Uint8Array.from([...varint(field * 8 + 2), ...varint(body.length + more.length)]), body, Uint8Array.from(more));
  }
  return { file: new Uint8Array(Buffer.concat(chunks)), names };
}
