/** Writes GGUF version 3, piece by piece. Source: ggml's docs/gguf.md. */
import type { WeightDType } from "../../kernels/spec/dtype.ts";
import { storedBytes } from "../weights/convert.ts";

/** A metadata value with the type that it is stored as. */
export type GgufTyped =
  | { readonly type: "u32" | "i32" | "f32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "u32[]" | "i32[]" | "f32[]" | "u8[]"; readonly value: readonly number[] }
  | { readonly type: "bool[]"; readonly value: readonly boolean[] }
  | { readonly type: "string[]"; readonly value: readonly string[] };

/** In the order in which they are written. */
export type GgufEntries = readonly (readonly [key: string, value: GgufTyped])[];

/** A tensor whose bytes come when they are asked for. */
export interface GgufTensor {
  readonly name: string;
  readonly dtype: WeightDType;
  /** Slowest first. */
  readonly shape: readonly number[];
  /** All of its bytes, in pieces of bounded size. */
  pieces(): AsyncIterable<Uint8Array>;
}

const ALIGNMENT = 32;
/** ggml_type of ggml.h. */
const TENSOR_TYPES: Readonly<Record<WeightDType, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q8_0: 8,
  q4_k: 12,
  q5_k: 13,
  q6_k: 14,
  bf16: 30,
};
/** gguf_type of gguf.h. */
const VALUE_TYPES = { u8: 0, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

/**
 * The file from front to back. Tensors are asked for their pieces one after the other.
 * @throws RangeError if a tensor gives more or fewer bytes than its shape has
 */
export async function* ggufBytes(
  entries: GgufEntries,
  tensors: readonly GgufTensor[],
): AsyncGenerator<Uint8Array> {
  const header = new Bytes();
  header.text("GGUF").u32(3).u64(tensors.length).u64(entries.length);
  for (const [key, value] of entries) writeValue(header.string(key), value);
  let offset = 0;
  for (const { name, dtype, shape } of tensors) {
    header.string(name).u32(shape.length);
    for (const side of shape.toReversed()) header.u64(side);
    header.u32(TENSOR_TYPES[dtype]).u64(offset);
    offset += padded(tensorBytes(dtype, shape));
  }
  yield header.align().done();
  for (const { name, dtype, shape, pieces } of tensors) {
    const expected = tensorBytes(dtype, shape);
    let written = 0;
    for await (const piece of pieces()) {
      written += piece.byteLength;
      yield piece;
    }
    if (written !== expected)
      throw new RangeError(`${name} gave ${written} bytes where its shape has ${expected}`);
    if (padded(written) !== written) yield new Uint8Array(padded(written) - written);
  }
}

function tensorBytes(dtype: WeightDType, shape: readonly number[]): number {
  return storedBytes(
    dtype,
    shape.reduce((product, side) => product * side, 1),
  );
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

function writeValue(out: Bytes, typed: GgufTyped): void {
  switch (typed.type) {
    case "u32":
    case "i32":
    case "f32":
      out.u32(VALUE_TYPES[typed.type]).number(typed.type, typed.value);
      return;
    case "bool":
      out.u32(VALUE_TYPES.bool).u8(typed.value ? 1 : 0);
      return;
    case "string":
      out.u32(VALUE_TYPES.string).string(typed.value);
      return;
    case "bool[]":
      out.u32(VALUE_TYPES.array).u32(VALUE_TYPES.bool).u64(typed.value.length);
      for (const value of typed.value) out.u8(value ? 1 : 0);
      return;
    case "string[]":
      out.u32(VALUE_TYPES.array).u32(VALUE_TYPES.string).u64(typed.value.length);
      for (const value of typed.value) out.string(value);
      return;
    case "u8[]":
      out.u32(VALUE_TYPES.array).u32(VALUE_TYPES.u8).u64(typed.value.length);
      for (const value of typed.value) out.u8(value & 255);
      return;
    case "u32[]":
    case "i32[]":
    case "f32[]": {
      const element = typed.type === "u32[]" ? "u32" : typed.type === "i32[]" ? "i32" : "f32";
      out.u32(VALUE_TYPES.array).u32(VALUE_TYPES[element]).u64(typed.value.length);
      for (const value of typed.value) out.number(element, value);
      return;
    }
  }
}

/** Little-endian bytes that grow. */
class Bytes {
  #view = new DataView(new ArrayBuffer(64 * 1024));
  #length = 0;

  u8(value: number): this {
    this.#room(1).setUint8(this.#length++, value);
    return this;
  }

  u32(value: number): this {
    this.#room(4).setUint32(this.#length, value, true);
    this.#length += 4;
    return this;
  }

  u64(value: number): this {
    this.#room(8).setBigUint64(this.#length, BigInt(value), true);
    this.#length += 8;
    return this;
  }

  number(type: "u32" | "i32" | "f32", value: number): this {
    const view = this.#room(4);
    if (type === "f32") view.setFloat32(this.#length, value, true);
    else if (type === "i32") view.setInt32(this.#length, value, true);
    else view.setUint32(this.#length, value, true);
    this.#length += 4;
    return this;
  }

  text(text: string): this {
    const bytes = new TextEncoder().encode(text);
    this.#room(bytes.length);
    new Uint8Array(this.#view.buffer).set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  string(text: string): this {
    return this.u64(new TextEncoder().encode(text).length).text(text);
  }

  align(): this {
    const length = padded(this.#length);
    this.#room(length - this.#length);
    this.#length = length;
    return this;
  }

  done(): Uint8Array {
    return new Uint8Array(this.#view.buffer, 0, this.#length);
  }

  /** The view, with room for `bytes` more. */
  #room(bytes: number): DataView {
    if (this.#length + bytes > this.#view.byteLength) {
      const larger = new Uint8Array(2 * (this.#length + bytes));
      larger.set(new Uint8Array(this.#view.buffer));
      this.#view = new DataView(larger.buffer);
    }
    return this.#view;
  }
}
