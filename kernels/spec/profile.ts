/** What a kernel has cost since the profile was last taken. */
export interface KernelTime {
  /** The op or its part, with the dtype and shape of the matrix if it has one: "linear f16 3352×768". */
  readonly kernel: string;
  /** Times that it ran. */
  readonly calls: number;
  /** On the device, waits between its parts included. */
  readonly ms: number;
  /** Bytes of operands that it must at least read and write, each once; 0 where that is not known. */
  readonly bytes: number;
  /** Floating-point operations of products and recurrences, a multiplication with its addition counted as two. */
  readonly flop: number;
}
