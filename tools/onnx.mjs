// Reads and writes ONNX files field by field (numbers: onnx.proto3), for tests and tools: tensors, small models, models with more
// constants or outputs than they had.

import { extended, fields, int, join, message, text, toText, valueInfo as valueInfoOf, varint } from '../dist/wire.js';

const float = (field, value) => join([varint((field << 3) | 5), new Uint8Array(Float32Array.of(value).buffer)]);

// ---- tensors ----

/** Element types by their ONNX number; those without an array have no counterpart in JavaScript. */
const types = {
  1: ['float32', Float32Array],
  2: ['uint8', Uint8Array],
  3: ['int8', Int8Array],
  4: ['uint16', Uint16Array],
  5: ['int16', Int16Array],
  6: ['int32', Int32Array],
  7: ['int64', BigInt64Array],
  8: ['string'],
  9: ['bool', Uint8Array],
  10: ['float16', globalThis.Float16Array], // of Node 24
  11: ['float64', Float64Array],
  12: ['uint32', Uint32Array],
  13: ['uint64', BigUint64Array],
  16: ['bfloat16'],
  21: ['uint4'],
  22: ['int4'],
};
const numberOf = Object.fromEntries(Object.entries(types).map(([number, [name]]) => [name, Number(number)]));
export const arrayOf = (type) => types[numberOf[type]]?.[1];
const typeName = (number) => types[number]?.[0] ?? `type ${number}`;

/** The typed array of an element type with these values. */
export function typed(type, values) {
  const array = arrayOf(type);
  if (!array) throw new Error(`Tensors of ${type} cannot be read.`);
  return array === BigInt64Array || array === BigUint64Array ? array.from(values, BigInt) : array.from(values, Number);
}

/** A TensorProto as { name, type, shape, data }; `data` is absent for types that JavaScript has no array for. */
export function readTensor(bytes) {
  const tensor = { name: '', type: 'undefined', shape: [], data: undefined };
  let raw;
  const chunks = { 4: [], 5: [], 7: [], 10: [] };
  for (const { field, wire, value, body } of fields(bytes)) {
    if (field === 1) tensor.shape.push(...(wire === 2 ? [...packed(body)].map(Number) : [Number(value)]));
    else if (field === 2) tensor.type = typeName(Number(value));
    else if (field === 8) tensor.name = toText(body);
    else if (field === 9) raw = body;
    else if (field === 4 || field === 10) chunks[field].push(body);
    else if (field === 5 || field === 7) chunks[field].push(...(wire === 2 ? packed(body) : [value]));
  }
  const array = arrayOf(tensor.type);
  if (!array) return tensor;
  const viewOf = (parts, type) => new type(join(parts).buffer);
  if (raw) tensor.data = viewOf([raw], array);
  else if (chunks[4].length) tensor.data = viewOf(chunks[4], array);
  else if (chunks[10].length) tensor.data = viewOf(chunks[10], array);
  else tensor.data = typed(tensor.type, chunks[5].length ? chunks[5] : chunks[7]);
  return tensor;
}
function* packed(bytes) {
  let value = 0n;
  let shift = 0n;
  for (const byte of bytes) {
    value |= BigInt(byte & 127) << shift;
    shift += 7n;
    if (byte >= 128) continue;
    yield BigInt.asIntN(64, value);
    value = shift = 0n;
  }
}

/** { name, type, shape, data } as a TensorProto; `external` names another file that has the data, from `offset` on. */
export const writeTensor = ({ name, type, shape, data, external, offset = 0 }) =>
  join([
    ...shape.map((d) => int(1, d)),
    int(2, numberOf[type ?? (data instanceof BigInt64Array ? 'int64' : 'float32')]),
    text(8, name),
    ...(external
      ? [
          message(13, text(1, 'location'), text(2, external)),
          ...(offset ? [message(13, text(1, 'offset'), text(2, String(offset)))] : []),
          int(14, 1),
        ]
      : [message(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))]),
  ]);

// ---- models ----

const attribute = ([name, value]) => {
  const body = [text(1, name)];
  if (value instanceof Float32Array) body.push(...Array.from(value, (v) => float(7, v)), int(20, 6));
  else if (Array.isArray(value) && value.some((v) => typeof v === 'string')) body.push(...value.map((v) => text(9, v)), int(20, 8));
  else if (Array.isArray(value)) body.push(...value.map((v) => int(8, v)), int(20, 7));
  else if (typeof value === 'string') body.push(text(4, value), int(20, 3));
  else if (typeof value === 'object') body.push(message(5, writeTensor({ name: '', ...value })), int(20, 4));
  else if (typeof value === 'bigint' || Number.isInteger(value)) body.push(int(3, value), int(20, 2));
  else body.push(float(2, value), int(20, 1));
  return message(5, ...body);
};
/** A floating-point attribute whose value may be a whole number. */
export class Float {
  constructor(value) {
    this.value = value;
  }
}
const attributes = (attrs) =>
  Object.entries(attrs).map(([name, value]) =>
    value instanceof Float ? message(5, text(1, name), float(2, value.value), int(20, 1)) : attribute([name, value]),
  );
const node = ({ op, name = '', inputs, outputs, attrs = {}, domain = '' }) =>
  message(
    1,
    ...inputs.map((i) => text(1, i)),
    ...outputs.map((o) => text(2, o)),
    text(3, name),
    text(4, op),
    text(7, domain),
    ...attributes(attrs),
  );
const valueInfo = (field, { name, shape, type = 'float32' }) =>
  valueInfoOf(field, name, typeof type === 'number' ? type : numberOf[type], shape);

