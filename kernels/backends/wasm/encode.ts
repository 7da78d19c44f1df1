import type { ActivationOperands } from "../../ops/activation/activation.ts";
import type { AttentionOperands } from "../../ops/attention/attention.ts";
import type { BlockLinearOperands } from "../../ops/block-linear/block-linear.ts";
import type { CausalConv1dOperands } from "../../ops/causal-conv1d/causal-conv1d.ts";
import type { EmbeddingOperands } from "../../ops/embedding/embedding.ts";
import type { ExpertLinearOperands } from "../../ops/expert-linear/expert-linear.ts";
import type { GatedRmsNormOperands } from "../../ops/gated-rms-norm/gated-rms-norm.ts";
import type { GatedDeltaOperands } from "../../ops/gated-delta/gated-delta.ts";
import type { GateOperands } from "../../ops/gate/gate.ts";
import type { LayerNormOperands } from "../../ops/layer-norm/layer-norm.ts";
import type { LinearOperands } from "../../ops/linear/linear.ts";
import type { Mamba3ScanOperands } from "../../ops/mamba3-scan/mamba3-scan.ts";
import type { MlstmOperands } from "../../ops/mlstm/mlstm.ts";
import type { RgLruOperands } from "../../ops/rg-lru/rg-lru.ts";
import type { RmsNormOperands } from "../../ops/rms-norm/rms-norm.ts";
import type { RopeOperands } from "../../ops/rope/rope.ts";
import type { RouteOperands } from "../../ops/route/route.ts";
import type { ScaledAddOperands } from "../../ops/scaled-add/scaled-add.ts";
import type { SelectiveScanOperands } from "../../ops/selective-scan/selective-scan.ts";
import type { SsdOperands } from "../../ops/ssd/ssd.ts";
import type { TokenShiftOperands } from "../../ops/token-shift/token-shift.ts";
import type { Wkv4Operands } from "../../ops/wkv4/wkv4.ts";
import type { Wkv7BonusOperands } from "../../ops/wkv7-bonus/wkv7-bonus.ts";
import type { Wkv7KeysOperands } from "../../ops/wkv7-keys/wkv7-keys.ts";
import type { Wkv7Operands } from "../../ops/wkv7/wkv7.ts";
import { WEIGHT_BLOCKS, type WeightDType } from "../../spec/dtype.ts";
import type { OpCall, Operands, Plan, Precision } from "../../spec/op.ts";
import { attention, rope } from "./encode-attention.ts";
import {
  activation,
  blockLinear,
  gate,
  layerNorm,
  rmsNorm,
  scaledAdd,
} from "./encode-elementwise.ts";
import { encodeGatedDelta } from "./encode-gated-delta.ts";
import { expertLinear, route } from "./encode-experts.ts";
import { encodeMamba3Scan } from "./encode-mamba3-scan.ts";
import { tokenShift, wkv4, wkv7, wkv7Bonus, wkv7Keys } from "./encode-rwkv.ts";
import { encodeMlstm, encodeRgLru } from "./encode-recurrences.ts";
import {
  DTYPES,
  float,
  GROUP,
  type Instruction,
  integer,
  type Part,
  tensorWords,
  unknownOp,
  weightWord,
  type Word,
  type WorkspaceRegion,
} from "./instructions.ts";
import { costsOf, type InstructionCost } from "./profile.ts";

/** A plan as instructions, and the bytes it needs besides its buffers. */
export interface EncodedPlan {
  readonly instructions: readonly Instruction[];
  /** Of each instruction. */
  readonly costs: readonly InstructionCost[];
  readonly workspace: Readonly<Record<WorkspaceRegion, number>>;
  /** For each thread. */
  readonly scratchBytes: number;
}

/** Up to so many values, every thread rounds x for itself: cheaper than meeting at one more barrier. */
const QUANTIZE_ALONE = 4096;
/** Bytes of 32 values of one row, rounded: see rounded.wasm.ts. */
const ROUNDED_BLOCK = 80;
/** Bytes of the sums of the groups of weights that one row meets at once: see one-row.wasm.ts. */
const ONE_ROW_SUMS = 256;
/** Bytes of 32 values of each of several rows, at most: see rounded-tile.wasm.ts. */
const ROUNDED_LANE = 96;
/** Rows that are multiplied with a group of weights before the next. */
const PANEL = 132;
/** Groups of weights in one piece of work with several rows: see linear-rounded.wasm.ts. */
const PIECE = 4;
/** Tokens of one SSD chunk: larger ones cost more exponentials and leave the first-level cache. */
const LONGEST_CHUNK = 64;
/** Channels of a head in one piece of work of a decode step. */
const STEP_SLICE = 16;

/** Chooses kernels for each call. */
export function encodePlan(plan: Plan, threads: number): EncodedPlan {
  const parts = plan.calls.map((call) => encodeCall(call, plan, threads));
  const largest = (of: (part: Part) => number | undefined): number =>
    parts.reduce((most, part) => Math.max(most, of(part) ?? 0), 0);
  return {
    instructions: parts.flatMap((part) => part.instructions),
    costs: parts.flatMap((part, index) => costsOf(plan.calls[index], part.instructions)),
    workspace: {
      quantized: largest((part) => part.quantized),
      scores: largest((part) => part.scores),
    },
    scratchBytes: largest((part) => part.scratch),
  };
}

