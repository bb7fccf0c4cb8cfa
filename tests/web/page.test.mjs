// The demo page in a real browser, used as a person would.

import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createEngine, Model, quantizeStatic } from '../../dist/index.js';
import { decodePicture } from '../../dist/pictures-node.js';
import { convModel, digits, digitsModel, onnx, root } from '../js/support.mjs';
import { browserName, openPage, temporaryFiles } from './support.mjs';

const text = (page, selector) => page.$eval(selector, (element) => element.textContent);
/** Clicks by script: a smooth scroll under way must not make the pointer miss. */
const click = (page, selector) => page.$eval(selector, (element) => element.click());
const appears = (page, selector, timeout = 120_000) => page.waitForSelector(selector, { timeout });

/** Keeps what the page offers for download: name and bytes, in order. */
async function catchDownloads(page) {
  await page.evaluate(() => {
    window.caught = [];
    const blobs = new Map();
    const create = URL.createObjectURL;
    URL.createObjectURL = (blob) => {
      const url = create.call(URL, blob);
      blobs.set(url, blob);
      return url;
    };
    HTMLAnchorElement.prototype.click = function () {
      window.caught.push({ name: this.download, blob: blobs.get(this.href) });
    };
  });
  return async (name) => {
    await page.waitForFunction((wanted) => window.caught.some((one) => one.name === wanted), {}, name);
    return page.evaluate(async (wanted) => {
      const { blob } = window.caught.find((one) => one.name === wanted);
      return [...new Uint8Array(await blob.arrayBuffer())];
    }, name);
  };
}

