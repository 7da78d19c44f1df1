import { ACTIVATION_CODES } from "../../spec/activations.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import activate from "../../wgsl/activate.wgsl?raw";
import arenaScalars from "../../wgsl/arena-scalars.wgsl?raw";
import arenaVectors from "../../wgsl/arena-vectors.wgsl?raw";
import { floatWord, fold, type Dispatch, type DispatchContext } from "../../wgsl/dispatch.ts";
import grid from "../../wgsl/grid.wgsl?raw";
import powerOfTwo from "../../wgsl/power-of-two.wgsl?raw";
import softplus from "../../wgsl/softplus.wgsl?raw";
import { fewHalves, piecesOfThread } from "./few-halves.ts";
import source from "./few-halves.wgsl?raw";
import roundX from "./round-x.wgsl?raw";
import { NORM_CODES, type Prologue } from "./fused-linear.ts";

/** Threads that make a row of x ready: it is what all the rest waits for. */
const THREADS = 256;

/** How a matrix unit takes x. */
export interface Halves {
  /** f16 values that stand for one of x. */
  readonly parts: number;
  readonly subgroupSize: number;
  /** Of two f16, in a row; a multiple of 4. */
  readonly words: number;
  /** Where they go: (parts, rows, words). */
  readonly halves: number;
  /** Where what a row's sums are to be multiplied by goes: (rows). */
  readonly scales: number;
}

/** What stands before a product, as f16; see few-halves.wgsl. */
export function describeHalves(
  o: Prologue & { readonly x: Tensor; readonly weight: Weight },
  { parts, subgroupSize, words, halves, scales }: Halves,
  context: DispatchContext,
): Dispatch {
  const place = (tensor: Tensor | null): readonly [number, number] =>
    tensor === null ? [0, 0] : [context.place(tensor), tensor.stride];
  const places = [...place(o.x), ...place(o.z)];
  const inVectors = places.every((at) => at % 4 === 0);
  return {
    shader: {
      name: `few-halves ${inVectors ? "vectors" : "scalars"}`,
      parts: [
        grid,
        softplus,
        activate,
        inVectors ? arenaVectors : arenaScalars,
        source,
        powerOfTwo,
        roundX,
        fewHalves(THREADS, 2 * words),
      ],
      consts: {
        PARTS: parts,
        SUBGROUP: subgroupSize,
        THREADS,
        // Tells modules apart: the entry point depends on it.
        PIECES: piecesOfThread(THREADS, 2 * words),
      },
      subgroups: true,
    },
    entryPoint: "few_halves",
    constants: prologueConstants(o),
    params: [
      o.weight.cols,
      o.x.rows,
      ...places,
      halves,
      scales,
      words,
      floatWord(o.over === "mean" ? o.weight.cols : 1),
      floatWord(o.eps),
    ],
    reads: [{ kind: "vector", weight: o.normWeight }],
    state: null,
    workgroups: fold(o.x.rows),
  };
}

/** The constants of round-x.wgsl and prologue.wgsl. */
export function prologueConstants(o: Prologue): Readonly<Record<string, number>> {
  return {
    NORM: NORM_CODES[o.norm ?? "none"],
    GATED: o.z === null ? 0 : 1,
    GATE_ACT: ACTIVATION_CODES[o.gateAct],
    HAS_NORM_WEIGHT: o.normWeight === null ? 0 : 1,
  };
}
