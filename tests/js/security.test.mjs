// What is served, what is installed: nothing more than there should be. (tests/web/security.test.mjs looks at the page itself.)

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { headers, serve } from '../../tools/serve.mjs';
import { root } from './support.mjs';

const json = (path) => JSON.parse(readFileSync(join(root, path), 'utf8'));

/** Asks for a path as it stands: fetch would take the dots out. */
const ask = (url, path) =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    request({ hostname, port, path }, (response) => {
      let body = '';
      response
        .setEncoding('utf8')
        .on('data', (text) => {
          body += text;
        })
        .on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
    })
      .on('error', reject)
      .end();
  });

test('the server gives nothing from above its folder', async () => {
  const outer = mkdtempSync(join(tmpdir(), 'octavo-serve-'));
  const folder = join(outer, 'site');
  mkdirSync(folder);
  writeFileSync(join(outer, 'secret.txt'), 'secret');
  writeFileSync(join(outer, 'site-secret.txt'), 'secret');
  writeFileSync(join(folder, 'index.html'), 'public');
  symlinkSync(join(folder, 'index.html'), join(folder, 'inside.html'));
  symlinkSync(join(outer, 'secret.txt'), join(folder, 'link.txt'));
  symlinkSync(join(outer, 'secret.txt'), join(folder, 'page.html'));
  symlinkSync(outer, join(folder, 'outer'));
  const server = await serve({ folder });
  try {
    for (const path of ['/', '/index.html', '/inside.html', '/inside', '/index.html?x=1'])
      assert.equal((await ask(server.url, path)).body, 'public');
    for (const path of [
      '/link.txt',
      '/link.txt?x',
      '/li%6ek.txt',
      '/page',
      '/page.html',
      '/outer/secret.txt',
      '/outer%2fsecret.txt',
      '//outer/secret.txt',
      '/./outer/secret.txt',
      `/${join(outer, 'secret.txt')}`,
      `${join(outer, 'secret.txt')}`,
      `file://${join(outer, 'secret.txt')}`,
      '/../secret.txt',
      '/%2e%2e/secret.txt',
      '/..%2fsecret.txt',
      '/%2e%2e%2fsecret.txt',
      '/..%5csecret.txt',
      '/./../secret.txt',
      '/x/../../secret.txt',
      '//../secret.txt',
      '/..%00/secret.txt',
      '/%c0%ae%c0%ae/secret.txt',
      '/../site-secret.txt',
      '/..-secret.txt',
      `/${outer}/secret.txt`,
      '/%',
    ]) {
      const { status, body } = await ask(server.url, path);
      assert.doesNotMatch(body, /secret/, path);
      assert.equal(status, 404, path);
    }
  } finally {
    await server.close();
    rmSync(outer, { recursive: true });
  }
});

