// What threads gain, and where they lose it: `npm run bench:threads [-- OPTION...]`
//
//   --networks a,b   only these (bench/architectures.mjs); mobilenetv2, resnet18, resnet50
//   --types a,b      int8, float
//   --threads N      2
//   --rounds N       rounds of each race (11)
//   --steps          also prints each step
//   --busy N         with so many processes beside it that keep a core busy
//   --alone          without LiteRT.js
//   --json FILE      writes all times there
//
// Per network, alone in a page: the time of one thread (in the page's own thread, and in a worker), of N threads, and of N engines of one
// thread each that work at the same time, which is what the machine itself has to give: cores share caches, memory, power and,
// as hyperthreads, arithmetic. Then the same network step by step: a step loses what it takes longer than its share of
// that. LiteRT.js has a page of its own.

import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import * as octavo from '../dist/index.js';
import { fail } from '../tools/project.mjs';
import { networks } from './architectures.mjs';
import { Browser, networkModels, race } from './bench.mjs';
import { best, geometricMean, median } from './bench-report.mjs';

function readOptions() {
  const { values } = parseArgs({
    options: {
      networks: { type: 'string', default: 'mobilenetv2,resnet18,resnet50' },
      types: { type: 'string', default: 'int8,float' },
      threads: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '11' },
      busy: { type: 'string', default: '0' },
      steps: { type: 'boolean', default: false },
      alone: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  const number = (name, least) => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < least) throw new Error(`--${name} is a whole number from ${least} on.`);
    return value;
  };
  const list = (name, known) => {
    const names = values[name].split(',');
    const unknown = names.filter((one) => !known.includes(one));
    if (unknown.length) throw new Error(`--${name}: ${unknown.join(', ')} is not known; there are ${known.join(', ')}.`);
    return names;
  };
  return {
    ...values,
    networks: list('networks', Object.keys(networks)),
    types: list('types', ['int8', 'float']),
    threads: number('threads', 2),
    rounds: number('rounds', 1),
    busy: number('busy', 0),
  };
}

/** Processes that do nothing but take a core's time; returns what ends them. */
function keepBusy(count) {
  const children = Array.from({ length: count }, () => spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }));
  return () => {
    for (const child of children) child.kill();
  };
}

const milliseconds = (value) => `${value.toFixed(value < 1 ? 3 : 2).padStart(8)} ms`;
const times = (value) => `${value.toFixed(2)}x`;

/** What a measurement of bench-page.mjs's `scaling` amounts to. */
function summary({ page, worker, shared, together, steps }, threads) {
  const ceiling = (threads * median(worker)) / median(together);
  const sum = (key) => steps.reduce((total, step) => total + step[key], 0);
  return {
    page: median(page),
    worker: median(worker),
    shared: median(shared),
    least: { page: best(page), worker: best(worker), shared: best(shared) },
    ceiling,
    scaling: median(page) / median(shared),
    scalingOfBest: best(page) / best(shared),
    stepsOne: sum('one'),
    stepsMany: sum('many'),
  };
}

