import { describeActivation } from "../../ops/activation/activation.webgpu.ts";
import { describeBlockLinear } from "../../ops/block-linear/block-linear.webgpu.ts";
import { describeAttention } from "../../ops/attention/attention.webgpu.ts";
import { describeCausalConv1d } from "../../ops/causal-conv1d/causal-conv1d.webgpu.ts";
import { describeEmbedding } from "../../ops/embedding/embedding.webgpu.ts";
import { describeExpertLinear } from "../../ops/expert-linear/expert-linear.webgpu.ts";
import { describeGate } from "../../ops/gate/gate.webgpu.ts";
import { describeGatedDelta } from "../../ops/gated-delta/gated-delta.webgpu.ts";
import { describeGatedRmsNorm } from "../../ops/gated-rms-norm/gated-rms-norm.webgpu.ts";
import { describeLayerNorm } from "../../ops/layer-norm/layer-norm.webgpu.ts";
import { describeFusedLinear } from "../../ops/linear/few-rows.webgpu.ts";
import { describeLinear } from "../../ops/linear/linear.webgpu.ts";
import { describeMamba3Scan } from "../../ops/mamba3-scan/mamba3-scan.webgpu.ts";
import { describeMlstm } from "../../ops/mlstm/mlstm.webgpu.ts";
import { describeRgLru } from "../../ops/rg-lru/rg-lru.webgpu.ts";
import { describeRmsNorm } from "../../ops/rms-norm/rms-norm.webgpu.ts";
import { describeRoute } from "../../ops/route/route.webgpu.ts";
import { describeScaledAdd } from "../../ops/scaled-add/scaled-add.webgpu.ts";
import { describeRope } from "../../ops/rope/rope.webgpu.ts";
import { describeFusedSelectiveScan } from "../../ops/selective-scan/selective-scan-step.webgpu.ts";
import { describeSelectiveScan } from "../../ops/selective-scan/selective-scan.webgpu.ts";
import { describeSsd } from "../../ops/ssd/ssd.webgpu.ts";
import { describeTokenShift } from "../../ops/token-shift/token-shift.webgpu.ts";
import { describeWkv4 } from "../../ops/wkv4/wkv4.webgpu.ts";
import { describeWkv7 } from "../../ops/wkv7/wkv7.webgpu.ts";
import { describeWkv7Bonus } from "../../ops/wkv7-bonus/wkv7-bonus.webgpu.ts";
import { describeWkv7Keys } from "../../ops/wkv7-keys/wkv7-keys.webgpu.ts";
import { KernelError } from "../../spec/errors.ts";
import type { OpCall } from "../../spec/op.ts";
import type { Describe, Dispatch, DispatchContext } from "../../wgsl/dispatch.ts";

const describers: ReadonlyMap<string, Describe> = new Map<string, Describe>([
  ["activation", describeActivation],
  ["block-linear", describeBlockLinear],
  ["attention", describeAttention],
  ["causal-conv1d", describeCausalConv1d],
  ["embedding", describeEmbedding],
  ["expert-linear", describeExpertLinear],
  ["fused-linear", describeFusedLinear],
  ["fused-selective-scan", describeFusedSelectiveScan],
  ["gate", describeGate],
  ["gated-delta", describeGatedDelta],
  ["gated-rms-norm", describeGatedRmsNorm],
  ["layer-norm", describeLayerNorm],
  ["linear", describeLinear],
  ["mamba3-scan", describeMamba3Scan],
  ["mlstm", describeMlstm],
  ["rg-lru", describeRgLru],
  ["rms-norm", describeRmsNorm],
  ["route", describeRoute],
  ["scaled-add", describeScaledAdd],
  ["rope", describeRope],
  ["selective-scan", describeSelectiveScan],
  ["ssd", describeSsd],
  ["token-shift", describeTokenShift],
  ["wkv4", describeWkv4],
  ["wkv7", describeWkv7],
  ["wkv7-bonus", describeWkv7Bonus],
  ["wkv7-keys", describeWkv7Keys],
]);

/** The dispatches of a call. @throws KernelError `unsupported` for an op without WebGPU kernels */
export function describe(call: OpCall, context: DispatchContext): readonly Dispatch[] {
  const describeOp = describers.get(call.op);
  if (describeOp === undefined) {
    throw new KernelError("unsupported", `there is no WebGPU kernel for ${call.op}`, {
      op: call.op,
    });
  }
  return describeOp(call.operands, context);
}
