/**
 * Layers as float64 loops, written from the papers' equations and kept apart from what runs models: they judge layouts for
 * which no other implementation's outputs are at hand. x is a list of tokens, each a list of numbers; matrices are
 * (outputs, inputs) as in the files. Every sequence begins with an empty state.
 */
import type { TestTensor } from "./stored-tensors.ts";

/** Tokens, each with its columns. */
export type Rows = readonly (readonly number[])[];

/** x σ(x) */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

const softplus = (x: number): number => Math.log1p(Math.exp(x));

/** x Wᵀ + bias */
export function plainLinear(x: Rows, weight: TestTensor, bias?: TestTensor): Rows {
  const [rows = 0, cols = 0] = weight.shape;
  return x.map((token) =>
    Array.from({ length: rows }, (_, r) =>
      token.reduce(
        (sum, value, c) => sum + value * at(weight, r * cols + c),
        bias === undefined ? 0 : at(bias, r),
      ),
    ),
  );
}

/** x / sqrt(mean(x²) + 1e-5) · weight, the mean over each group of columns. arXiv:1910.07467 eq. 4 */
export function plainRmsNorm(x: Rows, weight: TestTensor, groupSize = weight.values.length): Rows {
  return x.map((token) =>
    token.map((value, i) => {
      const group = token.slice(i - (i % groupSize), i - (i % groupSize) + groupSize);
      const mean = group.reduce((sum, v) => sum + v * v, 0) / groupSize;
      return (value / Math.sqrt(mean + 1e-5)) * at(weight, i);
    }),
  );
}