test('nor does the server of `npm run dev`, however it is asked', async () => {
  const { createServer } = await import('vite');
  const secret = mkdtempSync(join(tmpdir(), 'octavo-secret-'));
  writeFileSync(join(secret, 'secret.js'), 'export default "secret";');
  const server = await createServer({ configFile: join(root, 'web/vite.config.ts'), logLevel: 'silent', server: { port: 0 } });
  try {
    await server.listen();
    const { address, port } = server.httpServer.address();
    assert.equal(address, '127.0.0.1');
    const url = `http://127.0.0.1:${port}/`;
    assert.match((await ask(url, '/')).body, /<title>/);
    const path = join(secret, 'secret.js');
    const up = '/..'.repeat(20);
    for (const way of [
      `/@fs${path}`,
      `/@fs/${path}`,
      `/@fs${up}${path}`,
      `${up}${path}`,
      `/@fs${path.replaceAll('/', '%2f')}`,
      `/@id/${path}`,
      path,
    ])
      for (const query of ['', '?raw', '?url', '?import&raw', '?raw??', '?import&raw??', '?inline', '?.svg?.wasm?init', '#/../../x'])
        assert.doesNotMatch((await ask(url, way + query)).body, /default "secret"/, way + query);
    // The rest of the checkout lies above the page's root as well.
    const own = ['package.json', 'tools/serve.mjs', 'src/README.md', '.npmrc', 'node_modules/comlink/package.json'];
    for (const file of own) {
      const lines = readFileSync(join(root, file), 'utf8').split('\n');
      const telling = lines.filter((line) => line.length > 10).sort((a, b) => b.length - a.length);
      const encoded = file.replaceAll('/', '%2f');
      for (const way of [
        `/@fs${root}/${file}`,
        `/@fs${root}/dist/../${file}`,
        `/@fs${root}/dist/..%2f${encoded}`,
        `/../${file}`,
        `/..%2f${encoded}`,
      ])
        for (const query of [
          '',
          '?raw',
          '?url',
          '?import',
          '?import&raw',
          '?raw??',
          '?inline',
          '?.svg?import',
          '?worker&inline',
          '?worker_file&type=module',
        ]) {
          const { body } = await ask(url, way + query);
          for (const line of telling.slice(0, 5))
            assert.ok(!body.includes(line) && !body.includes(JSON.stringify(line).slice(1, -1)), way + query);
        }
    }
    // What the page needs comes, with the policy of the built page.
    for (const way of ['/', '/main.ts', '/@vite/client', `/@fs${root}/dist/index.js`, `/@fs${root}/dist/octavo.simd.wasm`]) {
      const { status, headers: got } = await ask(url, way);
      assert.equal(status, 200, way);
      for (const [name, value] of Object.entries(headers))
        assert.equal(got[name.toLowerCase()].replace(/ 'nonce-[^']{24}'/, ''), value, `${way}: ${name}`);
    }
  } finally {
    await server.close();
    rmSync(secret, { recursive: true });
  }
});

test('every answer carries the policy: no eval, no inline script, no other host', async () => {
  const policy = Object.fromEntries(
    headers['Content-Security-Policy'].split('; ').map((line) => {
      const [name, ...sources] = line.split(' ');
      return [name, sources];
    }),
  );
  assert.deepEqual(policy['default-src'], ["'self'"]);
  assert.deepEqual(policy['connect-src'], ["'self'"]);
  assert.deepEqual(policy['script-src'], ["'self'", "'wasm-unsafe-eval'"]);
  for (const sources of Object.values(policy))
    assert.ok(!sources.some((one) => /unsafe-(eval|inline)|\*|https?:/.test(one) && !one.includes('wasm')));
  const folder = mkdtempSync(join(tmpdir(), 'octavo-serve-'));
  writeFileSync(join(folder, 'index.html'), 'public');
  const server = await serve({ folder });
  try {
    const { headers: got } = await ask(server.url, '/');
    for (const [name, value] of Object.entries(headers)) assert.equal(got[name.toLowerCase()], value);
  } finally {
    await server.close();
    rmSync(folder, { recursive: true });
  }
});

test('installing the package runs no script: not its own, not one of what it depends on, and a checkout none of its tools', () => {
  assert.match(readFileSync(join(root, '.npmrc'), 'utf8'), /^ignore-scripts=true$/m);
  const { scripts, dependencies } = json('package.json');
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish']) assert.equal(scripts[name], undefined, name);
  const { packages } = json('package-lock.json');
  const seen = new Set();
  const visit = (name) => {
    const entry = packages[`node_modules/${name}`];
    if (seen.has(name)) return;
    seen.add(name);
    assert.ok(entry, `${name} is in package-lock.json`);
    assert.ok(!entry.hasInstallScript, `${name} has an install script`);
    for (const next of Object.keys(entry.dependencies ?? {})) visit(next);
  };
  for (const name of Object.keys(dependencies)) visit(name);
  assert.ok(seen.size >= Object.keys(dependencies).length);
});

// What `npm audit` cannot be asked everywhere (it needs the registry's own service): nothing that is installed can be other than it was.
test('the lock file names each package by version and hash, of the registry alone, and two of our tools have scripts, which never run', () => {
  const { packages, lockfileVersion } = json('package-lock.json');
  assert.ok(lockfileVersion >= 2);
  const scripted = [];
  for (const [path, { version, integrity, resolved, link, hasInstallScript, dev }] of Object.entries(packages)) {
    if (path === '') continue;
    assert.match(path, /^node_modules\//);
    assert.match(version, /^\d+\.\d+\.\d+/, path);
    assert.match(integrity ?? '', /^sha512-[\w+/]{86}==$/, path);
    assert.ok(!link && (resolved === undefined || resolved.startsWith('https://registry.npmjs.org/')), path);
    if (hasInstallScript) scripted.push(path.replace('node_modules/', ''));
    assert.ok(!hasInstallScript || dev, `${path} is in the package that others install`);
  }
  assert.deepEqual(scripted.sort(), ['onnxruntime-node', 'protobufjs']);
  const { version, license, name, dependencies, devDependencies, bin, engines } = json('package.json');
  assert.deepEqual(packages[''], { name, version, license, dependencies, bin, devDependencies, engines });
});

test('the package holds the list of what it is made of: what package-lock.json says, and what is compiled into the modules', () => {
  const { bomFormat, metadata, components } = json('dist/sbom.json');
  assert.equal(bomFormat, 'CycloneDX');
  assert.deepEqual([metadata.component.name, metadata.component.version], ['octavo', json('package.json').version]);
  const locked = Object.entries(json('package-lock.json').packages).filter(([path, { dev, optional }]) => path && !dev && !optional);
  const ofNpm = components.filter(({ purl }) => purl.startsWith('pkg:npm/'));
  const hash = ({ alg, content }) => `${alg} ${content}`;
  const described = ofNpm.map(({ name, version, hashes }) => [name, version, ...hashes.map(hash)].join(' '));
  assert.deepEqual(
    described.sort(),
    locked
      .map(([path, { version, integrity }]) => {
        const content = Buffer.from(integrity.replace('sha512-', ''), 'base64').toString('hex');
        return `${path.replace('node_modules/', '')} ${version} SHA-512 ${content}`;
      })
      .sort(),
  );
  assert.ok(ofNpm.length >= Object.keys(json('package.json').dependencies).length);
  const compiled = components.filter((one) => !ofNpm.includes(one)).map(({ name }) => name);
  assert.deepEqual(compiled.sort(), ['emscripten', 'json', 'protozero']);
  for (const { name, version, licenses } of components) {
    assert.match(version, /^\d+\.\d+\.\d+/, name);
    assert.ok(licenses.length > 0, name);
  }
  const [{ files }] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: root, encoding: 'utf8', stdio: 'pipe' }));
  const packed = files.map(({ path }) => path);
  assert.ok(packed.includes('dist/sbom.json'));
  assert.ok(!packed.some((path) => path.startsWith('dist/web/') || path.startsWith('tools/')));
});

