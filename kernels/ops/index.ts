import type { OpDeclaration, Operands } from "../spec/op.ts";
import type { ReferenceMemory, ReferenceOp } from "../spec/reference.ts";
import { causalConv1dRef } from "./causal-conv1d/causal-conv1d.ref.ts";
import { causalConv1dOp } from "./causal-conv1d/causal-conv1d.ts";
import { embeddingRef } from "./embedding/embedding.ref.ts";
import { embeddingOp } from "./embedding/embedding.ts";
import { gatedRmsNormRef } from "./gated-rms-norm/gated-rms-norm.ref.ts";
import { gatedRmsNormOp } from "./gated-rms-norm/gated-rms-norm.ts";
import { linearRef } from "./linear/linear.ref.ts";
import { linearOp } from "./linear/linear.ts";
import { rmsNormRef } from "./rms-norm/rms-norm.ref.ts";
import { rmsNormOp } from "./rms-norm/rms-norm.ts";
import { selectiveScanRef } from "./selective-scan/selective-scan.ref.ts";
import { selectiveScanOp } from "./selective-scan/selective-scan.ts";
import { layerNormRef } from "./layer-norm/layer-norm.ref.ts";
import { layerNormOp } from "./layer-norm/layer-norm.ts";
import { activationRef } from "./activation/activation.ref.ts";
import { activationOp } from "./activation/activation.ts";
import { gateRef } from "./gate/gate.ref.ts";
import { gateOp } from "./gate/gate.ts";
import { scaledAddRef } from "./scaled-add/scaled-add.ref.ts";
import { scaledAddOp } from "./scaled-add/scaled-add.ts";
import { blockLinearRef } from "./block-linear/block-linear.ref.ts";
import { blockLinearOp } from "./block-linear/block-linear.ts";
import { ropeRef } from "./rope/rope.ref.ts";
import { ropeOp } from "./rope/rope.ts";
import { attentionRef } from "./attention/attention.ref.ts";
import { attentionOp } from "./attention/attention.ts";
import { routeRef } from "./route/route.ref.ts";
import { routeOp } from "./route/route.ts";
import { expertLinearRef } from "./expert-linear/expert-linear.ref.ts";
import { expertLinearOp } from "./expert-linear/expert-linear.ts";
import { ssdRef } from "./ssd/ssd.ref.ts";
import { ssdOp } from "./ssd/ssd.ts";

/** One op: its declaration, and the plain implementation that judges all others. */
export interface Op {
  readonly declaration: OpDeclaration;
  readonly reference: (memory: ReferenceMemory, operands: Operands) => void;
}

/** Every op there is, under the name that its declaration carries. */
export const ops = {
  embedding: op(embeddingOp, embeddingRef),
  "rms-norm": op(rmsNormOp, rmsNormRef),
  "gated-rms-norm": op(gatedRmsNormOp, gatedRmsNormRef),
  linear: op(linearOp, linearRef),
  "causal-conv1d": op(causalConv1dOp, causalConv1dRef),
  "selective-scan": op(selectiveScanOp, selectiveScanRef),
  ssd: op(ssdOp, ssdRef),
  "layer-norm": op(layerNormOp, layerNormRef),
  activation: op(activationOp, activationRef),
  gate: op(gateOp, gateRef),
  "scaled-add": op(scaledAddOp, scaledAddRef),
  "block-linear": op(blockLinearOp, blockLinearRef),
  rope: op(ropeOp, ropeRef),
  attention: op(attentionOp, attentionRef),
  route: op(routeOp, routeRef),
  "expert-linear": op(expertLinearOp, expertLinearRef),
} satisfies Record<string, Op>;

export type OpName = keyof typeof ops;

/** True for the name of an op of this registry. */
export function isOpName(name: string): name is OpName {
  return Object.hasOwn(ops, name);
}

function op<TypedOperands>(declaration: OpDeclaration, reference: ReferenceOp<TypedOperands>): Op {
  return {
    declaration,
    // A call's operands are what the op's own binding recorded, which `satisfies TypedOperands` there.
    reference: (memory, operands) => reference(memory, operands as TypedOperands),
  };
}