function encodeCall(call: OpCall, plan: Plan, threads: number): Part {
  switch (call.op) {
    case "embedding":
      return embedding(operandsOf<EmbeddingOperands>(call));
    case "rms-norm":
      return rmsNorm(operandsOf<RmsNormOperands>(call));
    case "gated-rms-norm":
      return gatedRmsNorm(operandsOf<GatedRmsNormOperands>(call));
    case "linear":
      return linear(operandsOf<LinearOperands>(call), plan.activations);
    case "causal-conv1d":
      return causalConv1d(operandsOf<CausalConv1dOperands>(call), plan.batch);
    case "selective-scan":
      return selectiveScan(operandsOf<SelectiveScanOperands>(call), plan.batch);
    case "ssd":
      return ssd(operandsOf<SsdOperands>(call), plan.batch, threads);
    case "layer-norm":
      return layerNorm(operandsOf<LayerNormOperands>(call));
    case "activation":
      return activation(operandsOf<ActivationOperands>(call));
    case "gate":
      return gate(operandsOf<GateOperands>(call));
    case "scaled-add":
      return scaledAdd(operandsOf<ScaledAddOperands>(call));
    case "block-linear":
      return blockLinear(operandsOf<BlockLinearOperands>(call));
    case "gated-delta":
      return encodeGatedDelta(operandsOf<GatedDeltaOperands>(call), plan.batch, threads);
    case "mamba3-scan":
      return encodeMamba3Scan(operandsOf<Mamba3ScanOperands>(call), plan.batch);
    case "token-shift":
      return tokenShift(operandsOf<TokenShiftOperands>(call), plan.batch);
    case "wkv4":
      return wkv4(operandsOf<Wkv4Operands>(call), plan.batch);
    case "wkv7":
      return wkv7(operandsOf<Wkv7Operands>(call), plan.batch);
    case "wkv7-keys":
      return wkv7Keys(operandsOf<Wkv7KeysOperands>(call));
    case "wkv7-bonus":
      return wkv7Bonus(operandsOf<Wkv7BonusOperands>(call));
    case "rope":
      return rope(operandsOf<RopeOperands>(call));
    case "attention":
      return attention(operandsOf<AttentionOperands>(call), plan);
    case "rg-lru":
      return encodeRgLru(operandsOf<RgLruOperands>(call), plan.batch);
    case "mlstm":
      return encodeMlstm(operandsOf<MlstmOperands>(call), plan.batch);
    case "route":
      return route(operandsOf<RouteOperands>(call));
    case "expert-linear":
      return expertLinear(operandsOf<ExpertLinearOperands>(call), plan.activations);
    default:
      return unknownOp(call.op);
  }
}

/** A call's operands were checked by the op's own function when it was recorded. */
function operandsOf<T>(call: OpCall): T & Operands {
  return call.operands as T & Operands;
}

function embedding({ ids, table, y }: EmbeddingOperands): Part {
  const [idsAddress] = tensorWords(ids);
  const words = [
    integer(y.rows),
    integer(table.cols),
    integer(DTYPES[table.dtype]),
    idsAddress,
    weightWord(table),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "embedding", words }] };
}

function gatedRmsNorm({ x, z, weight, eps, groupSize, y }: GatedRmsNormOperands): Part {
  const words = [
    integer(x.rows),
    integer(x.cols),
    integer(groupSize),
    ...tensorWords(x),
    ...tensorWords(z),
    weightWord(weight),
    float(eps),
    ...tensorWords(y),
  ];
  return { instructions: [{ opcode: "gatedRmsNorm", words }] };
}

function linear({ x, weight, bias, residual, y }: LinearOperands, activations: Precision): Part {
  const words = (quantized: Word): Word[] => [
    integer(x.rows),
    integer(x.cols),
    integer(weight.rows),
    integer(DTYPES[weight.dtype]),
    ...tensorWords(x),
    weightWord(weight),
    weightWord(bias),
    ...tensorWords(residual),
    ...tensorWords(y),
    quantized,
    integer(Number(activations === "int8")),
  ];
  if (WEIGHT_BLOCKS[weight.dtype].values === 1) {
    // Room for one group of weights as f32.
    return {
      instructions: [{ opcode: "linear", words: words(integer(0)) }],
      scratch: GROUP * x.cols * 4,
    };
  }
  const { bytes, room } = roundedBytes(x.rows, x.cols, weight.dtype);
  if (x.rows * x.cols <= QUANTIZE_ALONE) {
    return {
      instructions: [{ opcode: "linear", words: words(integer(0)) }],
      scratch: bytes + room,
    };
  }
  const shared = words({ kind: "workspace", region: "quantized" });
  return {
    instructions: [
      { opcode: "quantize", words: shared },
      { opcode: "linear", words: shared },
    ],
    quantized: bytes,
    scratch: room,
  };
}

