import type { BlockSize, WeightDType } from "../../spec/dtype.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";

/** What module.wasm.ts calls for each number. */
export const OPCODES = {
  end: 0,
  embedding: 1,
  rmsNorm: 2,
  gatedRmsNorm: 3,
  quantize: 4,
  linear: 5,
  causalConv1d: 6,
  selectiveScan: 7,
  ssdStep: 8,
  ssdScores: 9,
  ssdScan: 10,
  layerNorm: 11,
  activation: 12,
  gate: 13,
  scaledAdd: 14,
  blockLinear: 15,
  mamba3Scan: 16,
  tokenShift: 17,
  wkv4: 18,
  wkv7: 19,
  wkv7Keys: 20,
  wkv7Bonus: 21,
  rope: 22,
  attention: 23,
  attentionFinish: 24,
  rgLru: 25,
  mlstmGates: 26,
  mlstmMemory: 27,
  gatedDelta: 28,
  route: 29,
  expertLinear: 30,
  expertSum: 31,
  likeliest: 32,
} as const;
export type Opcode = keyof typeof OPCODES;

/** Numbers of the packed layouts, as ops/linear/packed.wasm.ts has them. */
export const DTYPES = {
  f32: 0,
  f16: 1,
  bf16: 2,
  q8_0: 3,
  q4_0: 4,
  q4_k: 5,
  q5_k: 6,
  q6_k: 7,
} as const;

/** Rows of weights that lie together, as ops/linear/packed.wasm.ts has it. */
export const GROUP = 8;

/** Columns of such rows that lie together, and the bytes they take, as ops/linear/{packed,bit-fields}.wasm.ts lay them out. */
export const GROUP_BLOCKS: Readonly<Record<WeightDType, BlockSize>> = {
  f32: { values: 1, bytes: 32 },
  f16: { values: 1, bytes: 16 },
  bf16: { values: 1, bytes: 16 },
  q8_0: { values: 32, bytes: 288 },
  q4_0: { values: 32, bytes: 144 },
  q4_k: { values: 256, bytes: 1184 },
  q5_k: { values: 256, bytes: 1440 },
  q6_k: { values: 256, bytes: 1680 },
};

/**
 * One word of an instruction. States are elsewhere in each run: their addresses are filled in before it. That of a slot
 * that grows is its table's (see growing-slot.ts); `positions` is the address of (B) i32, the tokens before the run.
 */
export type Word =
  | { readonly kind: "integer" | "float"; readonly value: number }
  | { readonly kind: "buffer"; readonly tensor: Tensor }
  | { readonly kind: "weight"; readonly weight: Weight }
  | { readonly kind: "workspace"; readonly region: WorkspaceRegion }
  | { readonly kind: "positions" };

/** Room that a plan needs besides its temporaries, shared by its instructions: one at a time uses it. */
export type WorkspaceRegion = "quantized" | "scores";

/** An instruction before its addresses are known: the words after opcode and length. */
export interface Instruction {
  readonly opcode: Opcode;
  readonly words: readonly Word[];
}

/** The instructions of a call, and the bytes of workspace and scratch that they need. */
export interface Part {
  readonly instructions: readonly Instruction[];
  readonly quantized?: number;
  readonly scores?: number;
  /** For each thread. */
  readonly scratch?: number;
}

export function integer(value: number): Word {
  return { kind: "integer", value };
}

export function float(value: number): Word {
  return { kind: "float", value };
}

/** Address and stride, in that order; two zeros for null. */
export function tensorWords(tensor: Tensor | null): readonly [Word, Word] {
  return tensor === null
    ? [integer(0), integer(0)]
    : [{ kind: "buffer", tensor }, integer(tensor.stride)];
}

/** Address, or zero for null. */
export function weightWord(weight: Weight | null): Word {
  return weight === null ? integer(0) : { kind: "weight", weight };
}

/** The address of (B) i32: tokens that each sequence was fed before the run. */
export const POSITIONS: Word = { kind: "positions" };

/** Where things are once a plan has its memory. */
export interface Addresses {
  /** Address of a temporary, output or input buffer. */
  buffer(tensor: Tensor): number;
  weight(weight: Weight): number;
  workspace(region: WorkspaceRegion): number;
}

/** A word that depends on the states of a run: `word` is its index, `offset` counts bytes into the slot. */
export interface StatePatch {
  readonly word: number;
  readonly slot: number | "positions";
  readonly offset: number;
}

/** Words of a whole plan, its end included. */
export function countWords(instructions: readonly Instruction[]): number {
  return instructions.reduce((sum, { words }) => sum + words.length + 2, 2);
}

/** Writes the instructions with their addresses; returns what to fill in before each run. */
export function assemble(
  instructions: readonly Instruction[],
  addresses: Addresses,
  into: Int32Array,
): StatePatch[] {
  const patches: StatePatch[] = [];
  const bits = new DataView(new ArrayBuffer(4));
  let at = 0;
  for (const { opcode, words } of instructions) {
    into[at++] = OPCODES[opcode];
    into[at++] = (words.length + 2) * 4;
    for (const word of words) {
      switch (word.kind) {
        case "integer":
          into[at] = word.value;
          break;
        case "float":
          bits.setFloat32(0, word.value);
          into[at] = bits.getInt32(0);
          break;
        case "weight":
          into[at] = addresses.weight(word.weight);
          break;
        case "workspace":
          into[at] = addresses.workspace(word.region);
          break;
        case "positions":
          patches.push({ word: at, slot: "positions", offset: 0 });
          break;
        case "buffer": {
          const { buffer, offset } = word.tensor;
          if (buffer.kind === "state")
            patches.push({ word: at, slot: buffer.index, offset: offset * 4 });
          else into[at] = addresses.buffer(word.tensor) + offset * 4;
          break;
        }
      }
      at++;
    }
  }
  into[at] = OPCODES.end;
  return patches;
}

/** @throws KernelError `unsupported` */
export function unknownOp(op: string): never {
  throw new KernelError("unsupported", `the WASM backend has no op "${op}"`, { op });
}
