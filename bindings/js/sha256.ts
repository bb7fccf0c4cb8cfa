// SHA-256 (FIPS 180-4) of bytes that come in pieces: crypto.subtle takes only the whole, which for a large file is a second copy of it.

/** A hash that is fed. */
export interface Hash {
  update(bytes: Uint8Array): void;
  /** In hexadecimal; the hash is used up. */
  hex(): string;
}

interface NodeCrypto {
  createHash(name: string): { update(bytes: Uint8Array): void; digest(encoding: 'hex'): string };
}

const turned = (x: number, by: number): number => (x >>> by) | (x << (32 - by));

function portable(): Hash {
  const state = new Int32Array(8);
  const constants = new Int32Array(64);
  // The fractional parts of the square and cube roots of primes.
  for (let n = 2, count = 0; count < 64; n++) {
    let k = 2;
    while (n % k) k++;
    if (k < n) continue;
    if (count < 8) state[count] = (n ** 0.5 % 1) * 2 ** 32;
    constants[count++] = (Math.cbrt(n) % 1) * 2 ** 32;
  }
  const w = new Int32Array(64);
  const block = new Uint8Array(64);
  let length = 0;

  const at = (list: Int32Array, i: number): number => list[i] as number;
  const mix = (bytes: Uint8Array, first: number): void => {
    for (let i = 0; i < 16; i++) {
      const k = first + 4 * i;
      w[i] = ((bytes[k] as number) << 24) | ((bytes[k + 1] as number) << 16) | ((bytes[k + 2] as number) << 8) | (bytes[k + 3] as number);
    }
    let a = at(state, 0);
    let b = at(state, 1);
    let c = at(state, 2);
    let d = at(state, 3);
    let e = at(state, 4);
    let f = at(state, 5);
    let g = at(state, 6);
    let h = at(state, 7);
    for (let i = 0; i < 64; i++) {
      if (i > 15) {
        const p = at(w, i - 15);
        const q = at(w, i - 2);
        const s0 = turned(p, 7) ^ turned(p, 18) ^ (p >>> 3);
        w[i] = (at(w, i - 16) + at(w, i - 7) + s0 + (turned(q, 17) ^ turned(q, 19) ^ (q >>> 10))) | 0;
      }
      const s1 = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
      const t = (h + s1 + ((e & f) ^ (~e & g)) + at(constants, i) + at(w, i)) | 0;
      const s0 = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22);
      const u = (t + s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t) | 0;
      d = c;
      c = b;
      b = a;
      a = u;
    }
    const made = [a, b, c, d, e, f, g, h];
    for (let i = 0; i < 8; i++) state[i] = at(state, i) + (made[i] as number);
  };
  const update = (bytes: Uint8Array): void => {
    for (let done = 0; done < bytes.length; ) {
      const filled = length % 64;
      const some = Math.min(64 - filled, bytes.length - done);
      if (some === 64) mix(bytes, done);
      else {
        block.set(bytes.subarray(done, done + some), filled);
        if (filled + some === 64) mix(block, 0);
      }
      done += some;
      length += some;
    }
  };
  const hex = (): string => {
    const bits = 8 * length;
    const size = 9 + ((119 - (length % 64)) % 64); // what fills a block, with a byte and the length at least
    const end = new Uint8Array(size);
    end[0] = 128;
    const view = new DataView(end.buffer);
    view.setUint32(size - 8, Math.floor(bits / 2 ** 32));
    view.setUint32(size - 4, bits);
    update(end);
    return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
  };
  return { update, hex };
}

/** Node's own where there is one, else this file's. */
export function sha256InPieces(own = false): Hash {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => NodeCrypto | undefined } };
  const hash = own ? undefined : process?.getBuiltinModule?.('node:crypto')?.createHash('sha256');
  return hash ? { update: (bytes) => void hash.update(bytes), hex: () => hash.digest('hex') } : portable();
}
