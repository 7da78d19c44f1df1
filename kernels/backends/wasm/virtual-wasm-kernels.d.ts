/** Written by the Vite plugin in compile.ts. */
declare module "virtual:wasm-kernels" {
  /** Fixed-width SIMD. */
  export const plain: Uint8Array<ArrayBuffer>;
  /** Fixed-width and relaxed SIMD. */
  export const relaxed: Uint8Array<ArrayBuffer>;
}