function print(title, found, threads, steps, everyStep) {
  const { page, worker, shared, least, ceiling, scaling, scalingOfBest, stepsOne, stepsMany } = found;
  console.log(`${title}, ${steps.length} steps`);
  const both = (value, least) => `${milliseconds(value)} (best ${least.toFixed(2)})`;
  const shown = { page: both(page, least.page), worker: both(worker, least.worker), shared: both(shared, least.shared) };
  console.log(`  one thread   ${shown.page} in the page's own thread, ${shown.worker} in a worker`);
  console.log(`  ${threads} threads    ${shown.shared}: ${times(scaling)}, of the best ${times(scalingOfBest)}`);
  console.log(
    `  the machine  ${times(ceiling)} with ${threads} engines at once; the threads reach ${((100 * scaling) / ceiling).toFixed(0)} % of it`,
  );
  console.log(
    `  its steps    ${milliseconds(stepsOne)} on one thread, ${milliseconds(stepsMany)} on ${threads}: ${times(stepsOne / stepsMany)}`,
  );
  console.log(`  around them  ${milliseconds(worker - stepsOne)} on one thread, ${milliseconds(shared - stepsMany)} on ${threads}`);
  const rows = everyStep
    ? steps.map((step) => ({ ...step, name: `${step.op} ${step.node}`, count: 1 }))
    : [...Map.groupBy(steps, ({ op, kernel }) => `${op}, ${kernel}`)].map(([name, list]) => ({
        name,
        count: list.length,
        one: list.reduce((total, step) => total + step.one, 0),
        many: list.reduce((total, step) => total + step.many, 0),
      }));
  const lost = (row) => row.many - row.one / Math.min(threads, ceiling);
  for (const row of everyStep ? rows : rows.sort((a, b) => lost(b) - lost(a))) {
    const cells = [milliseconds(row.one), milliseconds(row.many), times(row.one / row.many).padStart(7)].join(' ');
    console.log(`    ${row.name.slice(0, 44).padEnd(44)} x${String(row.count).padEnd(3)} ${cells}, lost ${milliseconds(lost(row))}`);
  }
}

async function main() {
  const options = readOptions();
  const engine = await octavo.createEngine({ worker: false });
  const models = new Map();
  for (const name of options.networks) models.set(name, await networkModels(engine, name));
  await engine.close();
  const results = await Browser.use('chromium', (browser) => scaling(browser, models, options));
  if (options.json) writeFileSync(options.json, `${JSON.stringify(results, null, 1)}\n`);
}

/** Every network of every type on one thread and on several, beside the rival. */
async function scaling(browser, models, options) {
  const { threads } = options;
  const timing = { rounds: options.rounds, slice: 30, warmUp: 10, rest: 20 };
  const results = [];
  for (const type of options.types) {
    for (const name of options.networks) {
      const { urls, inputShape } = models.get(name);
      const rivals = [];
      const idle = keepBusy(options.busy);
      let measured;
      try {
        measured = await browser.call('scaling', [urls[`${type}.onnx`], inputShape, threads, timing]);
        for (const count of options.alone ? [] : [1, threads])
          rivals.push(...(await race(browser, [{ engine: 'litert', type, threads: count }], urls, inputShape, timing)));
      } finally {
        idle();
      }
      const found = summary(measured, threads);
      print(`${networks[name].title}, ${type}`, found, threads, measured.steps, options.steps);
      if (rivals.every(({ times: own }) => own) && rivals.length) {
        const [one, many] = rivals.map((row) => median(row.times));
        const [leastOne, leastMany] = rivals.map((row) => best(row.times));
        Object.assign(found, { rival: one / many, against: many / found.shared, bestAgainst: leastMany / found.least.shared });
        const shown = [`${milliseconds(one)} (best ${leastOne.toFixed(2)})`, `${milliseconds(many)} (best ${leastMany.toFixed(2)})`];
        console.log(
          `  LiteRT.js    ${shown[0]} on one thread, ${shown[1]} on ${threads}: ${times(one / many)}, of the best ${times(leastOne / leastMany)}`,
        );
        console.log(
          `  beside it    ${times(one / found.page)} on one thread, ${times(found.against)} on ${threads}, of the best ${times(found.bestAgainst)}`,
        );
      }
      for (const { error } of rivals) if (error) console.log(`  LiteRT.js    ${error}`);
      results.push({ network: name, type, threads, busy: options.busy, found, measured, rivals });
    }
    const mean = (key) => times(geometricMean(results.filter((one) => one.type === type).map(({ found }) => found[key])));
    const rival = options.alone ? '' : `; LiteRT.js ${mean('rival')}; beside it ${mean('against')}, of the best ${mean('bestAgainst')}`;
    console.log(`${type}: scaling ${mean('scaling')}, of the best ${mean('scalingOfBest')}, of ${mean('ceiling')}${rival}`);
  }
  return results;
}

await main().catch(fail);
