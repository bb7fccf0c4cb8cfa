// The operators' page: what the cases of tools/operator-cases.mjs and of other people's folders show. `npm run docs -- --cases DIR...`
// writes it, tests/js/operators.test.mjs holds it.

import * as octavo from '../dist/index.js';
import { compareSet, runReference } from './conformance.mjs';
import { describeModel } from './onnx.mjs';
import { firstOpset, lastOpset, onCodes, operatorCases } from './operator-cases.mjs';

/** Operators of ONNX that are read as others. */
export const spelledAsOthers = {
  Constant: 'a constant tensor',
  Dropout: 'Identity',
  Mean: 'Sum, Div',
  Scatter: 'ScatterElements',
  Upsample: 'Resize',
};

/** The outputs by name, and the operators of the steps that made them. */
async function run(engine, { model, inputs }) {
  const loaded = await octavo.Model.load(model, { engine });
  try {
    const session = await octavo.InferenceSession.create(loaded, {
      engine,
      inputShapes: Object.fromEntries(inputs.map(({ name, shape }) => [name, shape])),
    });
    try {
      const feeds = Object.fromEntries(inputs.map(({ name, type, shape, data }) => [name, new octavo.Tensor(type, data, shape)]));
      const results = await session.run(feeds);
      return { results, steps: (await session.profile(feeds)).steps.map(({ op }) => op) };
    } finally {
      await session.close();
    }
  } finally {
    await loaded.close();
  }
}

/** Where our result of a case is not ONNX Runtime's; undefined where it is. */
async function difference(ort, engine, one) {
  const expected = await runReference(ort, one.model, one.inputs);
  const { results, steps } = await run(engine, one);
  return { expected, why: compareSet(results, expected, describeModel(one.model), true), steps };
}

/** The least and the largest finite number of the float outputs. */
function rangeOf(outputs) {
  const range = [0, 0];
  for (const { type, data } of outputs) {
    if (type !== 'float32') continue;
    for (const value of data) {
      if (!Number.isFinite(value)) continue;
      range[0] = Math.min(range[0], value);
      range[1] = Math.max(range[1], value);
    }
  }
  return range;
}

/** Our own cases beside onnxruntime-node: [{ name, op, opset, types, codes, why }], `why` undefined where they give the same. */
export async function ownResults(engine, names) {
  const ort = await import('onnxruntime-node');
  const results = [];
  const note = async (one, codes, work) => {
    const types = [...new Set(one.inputs.map(({ type }) => type))];
    let why;
    try {
      why = await work();
    } catch (error) {
      why = String(error.message ?? error);
    }
    results.push({ name: one.name, op: one.op, opset: one.opset, types, codes, why });
  };
  for (const one of operatorCases(names)) {
    let expected = [];
    await note(one, false, async () => {
      const result = await difference(ort, engine, one);
      expected = result.expected;
      return result.why;
    });
    const coded = onCodes(one, rangeOf(expected));
    if (!coded) continue;
    await note({ ...coded, opset: one.opset }, true, async () => {
      const { why, steps } = await difference(ort, engine, coded);
      return why ?? (steps.includes('DequantizeLinear') || steps.includes('QuantizeLinear') ? `it ran as ${steps.join(', ')}` : undefined);
    });
  }
  return results;
}

/** How many of other people's cases passed and were refused, by operator, and in all: { all: [..], of: { Add: [passed, refused] } }. */
export function countOthers(results) {
  const count = (list, status) => list.filter((result) => result.status === status).length;
  const names = new Set(results.flatMap(({ ops }) => ops));
  return {
    all: [results.length, ...['passed', 'unsupported', 'as ort', 'wrong'].map((status) => count(results, status))],
    of: Object.fromEntries(
      [...names].map((name) => {
        const those = results.filter(({ ops }) => ops.includes(name));
        return [name, [count(those, 'passed'), count(those, 'unsupported')]];
      }),
    ),
  };
}

/** The same from a page that was written. */
export function readOthers(page) {
  const all = page.match(/(\d+) cases of others: (\d+) passed, (\d+) refused, (\d+) in which[^,]*, (\d+) different/s)?.slice(1) ?? [
    0, 0, 0, 0, 0,
  ];
  const rows = page.matchAll(/^\| (\w+) \|.*\| (\d*) \| (\d*) \|$/gm);
  return {
    all: all.map(Number),
    of: Object.fromEntries([...rows].map(([, name, passed, refused]) => [name, [Number(passed), Number(refused)]])),
  };
}

/** docs/reference/operators.md of the engine's operators, our own cases' results and the counts of others'. */
export function operatorsPage(operators, own, others) {
  const order = ['float32', 'int64', 'int32', 'uint8', 'int8', 'bool'];
  const row = ({ name, int8, notes }) => {
    const passed = own.filter(({ op, why }) => op === name && why === undefined);
    const opsets = passed.map(({ opset }) => opset);
    const types = order.filter((type) => passed.some((result) => !result.codes && result.types.includes(type)));
    const [theirs = 0, refused = 0] = others.of[name] ?? [];
    const cells = [
      name,
      `${Math.min(...opsets)} to ${Math.max(...opsets)}`,
      types.join(', '),
      int8 ? 'yes' : '',
      notes,
      passed.length,
      theirs || '',
      refused || '',
    ];
    return `| ${cells.join(' | ')} |`;
  };
  const spelled = Object.entries(spelledAsOthers).map(([name, as]) => ({ name, int8: false, notes: `read as ${as}` }));
  const rows = [...operators, ...spelled].sort((a, b) => (a.name < b.name ? -1 : 1)).map(row);
  const [count, passed, refused, asOrt, different] = others.all;
  return `# Operators

ONNX opset ${firstOpset} to ${lastOpset}. "Types" are those of the inputs that our cases feed; "int8" says whether the operator has an integer form in
a quantized model. "Cases" counts our own small cases, at least one for each attribute and form of an input, in the first and the last
opset that spell it so, in float and on codes, in which Octavo gives onnxruntime-node's result; a test runs them all. "Others'" counts the
cases of ONNX, ONNX Runtime Web and ONNX Runtime with the operator in it that give the expected result, "refused" those that use something
which is not supported (a type, an attribute, another operator); \`npm run conformance -- DIR\` names each with the reason.

${count} cases of others: ${passed} passed, ${refused} refused, ${asOrt} in which ONNX Runtime gives Octavo's result and the file another, ${different} different.
This page is generated by \`npm run docs -- --cases DIR\`.

| operator | opsets | types | int8 | notes | cases | others' | refused |
| --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}
`;
}