/** { nodes, inputs, outputs, weights, opset, domains } as the bytes of an ONNX file. */
export function onnx({
  nodes,
  inputs = [{ name: 'x', shape: [1, 2, 4, 4] }],
  outputs = [{ name: 'y', shape: [1, 2, 4, 4] }],
  weights = [],
  opset = 17,
  domains = {},
}) {
  const graph = [
    ...nodes.map(node),
    text(2, 'g'),
    ...weights.map((weight) => message(5, writeTensor(weight))),
    ...inputs.map((v) => valueInfo(11, v)),
    ...outputs.map((v) => valueInfo(12, v)),
  ];
  const opsets = Object.entries({ '': opset, ...domains }).map(([domain, version]) => message(8, text(1, domain), int(2, version)));
  return join([int(1, 8), text(2, 'test'), message(7, ...graph), ...opsets]);
}

function* graphFields(model) {
  for (const { field, body } of fields(model)) if (field === 7) yield* fields(body);
}

function readValueInfo(bytes) {
  const info = { name: '', type: 'undefined', shape: undefined };
  for (const { field, body } of fields(bytes)) {
    if (field === 1) info.name = toText(body);
    if (field !== 2) continue;
    for (const tensor of fields(body)) {
      if (tensor.field !== 1) {
        info.type = 'no tensor'; // a sequence, a map, an optional
        continue;
      }
      for (const part of fields(tensor.body)) {
        if (part.field === 1) info.type = typeName(Number(part.value));
        if (part.field !== 2) continue;
        info.shape = [];
        for (const dim of fields(part.body)) {
          let size = '?';
          for (const { field: kind, value, body: name } of fields(dim.body)) size = kind === 1 ? Number(value) : toText(name);
          info.shape.push(size);
        }
      }
    }
  }
  return info;
}

/** { opset, nodes: [{ op, domain, outputs }], inputs, outputs, weights }: inputs are those that no initializer fills. */
export function describeModel(model) {
  const found = { opset: 0, nodes: [], inputs: [], outputs: [], weights: [] };
  for (const { field, body } of fields(model)) {
    if (field !== 8) continue;
    const parts = [...fields(body)];
    const domain = toText(parts.find((part) => part.field === 1)?.body ?? new Uint8Array());
    if (domain === '' || domain === 'ai.onnx') found.opset = Number(parts.find((part) => part.field === 2)?.value ?? 0);
  }
  for (const { field, body } of graphFields(model)) {
    if (field === 1) {
      const parts = [...fields(body)];
      const word = (number) => toText(parts.find((part) => part.field === number)?.body ?? new Uint8Array());
      const outputs = parts.filter((part) => part.field === 2).map((part) => toText(part.body));
      found.nodes.push({ op: word(4), domain: word(7), outputs });
    }
    if (field === 5) found.weights.push(toText([...fields(body)].find((part) => part.field === 8)?.body ?? new Uint8Array()));
    if (field === 11) found.inputs.push(readValueInfo(body));
    if (field === 12) found.outputs.push(readValueInfo(body));
  }
  found.inputs = found.inputs.filter(({ name }) => !found.weights.includes(name));
  return found;
}

/** A node's attribute as [name, value]: a number, a text, a list of numbers, or a tensor. */
function readAttribute(bytes) {
  const parts = [...fields(bytes)];
  const all = (number) => parts.filter((part) => part.field === number);
  const floats = (part) => [...new Float32Array(part.body.slice().buffer)];
  const ints = ({ wire, value, body }) => (wire === 2 ? [...packed(body)] : [value]).map(Number);
  const [name] = all(1).map(({ body }) => toText(body));
  const readers = {
    1: () => all(2).flatMap(floats)[0],
    2: () => Number(all(3)[0]?.value ?? 0),
    3: () => all(4).map(({ body }) => toText(body))[0],
    4: () => readTensor(all(5)[0].body),
    6: () => all(7).flatMap(floats),
    7: () => all(8).flatMap(ints),
  };
  return [name, readers[Number(all(20)[0].value)]()];
}

/**
 * { nodes: [{ op, name, inputs, outputs, attrs }], inputs, outputs, weights: Map of tensors by name }: all that a model without subgraphs
 * says.
 */
export function readGraph(model) {
  const graph = { nodes: [], inputs: [], outputs: [], weights: new Map() };
  for (const { field, body } of graphFields(model)) {
    if (field === 1) {
      const parts = [...fields(body)];
      const texts = (number) => parts.filter((part) => part.field === number).map((part) => toText(part.body));
      const attrs = parts.filter((part) => part.field === 5).map((part) => readAttribute(part.body));
      graph.nodes.push({
        op: texts(4)[0],
        name: texts(3)[0] ?? '',
        inputs: texts(1),
        outputs: texts(2),
        attrs: Object.fromEntries(attrs),
      });
    }
    if (field === 5) {
      const tensor = readTensor(body);
      graph.weights.set(tensor.name, tensor);
    }
    if (field === 11) graph.inputs.push(readValueInfo(body));
    if (field === 12) graph.outputs.push(readValueInfo(body));
  }
  return graph;
}

/** The model with these tensors as constants: an input of that name is then no input any more. */
export const withConstants = (model, tensors) =>
  extended(
    model,
    tensors.map((tensor) => message(5, writeTensor(tensor))),
  );
/** The model with these further outputs, [{ name, type, shape }]. */
export const withOutputs = (model, outputs) =>
  extended(
    model,
    outputs.map((output) => valueInfo(12, output)),
  );
