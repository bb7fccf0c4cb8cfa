// Whatever a WebAssembly module can die of becomes an error that says so, and the engine starts anew.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createEngine, InferenceSession, Model } from '../../dist/index.js';
import { digitFeeds, digitsModel, rejects, root } from './support.mjs';

/** Instructions of a function without parameters or results, by the trap that ends it. */
const traps = {
  'unreachable code': [0x00],
  'division by zero': [0x41, 1, 0x41, 0, 0x6d, 0x1a], // i32.div_s, drop
  'an integer that is too large': [0x41, 0x80, 0x80, 0x80, 0x80, 0x78, 0x41, 0x7f, 0x6d, 0x1a], // -2^31 / -1
  'a float that is no integer': [0x43, 0, 0, 0xc0, 0x7f, 0xa8, 0x1a], // i32.trunc_f32_s of NaN
  'memory that is not there': [0x41, 0x7f, 0x28, 2, 0, 0x1a], // i32.load at 2^32 - 1
  'a table entry that is not there': [0x41, 9, 0x11, 0, 0], // call_indirect
  'a stack without end': [0x10, 0], // calls itself
};

/** A module whose export `trap` runs these instructions. */
function trapModule(instructions) {
  const section = (id, ...bytes) => [id, bytes.length, ...bytes];
  const body = [0, ...instructions, 0x0b];
  return new WebAssembly.Module(
    Uint8Array.from([
      ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      ...section(1, 1, 0x60, 0, 0), // one type: () -> ()
      ...section(3, 1, 0), // one function of it
      ...section(4, 1, 0x70, 0, 1), // a table of one entry
      ...section(5, 1, 0, 1), // a page of memory
      ...section(7, 1, 4, 0x74, 0x72, 0x61, 0x70, 0, 0), // "trap" is function 0
      ...section(10, 1, body.length, ...body),
    ]),
  );
}

/** What the module calls its malloc: names are short in it, its glue knows them, as Emscripten wrote it. */
const malloc = readFileSync(join(root, 'build/wasm-simd/octavo.simd.mjs'), 'utf8').match(/_malloc=wasmExports\["(\w+)"\]/)[1];

/** { engine, arm }: after arm() the next string that is handed to the engine meets `trap`. The engine started after that is a usual one. */
async function trappedEngine(trap) {
  const { instantiate } = WebAssembly;
  let armed = false;
  WebAssembly.instantiate = async (module, imports) => {
    const { exports } = await instantiate(module, imports);
    const allocate = (size) => {
      if (armed) trap();
      return exports[malloc](size);
    };
    return { exports: { ...exports, [malloc]: allocate } };
  };
  try {
    const engine = await createEngine({ worker: false, isa: 'simd' });
    return {
      engine,
      arm: () => {
        armed = true;
      },
    };
  } finally {
    WebAssembly.instantiate = instantiate;
  }
}

for (const [name, instructions] of Object.entries(traps)) {
  test(`${name}: an error, and the next model starts another engine`, async () => {
    const { trap } = new WebAssembly.Instance(trapModule(instructions)).exports;
    const { engine, arm } = await trappedEngine(trap);
    const model = await Model.load(digitsModel(), { engine });
    arm();
    const error = await rejects(model.toONNX(), 'INTERNAL', { what: /The engine stopped: .+\./, where: /engine/, hint: /report it/ });
    assert.doesNotMatch(error.what, /undefined/);
    await rejects(model.summary(), 'ENGINE_FAILED', { what: /replaced/, hint: /Load the model again/ });
    const again = await Model.load(digitsModel(), { engine });
    await using session = await InferenceSession.create(again);
    assert.equal((await session.run({ image: digitFeeds('test', 1)[0] })).logits.data.length, 10);
    await engine.close();
  });
}