describe(`the page in ${browserName}`, () => {
  const { folder, file, picture, close: removeFiles } = temporaryFiles();
  after(removeFiles);
  const choose = async (page, input, ...paths) => (await page.$(input)).uploadFile(...paths);

  test('one press does everything with the sample; nothing leaves the page', async () => {
    const { page, url, consoleErrors, requests, close } = await openPage();
    try {
      assert.match(await text(page, '#engine'), /WebAssembly/);
      await page.focus('#sample');
      await page.keyboard.press('Enter');
      await appears(page, '#put-sample');
      const result = await text(page, '#result-out');
      assert.match(result, /times smaller/);
      assert.match(result, /same answer as float, 300 pictures/);
      assert.match(result, /17 folded, 2 int8 of its own, 0 float/);
      const agreement = Number(result.match(/([\d.]+)\s%same answer/)[1]);
      assert.ok(agreement >= 98, `${agreement}`);
      assert.ok((await page.$$('.layer')).length >= 20);
      await appears(page, '.chart canvas');
      assert.equal((await page.$$('#result-out tbody tr')).length >= 12, true);

      const downloaded = await catchDownloads(page);
      await click(page, '#download-model');
      const model = await downloaded('digits_mobilenet_bn.int8.onnx');
      assert.ok(model.length > 50_000 && model.length < digitsModel().length);
      await click(page, '#download-report');
      const html = new TextDecoder().decode(Uint8Array.from(await downloaded('digits_mobilenet_bn.report.html')));
      assert.match(html, /Quantization report/);
      await click(page, '#download-json');
      const report = JSON.parse(new TextDecoder().decode(Uint8Array.from(await downloaded('digits_mobilenet_bn.report.json'))));
      assert.equal(report.samples, 100);

      await click(page, '#download-recipe');
      const recipe = JSON.parse(new TextDecoder().decode(Uint8Array.from(await downloaded('digits_mobilenet_bn.recipe.json'))));
      assert.equal(recipe.file.bytes, model.length);
      assert.match(await text(page, '#worst'), /differs most: test digit \d+/);
      assert.match(await text(page, '#notes'), /AVX2/);

      await click(page, '#put-sample');
      await page.waitForFunction(() => /Float says \d; Int8 says \d/.test(document.querySelector('#draw-out').textContent));
      const [, float, int8] = (await text(page, '#draw-out')).match(/Float says (\d); Int8 says (\d)/);
      assert.equal(float, String(digits('test', 1)[0].label));
      assert.equal(int8, float);

      assert.deepEqual(consoleErrors, []);
      const elsewhere = requests.filter((address) => !address.startsWith(url) && !/^(blob|data):/.test(address));
      assert.deepEqual(elsewhere, []);
    } finally {
      await close();
    }
  });

  test("a model and pictures of one's own, with options that stay in the address", async () => {
    const { page, consoleErrors, close } = await openPage();
    try {
      assert.ok(await page.$eval('#start', (button) => button.disabled));
      await choose(page, '#model-file', file('mine.onnx', digitsModel()));
      await page.waitForFunction(() => document.querySelector('#model-out').textContent.includes('Parameters'));
      assert.match(await text(page, '#model-out'), /mine\.onnx.*image \[N × 1 × 28 × 28\]/s);
      await choose(page, '#pictures-file', ...digits('train', 25).map(picture));
      await page.waitForFunction(() => document.querySelector('#pictures-out').textContent.includes('20 to calibrate, 5 others'));
      await page.$eval('#preprocess', (details) => {
        details.open = true;
      });
      await page.select('#field-preset', 'unit');
      await page.$eval('#options', (details) => {
        details.open = true;
      });
      await page.select('#field-observer', 'histogram');
      assert.match(await page.evaluate(() => location.hash), /preset=unit/);
      assert.match(await page.evaluate(() => location.hash), /observer=histogram/);
      await click(page, '#start');
      await appears(page, '#download-model');
      assert.match(await text(page, '#result-out'), /same answer as float, 5 pictures/);
      assert.ok(await page.$eval('#draw', (section) => section.hidden), 'drawing belongs to the sample');
      assert.deepEqual(consoleErrors, []);
      await page.reload();
      await appears(page, 'html[data-ready=true]');
      assert.equal(await page.$eval('#field-observer', (select) => select.value), 'histogram');
    } finally {
      await close();
    }
  });

  test('decisions about a layer are changed with a click, and taken back', async () => {
    const { page, consoleErrors, close } = await openPage({ path: '#sample=digits' });
    const names = () => page.$$eval('.layer .name', (all) => all.map((name) => name.textContent));
    const values = () => page.$$eval('.layer .value', (all) => all.map((value) => Number.parseFloat(value.textContent)));
    const changed = (pattern) =>
      page.waitForFunction((p) => new RegExp(p).test(document.querySelector('#changes')?.textContent ?? ''), { timeout: 60_000 }, pattern);
    try {
      await appears(page, '#put-sample');
      const worstFirst = await values();
      assert.deepEqual(
        worstFirst,
        [...worstFirst].sort((a, b) => a - b),
      );
      const before = await names();
      await click(page, '#order');
      assert.notDeepEqual(await names(), before);
      assert.match(await page.evaluate(() => location.hash), /order=network/);

      const conv = await page.$$eval('.layer', (all) => {
        const row = all.find((one) => one.textContent.startsWith('Conv'));
        row.click();
        return row.querySelector('.name').title.replace(/^Conv /, '');
      });
      await click(page, '#exclude-layer');
      await changed(`${conv.replaceAll('/', '.')} in float`);
      const fate = await page.$$eval(
        '#result-out tr',
        (rows, name) => rows.find((row) => row.cells[0]?.textContent === name)?.textContent,
        conv,
      );
      assert.match(fate, /float/);
      assert.match(await text(page, '#result-out'), /same answer as float, 300 pictures/);

      await page.select('#observer-for', 'minmax');
      await changed('in float; .*range by minmax');
      assert.equal(await page.$eval('#observer-for', (select) => select.value), 'minmax');
      await click(page, '#undo');
      await page.waitForFunction(() => !/minmax/.test(document.querySelector('#changes')?.textContent ?? 'minmax'));
      await click(page, '#undo');
      await page.waitForFunction(() => !document.querySelector('#changes') && document.querySelector('.layer'));

      await click(page, '#measure-layers');
      await appears(page, '#sensitivity td');
      const costs = await page.$$eval('#sensitivity tbody tr', (rows) => rows.map((row) => Number.parseFloat(row.cells[1].textContent)));
      assert.ok(costs.length > 5);
      assert.deepEqual(
        costs,
        [...costs].sort((a, b) => b - a),
      );
      await click(page, '#sensitivity button');
      await changed('in float');
      await click(page, '#undo');
      await page.waitForFunction(() => !document.querySelector('#changes') && document.querySelector('#sensitivity'));

      await click(page, '#compare-targets');
      await appears(page, '#targets-out td');
      assert.match(await text(page, '#targets-out'), /octavo \(this result\).*onnxruntime.*dB/s);
      assert.deepEqual(consoleErrors, []);
    } finally {
      await close();
    }
  });

  test('a budget of answers that may differ is met and explained', async () => {
    const { page, consoleErrors, close } = await openPage({ path: '#sample=digits&budget=0' });
    try {
      await appears(page, '#budget');
      assert.match(await text(page, '#budget'), /(All layers are int8|of the layers stay float).*: 0\.0\s% of the answers differ/);
      assert.deepEqual(consoleErrors, []);
    } finally {
      await close();
    }
  });

  test('a recipe made elsewhere gives the same file', async () => {
    await using engine = await createEngine({ worker: false });
    const pictures = digits('train', 34);
    const paths = pictures.map(picture);
    const pixels = paths.map((path) => decodePicture(new Uint8Array(readFileSync(path)), path));
    const float = await Model.load(digitsModel(), { engine });
    const { model: int8, recipe } = await quantizeStatic(float, pixels, { image: { range: [0, 1], channels: 'GRAY' } }).result;
    const wanted = await int8.toONNX();
    const { page, consoleErrors, close } = await openPage();
    const says = (selector, pattern) =>
      page.waitForFunction((s, p) => new RegExp(p, 's').test(document.querySelector(s).textContent), {}, selector, pattern);
    try {
      await choose(page, '#model-file', file('mine.onnx', digitsModel()));
      await says('#model-out', 'Parameters');
      await choose(page, '#recipe-file', file('odd.json', '{'));
      await says('#recipe-out', 'not JSON');
      await choose(page, '#recipe-file', file('digits.recipe.json', JSON.stringify(recipe)));
      await says('#recipe-out', 'Follows digits\\.recipe\\.json');
      await choose(page, '#pictures-file', ...paths.slice(0, 10));
      await page.waitForFunction(() => !document.querySelector('#start').disabled);
      await click(page, '#start');
      await says('#quantize-out', 'first 32 samples; there are 10.*RECIPE_MISMATCH');
      await page.$eval('#pictures-out button', (button) => button.click());
      await choose(page, '#pictures-file', ...paths);
      await page.waitForFunction(() => !document.querySelector('#start').disabled);
      await click(page, '#start');
      await appears(page, '#download-model');
      const downloaded = await catchDownloads(page);
      await click(page, '#download-model');
      assert.deepEqual(Buffer.from(await downloaded('mine.int8.onnx')), Buffer.from(wanted));
      await click(page, '#recipe-out button');
      assert.equal(await text(page, '#recipe-out'), '');
      assert.deepEqual(consoleErrors, []);
    } finally {
      await close();
    }
  });

  test('bad input is explained and nothing is lost', async () => {
    const { page, close } = await openPage();
    const says = (selector, pattern) =>
      page.waitForFunction(
        (s, p) => new RegExp(p, 's').test(document.querySelector(s).textContent),
        { timeout: 60_000 },
        selector,
        pattern,
      );
    try {
      await choose(page, '#model-file', file('mine.onnx', digitsModel()));
      await says('#model-out', 'Parameters');
      await choose(page, '#model-file', file('page.onnx', '<!doctype html><p>404'));
      await says('#model-out', 'web page.*INVALID_MODEL.*mine\\.onnx.*stays loaded');
      const unsupported = onnx({
        nodes: [
          { op: 'Foo', name: 'first', inputs: ['x'], outputs: ['a'] },
          { op: 'Bar', name: '<b>second</b>', inputs: ['a'], outputs: ['y'] },
        ],
      });
      await choose(page, '#model-file', file('foo.onnx', unsupported));
      await says('#model-out', "'first'.*Foo.*'<b>second</b>'.*Bar.*Supported:.*Conv.*UNSUPPORTED_OP");
      await choose(page, '#model-file', file('cut.onnx', digitsModel().slice(0, 70_000)));
      await says('#model-out', 'ends in the middle.*TRUNCATED_MODEL');

      await choose(page, '#pictures-file', ...digits('train', 3).map(picture), file('broken.png', 'this is text'));
      await says('#pictures-out', '4 to calibrate');
      await click(page, '#start');
      await says('#quantize-out', 'cannot be decoded.*broken\\.png.*BAD_IMAGE');
      await page.$eval('#pictures-out button', (button) => button.click());
      await choose(page, '#pictures-file', ...digits('train', 3).map(picture));
      await page.waitForFunction(() => !document.querySelector('#start').disabled);
      await click(page, '#start');
      await appears(page, '#download-model');

      await choose(
        page,
        '#model-file',
        file('flat.onnx', onnx({ nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }], inputs: [{ name: 'x', shape: [1, 784] }] })),
      );
      await says('#model-out', 'feeds pictures only.*SAMPLE_SHAPE');
      assert.ok(await page.$eval('#start', (button) => button.disabled));
    } finally {
      await close();
    }
  });

  test('cancelling stops the work and leaves everything as it was', async () => {
    const { page, consoleErrors, close } = await openPage();
    try {
      await choose(page, '#model-file', file('mine.onnx', digitsModel()));
      await page.waitForFunction(() => document.querySelector('#model-out').textContent.includes('Parameters'));
      await choose(page, '#pictures-file', ...digits('train', 60).map(picture));
      await page.waitForFunction(() => !document.querySelector('#start').disabled);
      await page.evaluate(() => {
        document.querySelector('#start').click();
        document.querySelector('#cancel').click();
      });
      await page.waitForFunction(() => document.querySelector('#quantize-out').textContent.includes('Cancelled'));
      assert.ok(await page.$eval('#cancel', (button) => button.hidden));
      await click(page, '#start');
      await appears(page, '#download-model');
      assert.deepEqual(consoleErrors, []);
    } finally {
      await close();
    }
  });

  test('a network that leaves its size open takes the one of the form', async () => {
    const { page, consoleErrors, close } = await openPage();
    try {
      const channels = 4;
      const weights = Float32Array.from({ length: 3 * channels }, (_, i) => Math.sin(i));
      await choose(page, '#model-file', file('open.onnx', convModel({ shape: ['N', 3, 'h', 'w'], inChannels: 3, channels, weights })));
      await choose(page, '#pictures-file', ...digits('train', 3).map(picture));
      await page.waitForFunction(() => /224 × 224, colour/.test(document.querySelector('#pictures-out').textContent));
      await page.$eval('#field-size', (input) => {
        input.value = '20 x 12';
        input.dispatchEvent(new Event('change'));
      });
      assert.match(await text(page, '#pictures-out'), /resized to 12 × 20/);
      assert.match(await page.evaluate(() => location.hash), /size=20/);
      await click(page, '#start');
      await appears(page, '#download-model');
      assert.deepEqual(consoleErrors, []);
    } finally {
      await close();
    }
  });

  test('another network ends the work on the one before', async () => {
    const { page, consoleErrors, close } = await openPage();
    try {
      await choose(page, '#model-file', file('mine.onnx', digitsModel()));
      await page.waitForFunction(() => document.querySelector('#model-out').textContent.includes('Parameters'));
      await choose(page, '#pictures-file', ...digits('train', 60).map(picture));
      await page.waitForFunction(() => !document.querySelector('#start').disabled);
      await click(page, '#start');
      await page.evaluate(() => document.querySelector('#sample').click());
      await appears(page, '#put-sample');
      assert.match(await text(page, '#model-out'), /digits_mobilenet_bn\.onnx/);
      assert.match(await text(page, '#result-out'), /same answer as float, 300 pictures/);
      // Pressed again while it works: begun anew, ended once.
      await page.evaluate(() => {
        document.querySelector('#sample').click();
        setTimeout(() => document.querySelector('#sample').click(), 100);
      });
      await page.waitForFunction(() => document.querySelector('#result').hidden);
      await appears(page, '#put-sample');
      assert.equal(await text(page, '#quantize-out'), '');
      assert.deepEqual(consoleErrors, []);
    } finally {
      await close();
    }
  });

  for (const width of [360, 1600]) {
    test(`nothing runs out of a window ${width} pixels wide`, async () => {
      const { page, close } = await openPage({ width, height: 800, path: '#sample=digits' });
      try {
        await appears(page, '#put-sample');
        await page.$$eval('details', (all) =>
          all.forEach((details) => {
            details.open = true;
          }),
        );
        const { inner, content } = await page.evaluate(() => ({ inner: window.innerWidth, content: document.documentElement.scrollWidth }));
        assert.ok(content <= inner, `${content} > ${inner}`);
      } finally {
        await close();
      }
    });
  }

  test('a browser without WebAssembly SIMD is told what would do', async () => {
    const blind = join(folder, 'web');
    cpSync(join(root, 'dist/web'), blind, { recursive: true });
    const [worker] = readdirSync(join(blind, 'assets')).filter((name) => /^worker-.*\.js$/.test(name));
    const path = join(blind, 'assets', worker);
    writeFileSync(path, `WebAssembly.validate = () => false;\n${readFileSync(path, 'utf8')}`);
    const { page, consoleErrors, close } = await openPage({ folder: blind, ready: false });
    try {
      await page.waitForFunction(() => /NO_SIMD/.test(document.querySelector('#engine').textContent), { timeout: 60_000 });
      assert.match(await text(page, '#engine'), /Chrome 91, Firefox 89/);
      assert.ok(await page.$$eval('button, input', (all) => all.every((control) => control.disabled)));
      assert.deepEqual(consoleErrors, []);
    } finally {
      await close();
    }
  });

  test('every control has a name, and the forced module is the one that runs', async () => {
    const { page, close } = await openPage({ path: '#isa=simd' });
    try {
      assert.match(await text(page, '#engine'), /results are the same, only slower/);
      const nameless = await page.$$eval('button, select, input, a', (all) =>
        all.filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map((e) => e.outerHTML),
      );
      assert.deepEqual(nameless, []);
    } finally {
      await close();
    }
  });
});
