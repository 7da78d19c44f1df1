import {
  flagOf,
  floatWord,
  fold,
  numberOf,
  optionalTensorOf,
  optionalWeightOf,
  tensorOf,
  weightOf,
  type Dispatch,
  type DispatchContext,
  type Shader,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { reductionFor } from "../../wgsl/reduce.ts";
import softplus from "../../wgsl/softplus.wgsl?raw";
import tile from "../../wgsl/tile.wgsl?raw";
import type { Operands } from "../../spec/op.ts";
import { describeSsdStep } from "./ssd-step.webgpu.ts";
import source from "./ssd.wgsl?raw";
import combine from "./ssd-combine.wgsl?raw";
import ends from "./ssd-ends.wgsl?raw";
import lanes from "./ssd-lanes.wgsl?raw";
import { describeSsdOnMatrices, goesToMatrices } from "./ssd-matrix.webgpu.ts";
import output from "./ssd-output.wgsl?raw";
import params from "./ssd-params.wgsl?raw";

/** Side of a tile, as in tile.wgsl. */
const TILE = 64;
const TEAMS = 4;
/**
 * Tokens of a chunk at most, whatever the model names: the result is the same. Work within a chunk grows with its square, that
 * between chunks with their number. As many as a workgroup of tile.wgsl has threads.
 */
const MOST_TOKENS = 128;

const common = [grid, softplus, params, lanes];
/** Scratch that only ssd-matrix.wgsl has. */
const noMatrices = [0, 0, 0, 0, 0, 0, 0, 0];
const consts = { MOST_TOKENS, SCAN_STEPS: Math.log2(MOST_TOKENS) };
const endsShader: Shader = { name: "ssd-ends", parts: [...common, tile, ends], consts };
const combineShader: Shader = { name: "ssd-combine", parts: [...common, combine] };
const outputShader: Shader = { name: "ssd-output", parts: [...common, tile, output], consts };

/** What the dispatches of one call share. */
type SsdCall = Pick<Dispatch, "reads" | "state">;

/** T = 1: the fused step. T > 1: matrix products within chunks of Q tokens, and a walk over the chunks' states. */
export function describeSsd(operands: Operands, context: DispatchContext): Dispatch[] {
  const x = tensorOf(operands, "x");
  const dtBias = optionalWeightOf(operands, "dtBias");
  const A = weightOf(operands, "A");
  const D = optionalWeightOf(operands, "D");
  const state = tensorOf(operands, "state");
  const nGroup = numberOf(operands, "nGroup");
  const length = numberOf(operands, "length");
  const batch = x.rows / length;
  const nHead = A.cols;
  const headDim = x.cols / nHead;
  const dState = tensorOf(operands, "B").cols / nGroup;
  const call: SsdCall = {
    reads: [
      { kind: "vector", weight: A },
      { kind: "vector", weight: dtBias },
      { kind: "vector", weight: D },
    ],
    state,
  };
  const places = placesOf(operands, context);
  const sizes = [
    nHead,
    headDim,
    nGroup,
    dState,
    dtBias === null ? 0 : 1,
    flagOf(operands, "dtSoftplus"),
    D === null ? 0 : 1,
    operands["z"] === null ? 0 : 1,
    floatWord(numberOf(operands, "dtMin")),
    floatWord(numberOf(operands, "dtMax")),
  ];

  if (length === 1) {
    const step = { batch, nHead, headDim, nGroup, dState };
    const byVectors = describeSsdStep(operands, step, places, call, context);
    if (byVectors !== null) return [byVectors];
    const reduction = reductionFor(context);
    return [
      {
        ...call,
        shader: {
          name: "ssd",
          parts: [...common, reduction.part, source],
          subgroups: reduction.subgroups,
        },
        entryPoint: "ssd",
        constants: { TEAM: reduction.team, TEAMS },
        params: [batch, 1, 1, 1, ...places, ...sizes, 0, 0, 0, 0, ...noMatrices],
        workgroups: fold(Math.ceil((batch * x.cols) / TEAMS)),
      },
    ];
  }

  const sizesOfCall = { batch, length, nHead, headDim, nGroup, dState };
  if (goesToMatrices(sizesOfCall, places, context)) {
    return describeSsdOnMatrices(
      call,
      sizesOfCall,
      (chunk, chunks, scratch) => [batch, length, chunk, chunks, ...places, ...sizes, ...scratch],
      context,
    );
  }

  const chunk = Math.min(numberOf(operands, "chunkSize"), length, MOST_TOKENS);
  const nChunk = Math.ceil(length / chunk);
  const scratch = [
    context.scratch(x.rows * nHead),
    context.scratch(x.rows * nHead),
    context.scratch(batch * nChunk * nGroup * chunk * chunk),
    context.scratch(batch * nChunk * x.cols * dState),
  ];
  const words = [batch, length, chunk, nChunk, ...places, ...sizes, ...scratch, ...noMatrices];
  const tilesQ = Math.ceil(chunk / TILE);
  const tilesP = Math.ceil(headDim / TILE);
  const tilesN = Math.ceil(dState / TILE);
  const step = (
    shader: Shader,
    entryPoint: string,
    workgroups: number,
    constants: Readonly<Record<string, number>> = {},
  ): Dispatch => ({
    ...call,
    shader,
    entryPoint,
    constants,
    params: words,
    workgroups: fold(workgroups),
  });
  return [
    step(
      endsShader,
      "ssd_ends",
      batch * nChunk * (nHead * tilesP * tilesN + nGroup * tilesQ * tilesQ),
      // x and B have the channel, not the token, as fast axis.
      { A_ROWS_FAST: 1, B_COLS_FAST: 1 },
    ),
    step(combineShader, "ssd_combine", Math.ceil((batch * x.cols * dState) / 64)),
    step(outputShader, "ssd_output", batch * nChunk * nHead * tilesQ * tilesP),
  ];
}

/** Offset and stride of each operand, in the order of `Params`. */
function placesOf(operands: Operands, context: DispatchContext): number[] {
  const state = tensorOf(operands, "state");
  const z = optionalTensorOf(operands, "z");
  const y = tensorOf(operands, "y");
  const place = (name: string): number[] => {
    const tensor = tensorOf(operands, name);
    return [context.place(tensor), tensor.stride];
  };
  return [
    ...place("x"),
    ...place("dtRaw"),
    ...place("B"),
    ...place("C"),
    ...(z === null ? [0, 0] : [context.place(z), z.stride]),
    context.target(y),
    y.stride,
    state.offset,
    state.stride,
  ];
}