/** (x − mean) / sqrt(variance + 1e-5) · weight + bias. arXiv:1607.06450 eq. 4 */
export function plainLayerNorm(x: Rows, weight: TestTensor, bias: TestTensor): Rows {
  return x.map((token) => {
    const mean = token.reduce((sum, v) => sum + v, 0) / token.length;
    const variance = token.reduce((sum, v) => sum + (v - mean) ** 2, 0) / token.length;
    return token.map(
      (value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * at(weight, i) + at(bias, i),
    );
  });
}

/** y[t, c] = bias[c] + Σ_k weight[c, k] x[t − (taps − 1) + k, c] */
export function plainConv(x: Rows, weight: TestTensor, bias: TestTensor): Rows {
  const taps = weight.shape.at(-1) ?? 0;
  return x.map((token, t) =>
    token.map((_, c) => {
      let sum = at(bias, c);
      for (let k = 0; k < taps; k++) {
        sum += at(weight, c * taps + k) * (x[t - taps + 1 + k]?.[c] ?? 0);
      }
      return sum;
    }),
  );
}

/**
 * dt = softplus(dtRaw); h = exp(dt A) h + dt B x; y = C · h + D x, of channels whose A is (channels, dState). arXiv:2312.00752
 * algorithm 2
 */
export function plainSelectiveScan(
  x: Rows,
  dtRaw: Rows,
  { B, C }: { readonly B: Rows; readonly C: Rows },
  { ALog, D }: { readonly ALog: TestTensor; readonly D: TestTensor },
): Rows {
  const dState = B[0]?.length ?? 0;
  const h = new Float64Array(ALog.values.length);
  return x.map((token, t) =>
    token.map((value, d) => {
      const dt = softplus(dtRaw[t]?.[d] ?? NaN);
      let sum = at(D, d) * value;
      for (let n = 0; n < dState; n++) {
        const i = d * dState + n;
        const decay = Math.exp(-dt * Math.exp(at(ALog, i)));
        h[i] = decay * (h[i] ?? NaN) + dt * (B[t]?.[n] ?? NaN) * value;
        sum += (C[t]?.[n] ?? NaN) * (h[i] ?? NaN);
      }
      return sum;
    }),
  );
}

/** A mixer of Mamba: arXiv:2312.00752 §3.4, algorithm 2. */
export function plainMamba(x: Rows, w: (name: string) => TestTensor): Rows {
  const [dInner = 0, dState = 0] = w("A_log").shape;
  const projected = plainLinear(x, w("in_proj.weight"));
  const u = plainConv(cut(projected, 0, dInner), w("conv1d.weight"), w("conv1d.bias")).map(
    (token) => token.map(silu),
  );
  const dtBC = plainLinear(u, w("x_proj.weight"));
  const rank = (dtBC[0]?.length ?? 0) - 2 * dState;
  const dt = plainLinear(cut(dtBC, 0, rank), w("dt_proj.weight"), w("dt_proj.bias"));
  const B = cut(dtBC, rank, dState);
  const C = cut(dtBC, rank + dState, dState);
  const y = plainSelectiveScan(u, dt, { B, C }, { ALog: w("A_log"), D: w("D") });
  return plainLinear(plainGate(y, cut(projected, dInner, dInner)), w("out_proj.weight"));
}

/** y ⊙ silu(z) */
export function plainGate(y: Rows, z: Rows): Rows {
  return y.map((token, t) => token.map((value, i) => value * silu(z[t]?.[i] ?? NaN)));
}

/** A mixer of Mamba-2 and what hybrids change in it. */
export interface PlainMamba2 {
  readonly headDim: number;
  readonly nGroup: number;
  readonly dState: number;
  /** What comes after the scan, its norm by groups; gate, then norm, if left out. */
  readonly output?: "gate-norm" | "norm-gate" | "gate";
  /** Factors of the projection's columns. */
  readonly factors?: readonly number[];
  /** The smallest dt. */
  readonly dtMin?: number;
}

/** A mixer of Mamba-2: arXiv:2405.21060 §6, 7.1. Biases count where there are any. */
export function plainMamba2(
  x: Rows,
  w: (name: string) => TestTensor,
  c: PlainMamba2,
  biases: { readonly input?: TestTensor; readonly output?: TestTensor } = {},
): Rows {
  const { headDim, nGroup, dState, output = "gate-norm", factors, dtMin = 0 } = c;
  const nHead = w("A_log").values.length;
  const dInner = nHead * headDim;
  const dBC = nGroup * dState;
  const projected = plainLinear(x, w("in_proj.weight"), biases.input).map((token) =>
    token.map((value, i) => value * (factors?.[i] ?? 1)),
  );
  const mixed = cut(projected, dInner, dInner + 2 * dBC);
  const conv = plainConv(mixed, w("conv1d.weight"), w("conv1d.bias")).map((token) =>
    token.map(silu),
  );
  const h = new Float64Array(dInner * dState);
  const scanned = conv.map((token, t) =>
    Array.from({ length: dInner }, (_, channel) => {
      const head = Math.floor(channel / headDim);
      const group = dInner + Math.floor((head * nGroup) / nHead) * dState;
      const dtRaw = projected[t]?.[2 * dInner + 2 * dBC + head] ?? NaN;
      const dt = Math.max(dtMin, softplus(dtRaw + at(w("dt_bias"), head)));
      const decay = Math.exp(-dt * Math.exp(at(w("A_log"), head)));
      const value = token[channel] ?? NaN;
      let sum = at(w("D"), head) * value;
      for (let n = 0; n < dState; n++) {
        const i = channel * dState + n;
        h[i] = decay * (h[i] ?? NaN) + dt * (token[group + n] ?? NaN) * value;
        sum += (token[group + dBC + n] ?? NaN) * (h[i] ?? NaN);
      }
      return sum;
    }),
  );
  const norm = (y: Rows): Rows => plainRmsNorm(y, w("norm.weight"), dInner / nGroup);
  const gate = (y: Rows): Rows => plainGate(y, cut(projected, 0, dInner));
  const done =
    output === "gate"
      ? gate(scanned)
      : output === "gate-norm"
        ? norm(gate(scanned))
        : gate(norm(scanned));
  return plainLinear(done, w("out_proj.weight"), biases.output);
}

/** How queries find keys. */
export interface PlainHeads {
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headDim: number;
  /** Multiplies q · k. */
  readonly scale: number;
}

/** Causal attention with grouped heads. arXiv:1706.03762 eq. 1, arXiv:2305.13245 */
export function plainAttend(q: Rows, k: Rows, v: Rows, c: PlainHeads): Rows {
  const { nHead, nKvHead, headDim, scale } = c;
  return q.map((token, t) =>
    Array.from({ length: nHead }, (_, head) => {
      const from = Math.floor((head * nKvHead) / nHead) * headDim;
      const scores = k.slice(0, t + 1).map((past) => {
        let dot = 0;
        for (let d = 0; d < headDim; d++) {
          dot += (token[head * headDim + d] ?? NaN) * (past[from + d] ?? NaN);
        }
        return Math.exp(scale * dot);
      });
      const total = scores.reduce((sum, score) => sum + score, 0);
      return Array.from({ length: headDim }, (_unused, d) =>
        scores.reduce((sum, p, s) => sum + (p / total) * (v[s]?.[from + d] ?? NaN), 0),
      );
    }).flat(),
  );
}

/** Rotates the pairs (i, i + rotaryDim / 2) of each head by the token's position. arXiv:2104.09864 eq. 34 */
export function plainRotate(x: Rows, headDim: number, rotaryDim: number, theta = 10_000): Rows {
  const half = rotaryDim / 2;
  return x.map((token, t) =>
    token.map((value, i) => {
      const column = i % headDim;
      if (column >= rotaryDim) return value;
      const angle = t * theta ** ((-2 * (column % half)) / rotaryDim);
      return column < half
        ? value * Math.cos(angle) - (token[i + half] ?? NaN) * Math.sin(angle)
        : value * Math.cos(angle) + (token[i - half] ?? NaN) * Math.sin(angle);
    }),
  );
}

/** Attention over what was convolved and then rotated, beside a gated MLP of the same projection: arXiv:2405.21060 §9.2.3. */
export function plainMha(
  x: Rows,
  w: (name: string) => TestTensor,
  c: PlainHeads & { readonly rotaryDim: number; readonly dMlp: number },
): Rows {
  const { nHead, nKvHead, headDim, rotaryDim, dMlp } = c;
  const [dQ, dKv] = [nHead * headDim, nKvHead * headDim];
  const projected = plainLinear(x, w("in_proj.weight"), w("in_proj.bias"));
  const qkv = plainConv(cut(projected, 0, dQ + 2 * dKv), w("conv1d.weight"), w("conv1d.bias"));
  const attended = plainAttend(
    plainRotate(cut(qkv, 0, dQ), headDim, rotaryDim),
    plainRotate(cut(qkv, dQ, dKv), headDim, rotaryDim),
    cut(qkv, dQ + dKv, dKv),
    c,
  );
  const fed = cut(projected, dQ + 2 * dKv, dMlp);
  const context = attended.map((token, t) => [
    ...token,
    ...Array.from(
      { length: dMlp / 2 },
      (_, i) => (fed[t]?.[i] ?? NaN) * silu(fed[t]?.[dMlp / 2 + i] ?? NaN),
    ),
  ]);
  return plainLinear(context, w("out_proj.weight"), w("out_proj.bias"));
}

/** (x Wvalue) ⊙ silu(x Wgate), then the way back: the values' rows come first. arXiv:2002.05202 eq. 6 */
export function plainGatedMlp(x: Rows, fc1: TestTensor, fc2: TestTensor): Rows {
  const width = fc2.shape.at(-1) ?? 0;
  const hidden = plainLinear(x, fc1).map((token) =>
    token.slice(0, width).map((value, i) => value * silu(token[width + i] ?? NaN)),
  );
  return plainLinear(hidden, fc2);
}

/** factor x */
export function plainScaled(x: Rows, factor: number): Rows {
  return x.map((token) => token.map((value) => value * factor));
}

/** act(a) ⊙ b */
export function plainGlu(a: Rows, b: Rows, act: (x: number) => number): Rows {
  return a.map((token, t) => token.map((value, i) => act(value) * (b[t]?.[i] ?? NaN)));
}

/** a + b */
export function plainSum(a: Rows, b: Rows): Rows {
  return a.map((token, t) => token.map((value, i) => value + (b[t]?.[i] ?? NaN)));
}

/** Rows of a table. */
export function plainEmbedding(table: TestTensor, ids: readonly number[]): Rows {
  const cols = table.shape[1] ?? 0;
  return ids.map((id) => Array.from(table.values.subarray(id * cols, (id + 1) * cols)));
}

/** `count` columns from `from` on. */
export function cut(x: Rows, from: number, count: number): Rows {
  return x.map((token) => token.slice(from, from + count));
}

/** A value of a tensor; NaN beyond its end. */
export function at({ values }: TestTensor, index: number): number {
  return values[index] ?? NaN;
}
