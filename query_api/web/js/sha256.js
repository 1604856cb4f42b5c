/** SHA-256. Browsers have it over https and on this machine only, and Twinlens is often asked over a plain local network. */

/** The first 32 bits of the fraction of `root`'s value at the nth prime. @param {(prime: number) => number} root
 * @param {number} count */
function fractions(root, count) {
  const found = [];
  for (let candidate = 2; found.length < count; candidate += 1) {
    let prime = true;
    for (let factor = 2; factor * factor <= candidate && prime; factor += 1) prime = candidate % factor !== 0;
    if (prime) found.push(Math.floor((root(candidate) % 1) * 2 ** 32));
  }
  return Uint32Array.from(found);
}

const START = fractions(Math.sqrt, 8);
const ROUNDS = fractions(Math.cbrt, 64);

/** @param {number} value @param {number} bits */
const turned = (value, bits) => (value >>> bits) | (value << (32 - bits));

/** FIPS 180-4, 6.2.2, for one block. @param {Uint32Array} state @param {Uint32Array} words 64, the first 16 filled */
function compress(state, words) {
  for (let t = 16; t < 64; t += 1) {
    const [x, y] = [words[t - 15], words[t - 2]];
    words[t] = words[t - 16] + (turned(x, 7) ^ turned(x, 18) ^ (x >>> 3)) + words[t - 7] + (turned(y, 17) ^ turned(y, 19) ^ (y >>> 10));
  }
  let [a, b, c, d, e, f, g, k] = state;
  for (let t = 0; t < 64; t += 1) {
    const one = (k + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[t] + words[t]) | 0;
    const two = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    k = g;
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + two) | 0;
  }
  [a, b, c, d, e, f, g, k].forEach((value, index) => (state[index] += value));
}

/** In hex, by ourselves. @param {Uint8Array} data @returns {string} */
export function sha256Here(data) {
  const padded = new Uint8Array(((data.length + 8) >> 6) * 64 + 64);
  padded.set(data);
  padded[data.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(data.length) * 8n);
  const state = START.slice();
  const words = new Uint32Array(64);
  for (let block = 0; block < padded.length; block += 64) {
    for (let t = 0; t < 16; t += 1) words[t] = view.getUint32(block + 4 * t);
    compress(state, words);
  }
  return [...state].map((value) => value.toString(16).padStart(8, "0")).join("");
}

/** In hex, by the browser where it can. @param {ArrayBuffer} data @returns {Promise<string>} */
export async function sha256(data) {
  if (!globalThis.crypto?.subtle) return sha256Here(new Uint8Array(data));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The id of the image under a key: the first half of a digest (docs/api.md). @param {string} bucket @param {string} key */
export const imageId = (bucket, key) => sha256Here(new TextEncoder().encode(`${bucket}/${key}`)).slice(0, 32);