test('an audit says what is known, or that nothing was checked', async () => {
  const cases = [
    { status: 405, answer: { error: 'no audits here' }, says: /NOT CHECKED: the registry does not answer audits \(.*405/, code: 2 },
    { status: 200, answer: {}, says: /^audit: \d+ packages, 0 with known defects$/m, code: 0 },
    {
      status: 200,
      answer: {
        pngjs: [
          {
            id: 1,
            url: 'https://example.org/1',
            title: 'bad',
            severity: 'high',
            vulnerable_versions: '<=7.0.0',
            cwe: [],
            cvss: { score: 1 },
          },
        ],
      },
      says: /^audit: pngjs .*: high$/m,
      code: 1,
    },
  ];
  for (const { status, answer, says, code } of cases) {
    const registry = createServer((asked, response) => {
      asked.resume();
      response.writeHead(asked.method === 'POST' ? status : 404, { 'Content-Type': 'application/json' }).end(JSON.stringify(answer));
    });
    await new Promise((resolve) => registry.listen(0, '127.0.0.1', resolve));
    const env = { ...process.env, npm_config_registry: `http://127.0.0.1:${registry.address().port}/`, npm_config_fetch_retries: '0' };
    const ended = await new Promise((resolve) => {
      execFile(process.execPath, [join(root, 'tools/audit.mjs')], { cwd: root, env }, (error, stdout) =>
        resolve({ code: error?.code ?? 0, stdout }),
      );
    });
    registry.close();
    assert.match(ended.stdout, says);
    assert.equal(ended.code, code);
  }
});
