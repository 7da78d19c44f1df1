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
import { mamba3ScanRef } from "./mamba3-scan/mamba3-scan.ref.ts";
import { mamba3ScanOp } from "./mamba3-scan/mamba3-scan.ts";
import { rmsNormRef } from "./rms-norm/rms-norm.ref.ts";
import { rmsNormOp } from "./rms-norm/rms-norm.ts";
import { selectiveScanRef } from "./selective-scan/selective-scan.ref.ts";
import { selectiveScanOp } from "./selective-scan/selective-scan.ts";
import { gatedDeltaRef } from "./gated-delta/gated-delta.ref.ts";
import { gatedDeltaOp } from "./gated-delta/gated-delta.ts";
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
import { rgLruRef } from "./rg-lru/rg-lru.ref.ts";
import { rgLruOp } from "./rg-lru/rg-lru.ts";
import { mlstmRef } from "./mlstm/mlstm.ref.ts";
import { mlstmOp } from "./mlstm/mlstm.ts";
import { ssdRef } from "./ssd/ssd.ref.ts";
import { ssdOp } from "./ssd/ssd.ts";
import { tokenShiftRef } from "./token-shift/token-shift.ref.ts";
import { tokenShiftOp } from "./token-shift/token-shift.ts";
import { wkv4Ref } from "./wkv4/wkv4.ref.ts";
import { wkv4Op } from "./wkv4/wkv4.ts";
import { wkv7Ref } from "./wkv7/wkv7.ref.ts";
import { wkv7Op } from "./wkv7/wkv7.ts";
import { wkv7BonusRef } from "./wkv7-bonus/wkv7-bonus.ref.ts";
import { wkv7BonusOp } from "./wkv7-bonus/wkv7-bonus.ts";
import { wkv7KeysRef } from "./wkv7-keys/wkv7-keys.ref.ts";
import { wkv7KeysOp } from "./wkv7-keys/wkv7-keys.ts";

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
  "gated-delta": op(gatedDeltaOp, gatedDeltaRef),
  "rg-lru": op(rgLruOp, rgLruRef),
  mlstm: op(mlstmOp, mlstmRef),
  "layer-norm": op(layerNormOp, layerNormRef),
  activation: op(activationOp, activationRef),
  gate: op(gateOp, gateRef),
  "scaled-add": op(scaledAddOp, scaledAddRef),
  "block-linear": op(blockLinearOp, blockLinearRef),
  rope: op(ropeOp, ropeRef),
  attention: op(attentionOp, attentionRef),
  route: op(routeOp, routeRef),
  "expert-linear": op(expertLinearOp, expertLinearRef),
  "token-shift": op(tokenShiftOp, tokenShiftRef),
  wkv4: op(wkv4Op, wkv4Ref),
  wkv7: op(wkv7Op, wkv7Ref),
  "wkv7-bonus": op(wkv7BonusOp, wkv7BonusRef),
  "wkv7-keys": op(wkv7KeysOp, wkv7KeysRef),
  "mamba3-scan": op(mamba3ScanOp, mamba3ScanRef),
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
