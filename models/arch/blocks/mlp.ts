/** A gated MLP. Source: Shazeer 2020 (arXiv:2002.05202) eq. 6, with bias. */
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import type { Activation } from "../../../kernels/spec/activations.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { split } from "../../../kernels/spec/views.ts";
import type { MatrixPart } from "../matrix-parts.ts";
import type { WeightLoader } from "../weight-loader.ts";

export interface MlpWeights {
  readonly gateUp: Weight; //           (2 * dFf, dModel): gate, up
  readonly gateUpBias: Weight | null; //(1, 2 * dFf)
  readonly down: Weight; //             (dModel, dFf)
  readonly downBias: Weight | null; //  (1, dModel)
}

/** act(x Wgateᵀ) ⊙ (x Wupᵀ) Wdownᵀ + residual: (rows, dModel) → (rows, dModel). */
export function mlp(
  k: Recorder,
  w: MlpWeights,
  x: Tensor,
  options: { readonly act: Activation; readonly residual?: Tensor | null },
): Tensor {
  const { act, residual = null } = options;
  const dFf = w.down.cols;
  const [a, b] = split(linear(k, x, w.gateUp, { bias: w.gateUpBias }), [dFf, dFf]); // (rows, dFf) × 2
  const hidden = gate(k, { a, b, act }); // (rows, dFf)
  return linear(k, hidden, w.down, { bias: w.downBias, residual });
}

/** Where a file keeps the matrices: gate and up in one tensor or in two; biases are `.bias` beside `.weight`. */
export interface MlpNames {
  /** One tensor (2 * dFf, dModel), or gate and up. Names without `.weight`. */
  readonly gateUp: string | readonly [gate: string, up: string];
  readonly down: string;
}

/** @throws WeightsError `missing`, `mismatch` */
export async function loadMlp(
  from: WeightLoader,
  names: MlpNames,
  shape: { readonly dModel: number; readonly dFf: number; readonly bias: boolean },
): Promise<MlpWeights> {
  const { dModel, dFf, bias } = shape;
  const gateUp = typeof names.gateUp === "string" ? [names.gateUp] : names.gateUp;
  return {
    gateUp: await from.matrix(
      gateUp.map((name): MatrixPart => ({
        name: `${name}.weight`,
        rows: (2 * dFf) / gateUp.length,
      })),
      2 * dFf,
      dModel,
    ),
    gateUpBias: bias
      ? await from.vector(
          gateUp.map((name) => `${name}.bias`),
          1,
          2 * dFf,
        )
      : null,
    down: await from.matrix(`${names.down}.weight`, dModel, dFf),
    downBias: bias ? await from.vector(`${names.down}.bias`, 1, dModel) : null,
  };
}