/** Bytes of x, rounded, and of a thread's working memory beside it: see rounded.wasm.ts, rounded-tile.wasm.ts, row-tile.wasm.ts. */
function roundedBytes(
  rows: number,
  cols: number,
  dtype: WeightDType,
): { readonly bytes: number; readonly room: number } {
  if (rows === 1) return { bytes: (cols / 32) * ROUNDED_BLOCK, room: ONE_ROW_SUMS };
  // The sums of a panel's rows for each group of a piece of work, and a header's columns as bytes with at most two rows of f32 for
  // 16 columns.
  const room = PIECE * PANEL * GROUP * 4 + (dtype === "q8_0" ? 0 : GROUP * (256 + 256 / 4));
  return { bytes: (rows + 1) * (cols / 32) * ROUNDED_LANE, room };
}

function causalConv1d(
  { x, weight, bias, state, silu, length, y }: CausalConv1dOperands,
  batch: number,
): Part {
  const words = [
    integer(batch),
    integer(length),
    integer(weight.rows),
    integer(weight.cols),
    ...tensorWords(x),
    weightWord(weight),
    weightWord(bias),
    ...tensorWords(state),
    integer(Number(silu)),
    ...tensorWords(y),
  ];
  // See causal-conv1d.wasm.ts: four rows of weights and three of inputs, 64 channels each.
  return { instructions: [{ opcode: "causalConv1d", words }], scratch: 4 * 64 * 7 };
}

function selectiveScan(operands: SelectiveScanOperands, batch: number): Part {
  const { x, dtRaw, dtBias, dtSoftplus, A, B, C, D, z, state, nGroup, length, y } = operands;
  const words = [
    integer(batch),
    integer(length),
    integer(A.rows),
    integer(A.cols),
    integer(nGroup),
    integer(Number(dtSoftplus)),
    ...tensorWords(x),
    ...tensorWords(dtRaw),
    weightWord(dtBias),
    weightWord(A),
    ...tensorWords(B),
    ...tensorWords(C),
    weightWord(D),
    ...tensorWords(z),
    ...tensorWords(state),
    ...tensorWords(y),
  ];
  // See selective-scan.wasm.ts: time steps and inputs of 32 tokens, states and A of 16 channels.
  const scratch = 4 * 16 * (2 * 32 + 2 * A.cols);
  return { instructions: [{ opcode: "selectiveScan", words }], scratch };
}

function ssd(operands: SsdOperands, batch: number, threads: number): Part {
  const {
    x,
    dtRaw,
    dtBias,
    dtSoftplus,
    dtMin,
    dtMax,
    A,
    B,
    C,
    D,
    z,
    state,
    nGroup,
    chunkSize,
    length,
    y,
  } = operands;
  const heads = A.cols;
  const headDim = x.cols / heads;
  const dState = B.cols / nGroup;
  // The cut into chunks changes no result beyond rounding, so the model's chunk size is only an upper bound.
  const chunk = roundUp(Math.min(chunkSize, LONGEST_CHUNK, length), 8);
  const words = (slice: number, scores: Word): Word[] => [
    integer(batch),
    integer(length),
    integer(heads),
    integer(headDim),
    integer(dState),
    integer(nGroup),
    integer(chunk),
    integer(slice),
    integer(Number(dtSoftplus)),
    float(dtMin),
    float(dtMax),
    ...tensorWords(x),
    ...tensorWords(dtRaw),
    weightWord(dtBias),
    weightWord(A),
    ...tensorWords(B),
    ...tensorWords(C),
    weightWord(D),
    ...tensorWords(z),
    ...tensorWords(state),
    ...tensorWords(y),
    scores,
  ];
  if (length === 1)
    return { instructions: [{ opcode: "ssdStep", words: words(STEP_SLICE, integer(0)) }] };
  const slice = sliceOf(headDim, batch * heads, threads);
  const scanWords = words(slice, { kind: "workspace", region: "scores" });
  // See ssd-chunks.wasm.ts: tiles of six rows and of eight columns.
  const [tiles, states] = [Math.ceil(chunk / 6), Math.ceil(dState / 6)];
  const shared = tiles * dState * 6 + states * chunk * 6 + tiles * chunk * 6;
  const held = states * 6 * roundUp(slice, 8) + 2 * chunk * 8 + 6 * 8;
  const scanned = 16 + held + tiles * chunk * 6 + 4 * (tiles * 6 + 2) + 8;
  return {
    instructions: [
      { opcode: "ssdScores", words: scanWords },
      { opcode: "ssdScan", words: scanWords },
    ],
    scores: batch * Math.ceil(length / chunk) * nGroup * shared * 4,
    scratch: Math.max(scanned, dState * chunk) * 4,
  };
}

/** A whole head, or parts of one (multiples of 8 channels) where there are fewer heads than would keep all threads busy. */
function sliceOf(headDim: number, heads: number, threads: number): number {
  let slice = roundUp(headDim, 8);
  while (slice > 16 && heads * Math.ceil(headDim / slice) < 4 * threads)
    slice = roundUp(slice / 2, 8);
  return slice;
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
