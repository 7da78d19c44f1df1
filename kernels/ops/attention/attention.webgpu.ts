import { KernelError } from "../../spec/errors.ts";
import type { Operands } from "../../spec/op.ts";
import activate from "../../wgsl/activate.wgsl?raw";
import {
  floatWord,
  fold,
  numberOf,
  tensorOf,
  type Dispatch,
  type DispatchContext,
} from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import softplus from "../../wgsl/softplus.wgsl?raw";
import { slotDtype, type AttentionOperands } from "./attention.ts";
import source from "./attention.wgsl?raw";
import slots from "./slots.wgsl?raw";

/** Vectors of workgroup memory that every device has: 16 KiB. */
const WORKGROUP_VECTORS = 1024;
/** Two arrays of a vector a key of the tile. */
const TILE_VECTORS = 2 * 64;
/** Workgroups below which the keys are split too: a decode step of one sequence has a workgroup a key head. */
const FEW_WORKGROUPS = 256;
/** The same where there are no lanes to keep busy. */
const FEW_IN_SOFTWARE = 8;
/** Stretches of a few keys would keep less busy than putting them together costs. */
const MOST_SPLITS = 64;
/** Positions are below it. */
const NO_WINDOW = 2 ** 31 - 1;

/** Two dispatches: scores and sums, then what must wait for all of them; see attention.wgsl. */
export function describeAttention(operands: Operands, context: DispatchContext): Dispatch[] {
  const [q, k, v, y] = ["q", "k", "v", "y"].map((name) => tensorOf(operands, name));
  const [keys, values] = ["keys", "values"].map((name) => tensorOf(operands, name));
  const number = (name: string): number => numberOf(operands, name);
  const [nHead, nKvHead, length] = [number("nHead"), number("nKvHead"), number("length")];
  const [headDimK, headDimV] = [number("headDimK"), number("headDimV")];
  const window = operands["window"] === null ? null : number("window");
  const softCap = operands["softCap"] === null ? null : number("softCap");
  // The recorded operands are those of the op's own binding.
  const dtype = slotDtype(operands as AttentionOperands & Operands, (slot) => context.slot(slot));

  const batch = q.rows / length;
  const rows = (nHead / nKvHead) * length;
  const quads = rows <= 4 || 2 * (headDimK + TILE_VECTORS) > WORKGROUP_VECTORS ? 1 : 2;
  if (quads * (headDimK + TILE_VECTORS) > WORKGROUP_VECTORS) {
    throw new KernelError(
      "unsupported",
      `attention: heads of ${headDimK} are larger than WebGPU's workgroups remember, at most ${WORKGROUP_VECTORS - TILE_VECTORS}`,
      { headDimK },
    );
  }
  const blocks = Math.ceil(rows / (4 * quads));
  const workgroups = batch * nKvHead * blocks;
  const few = context.software ? FEW_IN_SOFTWARE : FEW_WORKGROUPS;
  const splits = Math.min(MOST_SPLITS, Math.ceil(few / workgroups));
  const parts = splits === 1 ? 0 : context.scratch(q.rows * nHead * splits * (2 + headDimV));
  const attention: Dispatch = {
    shader: {
      name: "attention",
      parts: [grid, softplus, activate, slots, source],
      consts: { QUADS: quads, SUMS: quads * Math.ceil(headDimV / 64) },
    },
    entryPoint: "attention",
    constants: {
      HEADS: nHead,
      KV_HEADS: nKvHead,
      DIM_K: headDimK,
      DIM_V: headDimV,
      GROWS: window === null ? 1 : 0,
      WINDOW: window ?? NO_WINDOW,
      HAS_CAP: softCap === null ? 0 : 1,
      HALVES: dtype === "f16" ? 1 : 0,
      SPLITS: splits,
    },
    params: [
      batch,
      length,
      blocks,
      ...[q, k, v].flatMap((tensor) => [context.place(tensor), tensor.stride]),
      ...[keys, values].flatMap(({ offset, stride }) => [offset, stride]),
      context.target(y),
      y.stride,
      parts,
      floatWord(number("scale")),
      floatWord(softCap ?? 0),
    ],
    reads: [{ kind: "positions" }],
    state: keys,
    secondState: values,
    workgroups: fold(workgroups * splits),
  };
  const perHead = (dim: number): number => (dtype === "f16" ? Math.ceil(dim / 2) : dim);
  const kept = window === null ? length : Math.min(length, window);
  const finishing =
    (splits > 1 ? q.rows * nHead * headDimV : 0) +
    batch * kept * nKvHead * (perHead(headDimK) + perHead(headDimV));
  return [
    attention,
    {
      ...attention,
      entryPoint: "attention_finish",
      workgroups: fold(Math.ceil(finishing / 64)),
    },
  ];
}
