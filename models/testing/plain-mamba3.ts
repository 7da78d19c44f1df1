/** The mixer of Mamba-3 as float64 loops; see plain-layers.ts. */
import { at, cut, plainLinear, plainRmsNorm, silu, type Rows } from "./plain-layers.ts";
import type { TestTensor } from "./stored-tensors.ts";

export interface PlainMamba3 {
  readonly headDim: number;
  readonly nGroup: number;
  readonly dState: number;
  readonly nAngle: number;
  readonly mimo: boolean;
  /** 1 without `mimo`. */
  readonly rank: number;
  readonly norm: boolean;
  readonly decay: "heavy_tail" | "softplus";
  readonly aFloor: number;
}

/**
 * h[t] = α h[t−1] + (1 − λ) dt α Σ_r v_r[t−1] ⊗ k_r[t−1] + λ dt Σ_r v_r[t] ⊗ k_r[t]; o_r = h q_r + D v_r; α = exp(dt A), λ = σ(trap).
 * arXiv:2603.15569; the projection's order z, x, B, C, dt, A, trap, angle is the authors'.
 */
export function plainMamba3(x: Rows, w: (name: string) => TestTensor, c: PlainMamba3): Rows {
  const { headDim, nGroup, dState, nAngle, mimo, rank, norm, decay, aFloor } = c;
  const nHead = w("D").values.length;
  const dInner = nHead * headDim;
  const dBC = rank * nGroup * dState;
  const widths = [dInner, dInner, dBC, dBC, nHead, nHead, nHead, nAngle];
  const projected = plainLinear(x, w("in_proj.weight"));
  const starts = widths.map((_, i) => widths.slice(0, i).reduce((sum, width) => sum + width, 0));
  const [z, u, B, C, dtRaw, aRaw, trap, angleRaw] = widths.map((width, i) =>
    cut(projected, starts[i] ?? NaN, width),
  );
  const k = normed(B ?? [], "B_norm.weight");
  const q = normed(C ?? [], "C_norm.weight");

  /** Each group of dState columns by itself, all with one weight. */
  function normed(rows: Rows, name: string): Rows {
    const { values } = w(name);
    const repeated = {
      shape: [dBC],
      values: Float32Array.from({ length: dBC }, (_, i) => values[i % dState] ?? NaN),
    };
    return plainRmsNorm(rows, repeated, dState);
  }

  const y = x.map(() => Array.from({ length: dInner }, () => 0));
  for (let head = 0; head < nHead; head++) {
    const group = Math.floor((head * nGroup) / nHead);
    const angles = Array.from({ length: nAngle }, () => 0);
    const h = new Float64Array(headDim * dState);
    let lastKeys: number[][] = [];
    let lastValues: number[][] = [];
    for (const [t] of x.entries()) {
      const value = (rows: Rows | undefined, column: number): number => rows?.[t]?.[column] ?? NaN;
      const dt = Math.log1p(Math.exp(value(dtRaw, head) + at(w("dt_bias"), head)));
      const a = value(aRaw, head);
      const positive =
        decay === "softplus" ? Math.log1p(Math.exp(a)) : Math.max(a, 0) + 1 / (1 - Math.min(a, 0));
      const alpha = Math.exp(-dt * Math.max(positive, aFloor));
      const lambda = 1 / (1 + Math.exp(-value(trap, head)));
      angles.forEach(
        (angle, s) => (angles[s] = angle + Math.PI * dt * Math.tanh(value(angleRaw, s))),
      );
      const mimoOf = (name: string, r: number, p: number): number =>
        mimo ? at(w(name), (head * rank + r) * headDim + p) : 1;
      const turned = (rows: Rows, bias: TestTensor, r: number): number[] =>
        rotated(
          Array.from(
            { length: dState },
            (_, n) =>
              value(rows, (r * nGroup + group) * dState + n) +
              at(bias, (head * rank + r) * dState + n),
          ),
          angles,
          mimo,
        );
      const ranks = Array.from({ length: rank }, (_, r) => r);
      const keys = ranks.map((r) => turned(k, w("B_bias"), r));
      const queries = ranks.map((r) => turned(q, w("C_bias"), r));
      const values = ranks.map((r) =>
        Array.from(
          { length: headDim },
          (_, p) => value(u, head * headDim + p) * mimoOf("mimo_x", r, p),
        ),
      );
      h.forEach((old, i) => {
        const [p, n] = [Math.floor(i / dState), i % dState];
        const outer = (vs: readonly number[][], ks: readonly number[][]): number =>
          ranks.reduce((sum, r) => sum + (vs[r]?.[p] ?? 0) * (ks[r]?.[n] ?? 0), 0);
        const past = (1 - lambda) * dt * alpha * outer(lastValues, lastKeys);
        h[i] = alpha * old + past + lambda * dt * outer(values, keys);
      });
      for (const r of ranks) {
        const o = Array.from({ length: headDim }, (_, p) =>
          (queries[r] ?? []).reduce(
            (sum, query, n) => sum + query * (h[p * dState + n] ?? NaN),
            at(w("D"), head) * (values[r]?.[p] ?? NaN),
          ),
        );
        const mean = o.reduce((sum, v) => sum + v * v, 0) / headDim;
        o.forEach((raw, p) => {
          const channel = head * headDim + p;
          const out = norm ? (raw / Math.sqrt(mean + 1e-5)) * at(w("norm.weight"), channel) : raw;
          const gate = silu(value(z, channel) * mimoOf("mimo_z", r, p));
          const row = y[t];
          if (row !== undefined)
            row[channel] = (row[channel] ?? NaN) + mimoOf("mimo_o", r, p) * out * gate;
        });
      }
      lastKeys = keys;
      lastValues = values;
    }
  }
  return plainLinear(y, w("out_proj.weight"));
}

/** With MIMO the pairs are (i, i + dState / 2), without (2 i, 2 i + 1). */
function rotated(x: readonly number[], angles: readonly number[], mimo: boolean): number[] {
  const out = [...x];
  for (const [i, angle] of angles.entries()) {
    const [a, b] = mimo ? [i, i + x.length / 2] : [2 * i, 2 * i + 1];
    const [x0, x1] = [x[a] ?? NaN, x[b] ?? NaN];
    out[a] = x0 * Math.cos(angle) - x1 * Math.sin(angle);
    out[b] = x0 * Math.sin(angle) + x1 * Math.cos(angle);
  }
  return out;
}
