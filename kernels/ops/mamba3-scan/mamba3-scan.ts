import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const mamba3ScanOp = {
  name: "mamba3-scan",
  access: {
    x: "read",
    z: "read",
    B: "read",
    C: "read",
    dtRaw: "read",
    aRaw: "read",
    trap: "read",
    angleRaw: "read",
    angles: "update",
    state: "update",
    keys: "update",
    values: "update",
    y: "write",
  },
} as const satisfies OpDeclaration;

/** The positive function whose negative is A: max(x, 0) + 1 / (1 − min(x, 0)), or softplus in the first release. */
export type DecayActivation = "heavy_tail" | "softplus";

export interface Mamba3ScanOperands {
  /** (B * T, nHead * headDim) */
  readonly x: Tensor;
  /** (B * T, nHead * headDim): the gate. */
  readonly z: Tensor;
  /** (B * T, rank * nGroup * dState), normalised; head h belongs to group floor(h · nGroup / nHead). */
  readonly B: Tensor;
  /** (B * T, rank * nGroup * dState), normalised. */
  readonly C: Tensor;
  /** (B * T, nHead), before bias and softplus. */
  readonly dtRaw: Tensor;
  /** (B * T, nHead), before `decay`. */
  readonly aRaw: Tensor;
  /** (B * T, nHead), before the sigmoid. */
  readonly trap: Tensor;
  /** (B * T, nAngle), before tanh; shared by the heads. */
  readonly angleRaw: Tensor;
  /** (1, nHead) */
  readonly dtBias: Weight;
  /** (nHead * rank, dState) */
  readonly BBias: Weight;
  /** (nHead * rank, dState) */
  readonly CBias: Weight;
  /** (1, nHead) */
  readonly D: Weight;
  /** (nHead * rank, headDim), or null for ones; all three or none. */
  readonly mimoX: Weight | null;
  readonly mimoZ: Weight | null;
  readonly mimoO: Weight | null;
  /** (1, nHead * headDim): a norm over each head before the gate; or null for none. */
  readonly norm: Weight | null;
  readonly eps: number;
  readonly decay: DecayActivation;
  /** A is at most −aFloor. */
  readonly aFloor: number;
  /** Which of a head's columns rotate together: (2 i, 2 i + 1), or (i, i + dState / 2); i < nAngle. */
  readonly pairs: "neighbours" | "halves";
  /** (B, nHead * nAngle): radians modulo 2π. */
  readonly angles: Tensor;
  /** h, (B, nHead * headDim * dState). */
  readonly state: Tensor;
  /** (B, nHead * rank * dState): k of the last token, with bias and rotation. */
  readonly keys: Tensor;
  /** (B, nHead * rank * headDim): v of the last token, after mimoX. */
  readonly values: Tensor;
  readonly nGroup: number;
  readonly rank: number;
  /** T */
  readonly length: number;
  /** (B * T, nHead * headDim) */
  readonly y: Tensor;
}

/**
 * Per head, with dt = softplus(dtRaw + dtBias), A = min(−decay(aRaw), −aFloor), λ = σ(trap):
 * θ[t] = θ[t−1] + π dt tanh(angleRaw[t]); k = R(θ)(B + BBias), q = R(θ)(C + CBias), R a rotation of pairs; v = x ⊙ mimoX;
 * h[t] = exp(dt A) (h[t−1] + (1−λ) dt Σ_r v_r[t−1] ⊗ k_r[t−1]) + λ dt Σ_r v_r[t] ⊗ k_r[t];
 * o_r = h q_r + D v_r; o_r = norm(o_r) if there is one; y = Σ_r mimoO_r ⊙ o_r ⊙ silu(z ⊙ mimoZ_r).
 * Source: Mamba-3 (arXiv:2603.15569); state-spaces/mamba, `modules/mamba3.py`.
 */
export function mamba3Scan(
  k: Recorder,
  operands: Omit<Mamba3ScanOperands, "y" | "length">,
): Tensor {
  const { x, z, B, C, angleRaw, BBias, D, nGroup, rank, mimoX, mimoZ, mimoO, norm } = operands;
  const rows = k.batch * k.length;
  const nHead = D.cols;
  const nAngle = angleRaw.cols;
  const dState = BBias.cols;
  const headDim = x.cols / nHead;
  const pairable = operands.pairs === "neighbours" || dState % 2 === 0;
  if (
    nGroup < 1 ||
    nHead % nGroup !== 0 ||
    !Number.isInteger(headDim) ||
    rank < 1 ||
    nAngle < 1 ||
    2 * nAngle > dState ||
    !pairable
  ) {
    throw new KernelError(
      "shape",
      `mamba3-scan: ${x.cols} channels, ${nHead} heads, ${nGroup} groups, rank ${rank}, ${nAngle} angles of ${dState} do not fit`,
    );
  }
  if ((mimoX === null) !== (mimoZ === null) || (mimoX === null) !== (mimoO === null)) {
    throw new KernelError("shape", "mamba3-scan: mimoX, mimoZ and mimoO go together");
  }
  const expect = (name: string, tensor: Tensor | Weight, height: number, width: number): void =>
    expectShape("mamba3-scan", name, tensor, height, width);
  expect("x", x, rows, x.cols);
  expect("z", z, rows, x.cols);
  expect("B", B, rows, rank * nGroup * dState);
  expect("C", C, rows, rank * nGroup * dState);
  expect("dtRaw", operands.dtRaw, rows, nHead);
  expect("aRaw", operands.aRaw, rows, nHead);
  expect("trap", operands.trap, rows, nHead);
  expect("angleRaw", angleRaw, rows, nAngle);
  expect("dtBias", operands.dtBias, 1, nHead);
  expect("BBias", BBias, nHead * rank, dState);
  expect("CBias", operands.CBias, nHead * rank, dState);
  expect("D", D, 1, nHead);
  for (const [name, weight] of Object.entries({ mimoX, mimoZ, mimoO })) {
    if (weight !== null) expect(name, weight, nHead * rank, headDim);
  }
  if (norm !== null) expect("norm", norm, 1, x.cols);
  expect("angles", operands.angles, k.batch, nHead * nAngle);
  expect("state", operands.state, k.batch, x.cols * dState);
  expect("keys", operands.keys, k.batch, nHead * rank * dState);
  expect("values", operands.values, k.batch, rank * x.cols);
  const y = k.temporary(rows, x.cols);
  k.record(mamba3ScanOp, { ...operands, length: k.length, y } satisfies Mamba3ScanOperands &
    Record<string, unknown>);
  return y;
}
