// Products of queries and a tile of keys, in registers: out[query, j] = q[query] · key[j], rows of TILE values.
import { horizontalSums, madd } from "../../wasm/math.wasm";

/** Keys that are scored at once. */
export const TILE: i32 = 64;
export const TILE_BYTES: usize = 256;

/** Of four queries `bytes` long, one after the other. Two keys at a time; an odd last one counts twice, and what that gives is not looked at. */
export function scoreFour(q: usize, bytes: usize, keys: usize, keyRow: usize, count: i32, out: usize): void {
  const q1 = q + bytes, q2 = q1 + bytes, q3 = q2 + bytes;
  for (let j = 0; j < count; j += 2) {
    const k0 = keys + <usize>j * keyRow, k1 = j + 1 < count ? k0 + keyRow : k0;
    let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (let i: usize = 0; i < bytes; i += 16) {
      const a = v128.load(k0 + i), b = v128.load(k1 + i);
      let u = v128.load(q + i);
      a0 = madd(a, u, a0);
      b0 = madd(b, u, b0);
      u = v128.load(q1 + i);
      a1 = madd(a, u, a1);
      b1 = madd(b, u, b1);
      u = v128.load(q2 + i);
      a2 = madd(a, u, a2);
      b2 = madd(b, u, b2);
      u = v128.load(q3 + i);
      a3 = madd(a, u, a3);
      b3 = madd(b, u, b3);
    }
    const low = horizontalSums(a0, b0, a1, b1), high = horizontalSums(a2, b2, a3, b3);
    const to = out + (<usize>j << 2);
    v128.store64_lane(to, low, 0);
    v128.store64_lane(to, low, 1, TILE_BYTES);
    v128.store64_lane(to, high, 0, 2 * TILE_BYTES);
    v128.store64_lane(to, high, 1, 3 * TILE_BYTES);
  }
}

/** Of one query. Four keys at a time; the last one is repeated to fill a vector. */
export function scoreOne(q: usize, bytes: usize, keys: usize, keyRow: usize, count: i32, out: usize): void {
  const last = keys + <usize>(count - 1) * keyRow;
  for (let j = 0; j < count; j += 4) {
    const k0 = keys + <usize>j * keyRow;
    const k1 = min(k0 + keyRow, last), k2 = min(k1 + keyRow, last), k3 = min(k2 + keyRow, last);
    let a = f32x4.splat(0), b = a, c = a, d = a;
    for (let i: usize = 0; i < bytes; i += 16) {
      const u = v128.load(q + i);
      a = madd(v128.load(k0 + i), u, a);
      b = madd(v128.load(k1 + i), u, b);
      c = madd(v128.load(k2 + i), u, c);
      d = madd(v128.load(k3 + i), u, d);
    }
    v128.store(out + (<usize>j << 2), horizontalSums(a, b, c, d));
  }
}
