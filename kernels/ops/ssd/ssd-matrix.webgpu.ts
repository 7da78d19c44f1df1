import arenaVectors from "../../wgsl/arena-vectors.wgsl?raw";
import { fold, type Dispatch, type DispatchContext, type Shader } from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import { BLOCK } from "../../wgsl/sheets.ts";
import powerOfTwo from "../../wgsl/power-of-two.wgsl?raw";
import softplus from "../../wgsl/softplus.wgsl?raw";
import combine from "./ssd-combine-matrix.wgsl?raw";
import { ssdEnds } from "./ssd-ends-matrix.ts";
import matrix from "./ssd-matrix.wgsl?raw";
import { OUTPUT_TOKENS, ssdOutput } from "./ssd-output-matrix.ts";
import params from "./ssd-params.wgsl?raw";
import { SCORE_COLS, SCORE_ROWS, ssdScores } from "./ssd-scores-matrix.ts";
import { CHUNK, LANES, STATES, TILE_P } from "./ssd-sheets.ts";

/** With fewer tokens, most of a chunk would be empty. */
const FEWEST_TOKENS = 24;
/** Rows of states that a workgroup of ssd-combine-matrix.wgsl has. */
const COMBINE_ROWS = 4;

const consts = {
  CHUNK,
  D_STATE: STATES,
  TILE_P,
  SUBGROUP: LANES,
  ROWS: COMBINE_ROWS,
  // The largest factors are brought to 2^14 … 2^15, where f16 is widest.
  LARGEST: 14,
};

function shaderOf(name: string, entry: string): Shader {
  return {
    name,
    parts: [grid, softplus, params, arenaVectors, powerOfTwo, matrix, entry],
    consts,
    subgroups: true,
    f16: true,
    subgroupMatrix: true,
  };
}

const scoresShader = shaderOf("ssd-scores-matrix", ssdScores());
const endsShader = shaderOf("ssd-ends-matrix", ssdEnds());
const combineShader = shaderOf("ssd-combine-matrix", combine);
const outputShader = shaderOf("ssd-output-matrix", ssdOutput());

/** Sizes of one call. */
export interface SsdSizes {
  readonly batch: number;
  readonly length: number;
  readonly nHead: number;
  readonly headDim: number;
  readonly nGroup: number;
  readonly dState: number;
}

/**
 * Whether a prompt's ssd runs on the device's matrix units. Its factors are f16 then, so it does where the products around it
 * round theirs, too.
 * @param places offsets and strides of what is read and written in the arena, in values
 */
export function goesToMatrices(
  { length, headDim, dState }: SsdSizes,
  places: readonly number[],
  { roundsToF16, subgroupMatrix, subgroupSize }: DispatchContext,
): boolean {
  return (
    roundsToF16 &&
    subgroupMatrix?.m === BLOCK &&
    subgroupMatrix.n === BLOCK &&
    subgroupMatrix.k === BLOCK &&
    subgroupSize === LANES &&
    length >= FEWEST_TOKENS &&
    headDim % TILE_P === 0 &&
    dState === STATES &&
    places.every((at) => at % 4 === 0)
  );
}

/**
 * Scores, ends of chunks, states between chunks, outputs: four dispatches.
 * @param wordsOf the words of ssd-params.wgsl, of tokens in a chunk, chunks, and the places of all scratch
 */
export function describeSsdOnMatrices(
  call: Pick<Dispatch, "reads" | "state">,
  { batch, length, nHead, headDim, nGroup, dState }: SsdSizes,
  wordsOf: (chunk: number, chunks: number, scratch: readonly number[]) => readonly number[],
  context: DispatchContext,
): Dispatch[] {
  const rows = batch * length;
  const channels = nHead * headDim;
  const chunks = Math.ceil(length / CHUNK);
  const tiles = batch * chunks * (channels / TILE_P);
  const halves = (rows * nGroup * dState) / 2;
  const scratch = [
    rows * nHead,
    rows * nHead,
    (batch * chunks * nGroup * CHUNK * CHUNK) / 2,
    batch * chunks * channels * dState,
    halves,
    rows * nGroup,
    halves,
    rows * nGroup,
    tiles,
    tiles,
    (batch * chunks * channels * dState) / 2,
    batch * chunks * channels,
  ].map((values) => context.scratch(values));
  const words = wordsOf(CHUNK, chunks, scratch);
  const step = (shader: Shader, entryPoint: string, workgroups: number): Dispatch => ({
    ...call,
    shader,
    entryPoint,
    constants: {},
    params: words,
    workgroups: fold(workgroups),
  });
  const scoreTiles = (CHUNK / SCORE_ROWS) * (CHUNK / SCORE_COLS);
  return [
    step(scoresShader, "ssd_scores", batch * chunks * (nGroup * scoreTiles + nHead)),
    step(endsShader, "ssd_ends_matrix", tiles),
    step(combineShader, "ssd_combine_matrix", (batch * channels) / COMBINE_ROWS),
    step(outputShader, "ssd_output_matrix", tiles * (CHUNK / OUTPUT_TOKENS)),
  ];
}
